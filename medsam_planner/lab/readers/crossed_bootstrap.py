"""Intervals of a mean over patients and readers, both of them samples: BCa bootstrap of the two crossed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import ConfigError

__all__ = ["FEW_PATIENTS", "CrossedMean", "crossed_mean"]

RESAMPLES = 5000
FEW_PATIENTS = 20
"""With fewer the interval is too narrow: see the coverage in ``docs/use/readers.md``."""


@dataclass(frozen=True, slots=True)
class CrossedMean:
    """A mean over patients and readers with its 95 % interval."""

    mean: float
    low: float | None
    """Ends of the interval; None with one patient, where the variation between patients is unknown."""
    high: float | None
    patients: int
    readers: int
    values: int
    """Readings behind the mean; fewer than patients × readers where one is missing."""


def crossed_mean(table: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> CrossedMean:
    """Mean of a table, with an interval from bootstrap samples of whole patients and whole readers.

    Parameters
    ----------
    table : (patients, readers) float
        NaN where there is no value. With one column, patients alone are drawn.
    resamples, seed : int

    Returns
    -------
    CrossedMean

    Raises
    ------
    ConfigError
        If it is not a table with at least one value.

    Notes
    -----
    Both factors are drawn independently (the pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122, which is
    conservative for a mean), and the bounds are bias-corrected and accelerated (Efron 1987,
    doi:10.1080/01621459.1987.10478410) with the jackknife of both factors, as :func:`scipy.stats.bootstrap` does.
    """
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).any():
        raise ConfigError(f"Expected a table of patients by readers with one value or more, got shape {values.shape}.")
    values = values[np.isfinite(values).any(axis=1)][:, np.isfinite(values).any(axis=0)]
    patients, readers = values.shape
    mean, count = float(np.nanmean(values)), int(np.isfinite(values).sum())
    if patients < 2:
        return CrossedMean(mean, None, None, patients, readers, count)
    if np.nanmax(values) == np.nanmin(values):
        return CrossedMean(mean, mean, mean, patients, readers, count)
    low, high = _bounds(values, resamples, seed)
    return CrossedMean(mean, low, high, patients, readers, count)


def _bounds(values: NDArray[np.float64], resamples: int, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    weight = np.isfinite(values).astype(np.float64)
    filled = np.nan_to_num(values)
    patients, readers = values.shape

    def mean_of(*drawn: NDArray[np.intp], axis: int = -1) -> NDArray[np.float64]:
        rows = drawn[0][..., :, None]
        columns = drawn[1][..., None, :] if len(drawn) == 2 else np.arange(readers)
        total = filled[rows, columns].sum(axis=(-2, -1))
        share = weight[rows, columns].sum(axis=(-2, -1))
        return np.divide(total, share, out=np.full_like(total, float(np.nanmean(values))), where=share > 0)

    data = (np.arange(patients),) if readers == 1 else (np.arange(patients), np.arange(readers))
    bounds = (np.nan, np.nan)
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a degenerate jackknife ends in NaN and the percentiles below
            found = bootstrap(
                data,
                mean_of,
                paired=False,
                vectorized=True,
                n_resamples=resamples,
                confidence_level=0.95,
                method=method,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        bounds = (float(found.low), float(found.high))
        if np.isfinite(bounds).all():
            break
    return bounds
