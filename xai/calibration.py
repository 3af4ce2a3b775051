"""Calibration of probabilities near the surface, and the temperature that corrects it.

Calibration is measured only in a band around the reference surface. In a whole volume, millions of background voxels
with probability 0 would make every model look perfectly calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from xai.errors import EmptyStructureError, UncertaintyError
from xai.surface import signed_distance_mm

__all__ = [
    "BAND_MM",
    "ReliabilityDiagram",
    "brier_score",
    "fit_dropout_temperature",
    "fit_temperature",
    "mean_of_scaled_passes",
    "measure_reliability",
    "surface_band",
]

BAND_MM = 5.0
"""Calibration is measured within this distance of the reference surface."""
_CHUNK = 1 << 22
"""Values that are binned at once: MONAI counts in float32, which is exact up to 2^24."""
_LOG_TEMPERATURES = (-4.0, 4.0)
"""Logarithms of the smallest and the largest temperature that are tried: 0.02 and 55."""


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityDiagram:
    """Predicted probability and observed frequency in bins of the probability."""

    edges: NDArray[np.float64]
    """(N + 1,) bounds of the bins over [0, 1]."""
    confidence: NDArray[np.float64]
    """(N,) mean predicted probability of the structure; NaN in an empty bin."""
    frequency: NDArray[np.float64]
    """(N,) share of voxels that belong to the structure; NaN in an empty bin."""
    count: NDArray[np.int64]
    """(N,) number of voxels."""

    @property
    def expected_calibration_error(self) -> float:
        """Gap between confidence and frequency, averaged over voxels (ECE)."""
        filled = self.count > 0
        gaps = np.abs(self.confidence - self.frequency)[filled]
        return float(np.average(gaps, weights=self.count[filled]))

    @property
    def average_calibration_error(self) -> float:
        """Gap between confidence and frequency, averaged over filled bins (ACE): bins with few voxels have the same
        weight."""
        return float(np.nanmean(np.abs(self.confidence - self.frequency)))

    @property
    def maximum_calibration_error(self) -> float:
        """Largest gap of any filled bin (MCE)."""
        return float(np.nanmax(np.abs(self.confidence - self.frequency)))


def surface_band(
    mask: ArrayLike, spacing_mm: Sequence[float] | NDArray[np.floating], *, band_mm: float = BAND_MM
) -> NDArray[np.bool_]:
    """Voxels whose centre lies within `band_mm` of the mask's outermost voxels, inside or outside.

    Parameters
    ----------
    mask : (K, J, I) bool
        Usually the reference.
    spacing_mm : (3,) float
        Distance between voxel centres along k, j, i.
    band_mm : float
        Largest distance from the surface.

    Raises
    ------
    EmptyStructureError
        If the mask has no surface.
    UncertaintyError
        If the band is negative.
    """
    if not band_mm >= 0:
        raise UncertaintyError(f"Expected band_mm >= 0, got {band_mm}.")
    return np.asarray(np.abs(signed_distance_mm(mask, spacing_mm)) <= band_mm)


def measure_reliability(
    probability: ArrayLike, reference: ArrayLike, *, within: ArrayLike | None = None, bins: int = 15
) -> ReliabilityDiagram:
    """Compare predicted probabilities with a reference.

    Parameters
    ----------
    probability : (...) float in [0, 1]
        Predicted probability of the structure.
    reference : (...) bool
        Voxels that belong to the structure.
    within : (...) bool, optional
        Voxels to compare, for example :func:`surface_band` of the reference; all by default.
    bins : int
        Number of bins of equal width over [0, 1]; 15 as in [1]_.

    Raises
    ------
    UncertaintyError
        If a probability lies outside [0, 1].
    GeometryError
        If shapes differ.
    EmptyStructureError
        If there is no voxel to compare.

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017, arXiv 1706.04599.
    """
    import torch
    from monai.metrics.calibration import calibration_binning

    if bins < 1:
        raise UncertaintyError(f"Expected at least one bin, got {bins}.")
    p, y = _paired(probability, reference, within)
    if not ((p >= 0) & (p <= 1)).all():
        raise UncertaintyError(f"Expected probabilities in [0, 1], got values from {p.min()} to {p.max()}.")
    sums = np.zeros((3, bins))
    for start in range(0, p.size, _CHUNK):
        piece = slice(start, start + _CHUNK)
        predicted = torch.from_numpy(p[piece].astype(np.float32))[None, None]
        observed = torch.from_numpy(y[piece].astype(np.float32))[None, None]
        confidence, frequency, count = (
            t[0, 0].double().numpy() for t in calibration_binning(predicted, observed, num_bins=bins)
        )
        sums += np.stack([np.nan_to_num(confidence) * count, np.nan_to_num(frequency) * count, count])
    count = sums[2]
    with np.errstate(invalid="ignore"):
        confidence, frequency = sums[:2] / np.where(count > 0, count, np.nan)
    return ReliabilityDiagram(np.linspace(0.0, 1.0, bins + 1), confidence, frequency, count.astype(np.int64))


def brier_score(probability: ArrayLike, reference: ArrayLike, *, within: ArrayLike | None = None) -> float:
    """Mean squared difference of probability and reference: 0 is perfect; a constant one half gives 0.25.

    Parameters
    ----------
    probability, reference, within
        As for :func:`measure_reliability`.

    Raises
    ------
    UncertaintyError
        If a probability lies outside [0, 1].
    GeometryError
        If shapes differ.
    EmptyStructureError
        If there is no voxel to compare.

    References
    ----------
    .. [1] Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950,
       doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.
    """
    p, y = _paired(probability, reference, within)
    if not ((p >= 0) & (p <= 1)).all():
        raise UncertaintyError(f"Expected probabilities in [0, 1], got values from {p.min()} to {p.max()}.")
    return float(np.mean(np.square(p.astype(np.float64) - y)))


def fit_temperature(logits: ArrayLike, reference: ArrayLike, *, within: ArrayLike | None = None) -> float:
    """Maximum-likelihood temperature for dividing the logits of these voxels [1]_.

    The log-likelihood is concave in 1/T, so the root of its derivative is the only optimum. Fit the temperature on
    other patients than those it is evaluated on.

    Parameters
    ----------
    logits : (...) float
        Logits of the probability of the structure.
    reference : (...) bool
        Voxels that belong to the structure.
    within : (...) bool, optional
        Voxels to use, for example :func:`surface_band` of the reference; all by default.

    Returns
    -------
    float > 0
        Above 1 for an overconfident model, below 1 for an underconfident one.

    Raises
    ------
    UncertaintyError
        If no positive, finite temperature is best: the logits separate the classes perfectly, or are anticorrelated
        with the reference.
    GeometryError
        If shapes differ.
    EmptyStructureError
        If there is no voxel to compare.

    References
    ----------
    .. [1] Guo et al., On calibration of modern neural networks, ICML 2017, arXiv 1706.04599, §4.2.
    """
    from scipy.optimize import brentq
    from scipy.special import expit

    z, y = _paired(logits, reference, within)
    z = z.astype(np.float64)
    if not np.isfinite(z).all():
        raise UncertaintyError("Expected finite logits, got NaN or infinity.")

    def slope(inverse: float) -> float:
        return float(np.mean((expit(inverse * z) - y) * z))

    if slope(0.0) >= 0:
        raise UncertaintyError("The logits are unrelated or opposite to the reference: no temperature corrects that.")
    if np.where(y, z > 0, z < 0).all():
        raise UncertaintyError(
            "The logits separate the classes perfectly, so the best temperature is 0: widen the band or add cases."
        )
    high = 1.0
    while slope(high) < 0:
        high *= 2.0
    return 1.0 / float(brentq(slope, 0.0, high, xtol=1e-12))


def mean_of_scaled_passes(logits: ArrayLike, temperature: float) -> NDArray[np.float32]:
    """Mean probability of stochastic passes after the logits of each pass are divided by a temperature.

    Parameters
    ----------
    logits : (T, N) float
        Of N voxels in T passes; −∞ outside the model's crop, where the probability is 0 at every temperature.
    temperature : float > 0
        Divisor of the logits.

    Returns
    -------
    (N,) float32

    Raises
    ------
    UncertaintyError
        If the temperature is not positive and finite.
    """
    from scipy.special import expit

    if not (np.isfinite(temperature) and temperature > 0):
        raise UncertaintyError(f"Expected a positive, finite temperature, got {temperature}.")
    scaled = np.asarray(logits, dtype=np.float32) / np.float32(temperature)
    return np.asarray(expit(scaled).mean(axis=0, dtype=np.float64), dtype=np.float32)


def fit_dropout_temperature(logits: ArrayLike, reference: ArrayLike) -> float:
    """Maximum-likelihood temperature for the mean of stochastic passes [1]_.

    For equal passes it is that of :func:`fit_temperature`. Fit it on other patients than those it is evaluated on.

    Parameters
    ----------
    logits : (T, N) float
        Of N voxels in T passes, from a band around reference surfaces; −∞ outside the model's crop, which has no
        influence on the temperature.
    reference : (N,) bool
        Voxels that belong to the structure.

    Returns
    -------
    float > 0

    Raises
    ------
    UncertaintyError
        If no temperature between 0.02 and 55 is best: the passes separate the classes perfectly, or are opposite to the
        reference.
    GeometryError
        If the shapes do not match.
    EmptyStructureError
        If there is no voxel.

    References
    ----------
    .. [1] Laves et al., Well-calibrated model uncertainty with temperature scaling for dropout variational inference,
       NeurIPS workshop on Bayesian deep learning 2019, arXiv 1909.13550.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import expit

    z, y = np.asarray(logits, dtype=np.float32), np.asarray(reference, dtype=bool)
    if z.ndim != 2 or z.shape[1:] != y.shape:
        raise GeometryError(f"Expected (T, N) logits and (N,) reference, got the shapes {z.shape} and {y.shape}.")
    if not z.size:
        raise EmptyStructureError("No voxel lies where calibration should be measured: widen the band.")
    if np.isnan(z).any():
        raise UncertaintyError("Expected logits, got NaN.")
    signed = np.where(y, z, -z)

    def mean_negative_log_likelihood(log_temperature: float) -> float:
        right = expit(signed * np.float32(np.exp(-log_temperature))).mean(axis=0, dtype=np.float64)
        return float(-np.log(np.maximum(right, np.finfo(np.float64).tiny)).mean())

    low, high = _LOG_TEMPERATURES
    best = float(
        minimize_scalar(mean_negative_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-4}).x
    )
    if (signed > 0).all() or min(best - low, high - best) < 0.01:
        raise UncertaintyError(
            "The passes separate the classes perfectly or are opposite to the reference: no temperature is best. Add "
            "cases."
        )
    return float(np.exp(best))


def _paired(
    values: ArrayLike, reference: ArrayLike, within: ArrayLike | None
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    v, y = np.asarray(values), np.asarray(reference, dtype=bool)
    where = np.ones(v.shape, dtype=bool) if within is None else np.asarray(within, dtype=bool)
    if not v.shape == y.shape == where.shape:
        raise GeometryError(f"Expected arrays of one shape, got {v.shape}, {y.shape} and {where.shape}.")
    if not where.any():
        raise EmptyStructureError("No voxel lies where calibration should be measured: widen the band.")
    return v[where], y[where]
