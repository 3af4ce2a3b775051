"""Compare reading modes when readers and cases are both samples of those a conclusion is meant for.

A figure of merit of each reader in each mode (mean Dice, share of accepted plans, area under the ROC curve) varies with
the reader and with the cases, and the cases are the same for all of them. Obuchowski and Rockette estimate the
covariance that this causes; Dorfman, Berbaum and Metz analyse jackknife pseudovalues instead. Both use the degrees of
freedom of Hillis (doi:10.1002/sim.2024, doi:10.1002/sim.2532), with which they agree for the jackknife's covariance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import ConfigError

__all__ = [
    "Covariance",
    "Interval",
    "Merit",
    "MultiReaderComparison",
    "dorfman_berbaum_metz",
    "jackknife",
    "jackknife_covariance",
    "obuchowski_rockette",
]

Merit = Callable[[NDArray[np.float64], NDArray[np.intp]], float]
"""Figure of merit of one reader in one mode: from its scores of all cases, and the cases to use."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval."""

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class MultiReaderComparison:
    """Whether modes differ, for readers and cases like these."""

    means: tuple[Interval, ...]
    """Of each mode, over its readers; empty after Dorfman, Berbaum and Metz."""
    differences: dict[tuple[int, int], Interval]
    """First mode minus second, by their numbers."""
    f_statistic: float
    degrees_of_freedom: tuple[float, float]
    p_value: float
    """Of the hypothesis that all modes are equal."""


@dataclass(frozen=True, slots=True)
class Covariance:
    """Covariance of figures of merit caused by the sample of cases; means over the pairs of each kind."""

    variance: float
    same_reader: float
    """Cov1: two modes of one reader."""
    same_mode: float
    """Cov2: two readers in one mode."""
    neither: float
    """Cov3: two readers in two modes."""
    same_mode_by_mode: tuple[float, ...]
    """Cov2 of each mode."""

    @classmethod
    def of_matrix(cls, covariance: ArrayLike) -> Covariance:
        """Read it out of the whole matrix.

        Parameters
        ----------
        covariance : (I, J, I, J) float
            Of I modes and J readers with I modes and J readers.

        Raises
        ------
        ConfigError
            If it has not that shape, or there are not two modes and two readers.
        """
        whole = np.asarray(covariance, dtype=np.float64)
        if whole.ndim != 4 or whole.shape[:2] != whole.shape[2:] or min(whole.shape) < 2:
            raise ConfigError(
                f"Expected a covariance of two or more modes and readers, shape (I, J, I, J), got {whole.shape}."
            )
        modes, readers = whole.shape[:2]
        mode, reader, other_mode, other_reader = np.indices(whole.shape)
        is_mode, is_reader = mode == other_mode, reader == other_reader
        by_mode = [whole[one, :, one, :][~np.eye(readers, dtype=bool)].mean() for one in range(modes)]
        return cls(
            float(whole[is_mode & is_reader].mean()),
            float(whole[~is_mode & is_reader].mean()),
            float(whole[is_mode & ~is_reader].mean()),
            float(whole[~is_mode & ~is_reader].mean()),
            tuple(map(float, by_mode)),
        )


def jackknife(scores: ArrayLike, merit: Merit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Figures of merit of all cases, and of all but each one.

    Parameters
    ----------
    scores : (I, J, K) float
        Of I modes, J readers and K cases.
    merit : callable
        As :data:`Merit`.

    Returns
    -------
    merits : (I, J) float
    left_out : (I, J, K) float
        The merit without case k.

    Raises
    ------
    ConfigError
        If there are not two modes, two readers and three cases, or a score is not finite.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] < 2 or values.shape[1] < 2 or values.shape[2] < 3:
        raise ConfigError(
            "Expected scores of two or more modes, two or more readers and three or more cases, each reader having "
            f"read each case in each mode; got shape {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ConfigError("Expected a finite score of every reader, mode and case. Leave out cases that one misses.")
    cases = np.arange(values.shape[2])
    merits = np.array([[merit(one, cases) for one in mode] for mode in values])
    without = [np.delete(cases, case) for case in cases]
    left_out = np.array([[[merit(one, some) for some in without] for one in mode] for mode in values])
    return merits, left_out


def jackknife_covariance(left_out: ArrayLike) -> NDArray[np.float64]:
    """Covariance (I, J, I, J) of figures of merit, from those without each case (I, J, K)."""
    values = np.asarray(left_out, dtype=np.float64)
    modes, readers, cases = values.shape
    flat = values.reshape(modes * readers, cases)
    away = flat - flat.mean(axis=1, keepdims=True)
    covariance: NDArray[np.float64] = (cases - 1) / cases * away @ away.T
    return covariance.reshape(modes, readers, modes, readers)


def obuchowski_rockette(
    merits: ArrayLike, covariance: Covariance, *, confidence: float = 0.95
) -> MultiReaderComparison:
    """Analysis of variance with correlated errors; readers and cases are random.

    Parameters
    ----------
    merits : (I, J) float
        Figure of merit of J readers in I modes.
    covariance : Covariance
    confidence : float
        Of the intervals.

    Returns
    -------
    MultiReaderComparison
    """
    values = np.asarray(merits, dtype=np.float64)
    modes, readers = values.shape
    by_mode = values.mean(axis=1)
    rest = values - by_mode[:, None] - values.mean(axis=0) + values.mean()
    between = readers * np.sum((by_mode - values.mean()) ** 2) / (modes - 1)
    freedom = (modes - 1) * (readers - 1)
    interaction = np.sum(rest**2) / freedom
    error = interaction + max(readers * (covariance.same_mode - covariance.neither), 0.0)
    means = []
    for mode, cov2 in enumerate(covariance.same_mode_by_mode):
        spread = float(np.var(values[mode], ddof=1))
        total = spread + max(readers * cov2, 0.0)
        means.append(_interval(by_mode[mode], total / readers, _freedom(total, spread, readers - 1), confidence))
    return _compared(tuple(means), by_mode, between, error, _freedom(error, interaction, freedom), readers, confidence)


def dorfman_berbaum_metz(merits: ArrayLike, left_out: ArrayLike, *, confidence: float = 0.95) -> MultiReaderComparison:
    """Three-way analysis of variance of jackknife pseudovalues; readers and cases are random.

    Parameters
    ----------
    merits : (I, J) float
    left_out : (I, J, K) float
        As :func:`jackknife` gives them.
    confidence : float
        Of the intervals.

    Returns
    -------
    MultiReaderComparison
    """
    values, without = np.asarray(merits, dtype=np.float64), np.asarray(left_out, dtype=np.float64)
    modes, readers, cases = without.shape
    pseudo = cases * values[..., None] - (cases - 1) * without
    pseudo += (values - pseudo.mean(axis=2))[..., None]  # their mean is the merit itself
    by_mode = values.mean(axis=1)
    mode_reader = _interaction(values) * cases
    mode_case = _interaction(pseudo.mean(axis=1)) * readers
    three_way = (
        pseudo
        - pseudo.mean(axis=0)
        - pseudo.mean(axis=1, keepdims=True)
        - pseudo.mean(axis=2, keepdims=True)
        + pseudo.mean(axis=(0, 1))
        + pseudo.mean(axis=(0, 2))[:, None]
        + pseudo.mean(axis=(1, 2))[:, None, None]
        - pseudo.mean()
    )
    residual = np.sum(three_way**2) / ((modes - 1) * (readers - 1) * (cases - 1))
    error = mode_reader + max(mode_case - residual, 0.0)
    between = readers * cases * np.sum((by_mode - values.mean()) ** 2) / (modes - 1)
    freedom = _freedom(error, mode_reader, (modes - 1) * (readers - 1))
    return _compared((), by_mode, between / cases, error / cases, freedom, readers, confidence)


def _interaction(table: NDArray[np.float64]) -> float:
    """Mean square of the interaction of a table's rows and columns."""
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    return float(np.sum(rest**2) / ((table.shape[0] - 1) * (table.shape[1] - 1)))


def _freedom(total: float, part: float, freedom: int) -> float:
    """Degrees of freedom of a sum of which only `part` was estimated with few; infinite where that part is nothing."""
    return float("inf") if part == 0 else total**2 / (part**2 / freedom)


def _interval(estimate: float, variance: float, freedom: float, confidence: float) -> Interval:
    from scipy.stats import norm, t

    error = float(np.sqrt(variance))
    tail = (1 + confidence) / 2
    reach = error * float(norm.ppf(tail) if np.isinf(freedom) else t.ppf(tail, freedom))
    return Interval(float(estimate), error, freedom, float(estimate) - reach, float(estimate) + reach)


def _compared(
    means: tuple[Interval, ...],
    by_mode: NDArray[np.float64],
    between: float,
    error: float,
    freedom: float,
    readers: int,
    confidence: float,
) -> MultiReaderComparison:
    from scipy.stats import chi2
    from scipy.stats import f as f_distribution

    modes = len(by_mode)
    without_error = float("inf") if between > 0 else 0.0  # every reader and case says the same
    statistic = float(between / error) if error > 0 else without_error
    if np.isinf(freedom):
        p_value = float(chi2.sf(statistic * (modes - 1), modes - 1))
    else:
        p_value = float(f_distribution.sf(statistic, modes - 1, freedom))
    pairs = [(one, other) for one in range(modes) for other in range(one + 1, modes)]
    differences = {
        (one, other): _interval(by_mode[one] - by_mode[other], 2 * error / readers, freedom, confidence)
        for one, other in pairs
    }
    return MultiReaderComparison(means, differences, statistic, (float(modes - 1), freedom), p_value)
