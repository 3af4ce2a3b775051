"""Means with bootstrap intervals over patients, because structures of one patient are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError

__all__ = ["Estimate", "PairedDifference", "mean_over_patients", "paired_difference", "ratio_over_patients"]

RESAMPLES = 5000
CONFIDENCE = 0.95
FEWEST_FOR_TEST = 6
"""With five patients the smallest two-sided p of a signed-rank test is 0.0625, so that no outcome is below 0.05."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over structures, or a ratio of two."""

    mean: float
    low: float | None
    """Ends of the 95 % interval; None with fewer than two patients, as the variation between patients is unknown."""
    high: float | None
    structures: int
    patients: int


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean difference (ours − baseline) over the structures that both have."""

    difference: Estimate
    p_value: float | None
    """Wilcoxon's signed-rank test on the patients' mean differences, two-sided; None with fewer than six patients."""
    better_share: float
    """Share of structures on which ours is strictly better (higher)."""


def mean_over_patients(values: Sequence[float], patients: Sequence[str], *, seed: int = 0) -> Estimate:
    """Mean over structures, with a percentile interval from 5000 bootstrap samples of whole patients.

    Parameters
    ----------
    values : sequence of float
        One per structure.
    patients : sequence of str
        Patient of each structure.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If there is no value, or not one patient for each.
    """
    sums, counts = _by_patient(values, patients)
    return _resampled(sums, counts, len(values), seed)


def ratio_over_patients(
    ours: Sequence[float], baseline: Sequence[float], patients: Sequence[str], *, seed: int = 0
) -> Estimate:
    """Ratio of two means over the same structures, with a bootstrap interval over patients.

    Parameters
    ----------
    ours, baseline : sequence of float
        One per structure; the baseline's are positive.
    patients : sequence of str
        Patient of each structure.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If the sequences are empty or differ in length.
    """
    if len(ours) != len(baseline):
        raise ConfigError(f"Expected both values of each structure, got {len(ours)} and {len(baseline)}.")
    return _resampled(_by_patient(ours, patients)[0], _by_patient(baseline, patients)[0], len(ours), seed)


def paired_difference(
    ours: Sequence[float], baseline: Sequence[float], patients: Sequence[str], *, seed: int = 0
) -> PairedDifference:
    """Compare two scores of the same structures.

    Parameters
    ----------
    ours, baseline : sequence of float
        One per structure.
    patients : sequence of str
        Patient of each structure.
    seed : int
        Of the bootstrap.

    Raises
    ------
    ConfigError
        If the sequences are empty or differ in length.
    """
    if len(ours) != len(baseline):
        raise ConfigError(f"Expected both scores of each structure, got {len(ours)} and {len(baseline)}.")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    estimate = mean_over_patients(differences.tolist(), patients, seed=seed)
    sums, counts = _by_patient(differences.tolist(), patients)
    p_value = None
    if len(sums) >= FEWEST_FOR_TEST and np.any(sums != 0):
        from scipy.stats import wilcoxon

        p_value = float(wilcoxon(sums / counts).pvalue)
    return PairedDifference(estimate, p_value, float(np.mean(differences > 0)))


def _resampled(above: NDArray[np.float64], below: NDArray[np.float64], structures: int, seed: int) -> Estimate:
    """Ratio of two sums over patients, with a bootstrap interval; both arrays have one entry per patient."""
    quotient = float(above.sum() / below.sum())
    if len(above) < 2:
        return Estimate(quotient, None, None, structures, len(above))
    from scipy.stats import bootstrap

    interval = bootstrap(
        (above, below),
        lambda upper, lower, axis: upper.sum(axis=axis) / lower.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(quotient, float(interval.low), float(interval.high), structures, len(above))


def _by_patient(values: Sequence[float], patients: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and count of the values of each patient."""
    if not values or len(values) != len(patients):
        raise ConfigError(f"Expected values and the patient of each, got {len(values)} and {len(patients)}.")
    names, which = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.bincount(which, weights=values, minlength=len(names)).astype(np.float64)
    return sums, np.bincount(which).astype(np.float64)
