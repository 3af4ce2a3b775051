"""Ordinal ratings of acceptability compared between modes, when readers and cases are both samples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import ConfigError, require_extra

__all__ = ["OddsRatio", "acceptable_odds", "ordinal_odds"]

_Z = 1.959963984540054
_FEWEST_CASES = 10
"""A sandwich variance of fewer clusters is too small."""


@dataclass(frozen=True, slots=True)
class OddsRatio:
    """How the odds of a better rating in one mode compare with those in the first."""

    mode: str
    against: str
    ratio: float
    low: float
    high: float
    """Ends of the 95 % interval."""
    cases: int
    readers: int
    readings: int


def ordinal_odds(
    ratings: ArrayLike, modes: Sequence[str], readers: Sequence[str], cases: Sequence[str]
) -> list[OddsRatio]:
    """Cumulative odds ratios of modes against the first one, by generalised estimating equations.

    Parameters
    ----------
    ratings : (N,) int
        One per reading, the worst first.
    modes, readers, cases : (N,) str
        The first mode that comes is the one compared with.

    Raises
    ------
    ConfigError
        If there are fewer than two modes, two ratings that differ or ten cases, or no estimate is found.
    MissingDependencyError
        Without the extra ``readers``.

    Notes
    -----
    Proportional odds with mode and reader as fixed effects and cases as clusters, working independence, sandwich
    variance with the correction of Mancl and DeRouen for few clusters (doi:10.1111/j.0006-341X.2001.00126.x).
    A marginal model is taken because its interval holds whatever the correlation within a case is; readers are few, so
    they are fixed, and the answer is about these readers. :func:`acceptable_odds` has both as random effects.

    References
    ----------
    .. [1] Heagerty and Zeger, Marginal regression models for clustered ordinal measurements, JASA 1996,
       doi:10.1080/01621459.1996.10476722; statsmodels' OrdinalGEE.
    """
    require_extra("readers", "The comparison of ratings")
    import pandas
    from statsmodels.genmod.cov_struct import Independence
    from statsmodels.genmod.generalized_estimating_equations import OrdinalGEE

    values, design, names = _design(ratings, modes, readers, cases)
    order = np.argsort(np.asarray(cases), kind="stable")
    frame = pandas.DataFrame(design[order], columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimate that does not converge is refused below
        try:
            model = OrdinalGEE(values[order], frame, groups=np.asarray(cases)[order], cov_struct=Independence())
            found: Any = model.fit(cov_type="bias_reduced")
        except (ValueError, np.linalg.LinAlgError, FloatingPointError) as error:
            raise ConfigError(
                f"The ratings give no odds ratio: {error}. There may be too few of each answer."
            ) from error
    listed = list(dict.fromkeys(modes))
    return [
        _ratio(float(found.params[f"mode {mode}"]), float(found.bse[f"mode {mode}"]), mode, listed[0], cases, readers)
        for mode in listed[1:]
    ]


def acceptable_odds(
    is_acceptable: ArrayLike, modes: Sequence[str], readers: Sequence[str], cases: Sequence[str]
) -> list[OddsRatio]:
    """Odds ratios of an acceptable rating, with readers and cases as crossed random effects.

    Parameters
    ----------
    is_acceptable : (N,) bool
    modes, readers, cases : (N,) str
        As :func:`ordinal_odds`.

    Raises
    ------
    ConfigError, MissingDependencyError
        As :func:`ordinal_odds`.

    Notes
    -----
    A logistic mixed model by statsmodels' BinomialBayesMixedGLM, the one there with crossed random effects; its Laplace
    approximation at the posterior mode, because the variational one is known to be too certain. The ratio is that of
    one case read by one reader, and so farther from 1 than the marginal one of :func:`ordinal_odds`.
    """
    require_extra("readers", "The comparison of ratings")
    from scipy.sparse import csr_matrix
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    values, design, names = _design(np.asarray(is_acceptable, dtype=int), modes, readers, cases)
    listed = list(dict.fromkeys(modes))
    fixed = np.column_stack([np.ones(len(values)), design[:, [names.index(f"mode {mode}") for mode in listed[1:]]]])
    columns, which = [], []
    for number, group in enumerate((readers, cases)):
        indicators = np.asarray(group)[:, None] == np.unique(np.asarray(group))
        columns.append(indicators.astype(np.float64))
        which += [number] * indicators.shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = BinomialBayesMixedGLM(values, fixed, csr_matrix(np.hstack(columns)), np.array(which), vcp_p=1, fe_p=3)
        try:
            found = model.fit_map()
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ConfigError(
                f"The ratings give no odds ratio: {error}. There may be too few of each answer."
            ) from error
    return [
        _ratio(float(found.fe_mean[place]), float(found.fe_sd[place]), mode, listed[0], cases, readers)
        for place, mode in enumerate(listed[1:], start=1)
    ]


def _design(
    ratings: ArrayLike, modes: Sequence[str], readers: Sequence[str], cases: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64], list[str]]:
    """Ratings, and indicators of every mode and reader but the first."""
    values = np.asarray(ratings, dtype=np.int64)
    if not len(values) == len(modes) == len(readers) == len(cases):
        raise ConfigError("Expected one mode, reader and case for each rating.")
    listed = list(dict.fromkeys(modes))
    if len(listed) < 2 or len(np.unique(values)) < 2:
        raise ConfigError("Expected two or more modes, and ratings that are not all equal.")
    if len(set(cases)) < _FEWEST_CASES:
        raise ConfigError(f"Expected {_FEWEST_CASES} or more cases, got {len(set(cases))}.")
    names, columns = [], []
    for kind, given in (("mode", modes), ("reader", readers)):
        for one in list(dict.fromkeys(given))[1:]:
            names.append(f"{kind} {one}")
            columns.append(np.asarray(given) == one)
    return values, np.column_stack(columns).astype(np.float64), names


def _ratio(
    estimate: float, error: float, mode: str, against: str, cases: Sequence[str], readers: Sequence[str]
) -> OddsRatio:
    if not (np.isfinite(estimate) and np.isfinite(error) and error > 0 and abs(estimate) < 15):
        raise ConfigError(
            "The ratings give no finite odds ratio: in one mode all readings are alike. Report the counts instead."
        )
    low, ratio, high = np.exp([estimate - _Z * error, estimate, estimate + _Z * error])
    return OddsRatio(
        mode, against, float(ratio), float(low), float(high), len(set(cases)), len(set(readers)), len(cases)
    )
