"""Distribution of margins over a surface: u(z), large where the segmentation is uncertain.

A scale is fixed before any score is computed. It makes margins narrower where the segmentation is certain and wider
where it is not. The conformal quantile makes the margins hold for every scale, so a bad scale makes margins wider but
never reduces coverage. This requires that u depends only on the prediction and on constants that were fixed without the
calibration patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from xai.errors import UncertaintyError
from xai.surface import surface_voxels

__all__ = ["DEFAULT_SCALE", "SCALES", "MarginScale", "scale_named", "size_shortfall"]


@dataclass(frozen=True, slots=True)
class MarginScale:
    """Formula of u at the surface::

        u = floor + per_spread_mm × boundary spread + per_entropy_bit × predictive entropy
            + per_size_shortfall × size shortfall

    Spread and entropy vary over the surface. The last term, see :func:`size_shortfall`, is one number per structure and
    varies between patients: it widens the margins of the few patients in whom far too little was segmented, instead of
    the margins of all.

    Raises
    ------
    UncertaintyError
        If the floor is not positive (where all passes agree, the margin would be 0), or a weight is negative.
    """

    name: str
    floor: float
    per_spread_mm: float = 0.0
    per_entropy_bit: float = 0.0
    per_size_shortfall: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.floor, self.per_spread_mm, self.per_entropy_bit, self.per_size_shortfall)
        if not all(math.isfinite(weight) for weight in weights) or self.floor <= 0 or min(weights) < 0:
            raise UncertaintyError(
                f"Expected a margin scale with floor > 0 and weights >= 0, all finite, got floor={self.floor}, "
                f"per_spread_mm={self.per_spread_mm}, per_entropy_bit={self.per_entropy_bit}, "
                f"per_size_shortfall={self.per_size_shortfall}."
            )

    def on_surface(
        self,
        mask: ArrayLike,
        boundary_spread_mm: ArrayLike | None,
        entropy_bits: ArrayLike | None,
        shortfall: float = 0.0,
    ) -> NDArray[np.float32]:
        """u for every voxel of a grid, read at the surface of `mask`.

        Parameters
        ----------
        mask : (K, J, I) bool
            What is widened: a structure to avoid, or the complement of a corridor.
        boundary_spread_mm, entropy_bits : (K, J, I) float, optional
            Absent or not finite counts as 0, in calibration and in use alike.
        shortfall : float
            Size shortfall of the structure, from :func:`size_shortfall`; >= 0, without a unit.

        Returns
        -------
        (K, J, I) float32
            Off the surface it is the smallest value of the surface, so that minima over all voxels and over the surface
            are equal.

        Raises
        ------
        UncertaintyError
            If the shortfall is negative or not finite.
        GeometryError
            If a map lies on another grid.
        """
        if not (math.isfinite(shortfall) and shortfall >= 0):
            raise UncertaintyError(
                f"Expected a finite size shortfall >= 0, got {shortfall}. Take it from size_shortfall; 0 where the "
                "population median volume is not known."
            )
        inside = np.asarray(mask, dtype=bool)
        least = np.float32(self.floor + self.per_size_shortfall * shortfall)
        u = np.full(inside.shape, least)
        for weight, values in ((self.per_spread_mm, boundary_spread_mm), (self.per_entropy_bit, entropy_bits)):
            if weight == 0 or values is None:
                continue
            known = np.asarray(values, dtype=np.float32)
            if known.shape != inside.shape:
                raise GeometryError(f"Expected maps on the mask's grid {inside.shape}, got {known.shape}.")
            u += np.float32(weight) * np.where(np.isfinite(known), np.maximum(known, 0), 0)
        surface = surface_voxels(inside)
        lowest = u[surface].min() if surface.any() else least
        result: NDArray[np.float32] = np.where(surface, u, lowest)
        return result


SCALES = {
    scale.name: scale
    for scale in (
        MarginScale("uniform", 1.0),
        MarginScale("spread", 0.5, per_spread_mm=1.0),
        MarginScale("entropy", 0.5, per_entropy_bit=1.0),
        MarginScale("combined", 0.5, per_spread_mm=1.0, per_entropy_bit=0.5),
        MarginScale("size", 1.0, per_size_shortfall=1.0),
    )
}
"""Scales by name. The floor of half a millimetre is about half a voxel."""
DEFAULT_SCALE = "size"
"""The scale with the smallest stretch at equal coverage in ``benchmarks/margins.py`` with the weights of version 0.1.0.
Without population median volumes it equals ``uniform``. A calibration may choose another scale."""


def scale_named(name: str) -> MarginScale:
    """A scale by its name.

    Raises
    ------
    UncertaintyError
        If there is none of that name.
    """
    if name not in SCALES:
        raise UncertaintyError(f"Expected one of the margin scales {', '.join(SCALES)}, got {name!r}.")
    return SCALES[name]


def size_shortfall(found_ml: float, median_ml: float | None, *, inner: bool = False) -> float:
    """By how much a structure falls short of the population median volume: ``max(0, ln(median / found))``.

    For half the median volume it is ln 2, for a quarter twice that. For a structure to stay inside (``inner=True``) the
    complement is widened, which falls short where too much of the structure was segmented: ``max(0, ln(found /
    median))``.

    Parameters
    ----------
    found_ml : float
        Volume of the segmentation, ml, >= 0.
    median_ml : float, optional
        Population median volume of structures of this name, ml, > 0: a constant that does not depend on any calibration
        patient.
    inner : bool
        Whether the structure is one to stay inside.

    Returns
    -------
    float
        >= 0 and finite; 0 without a population median volume. 0 also for an empty segmentation, which cannot be
        widened: its score is infinite for every u.

    Raises
    ------
    UncertaintyError
        If a volume is out of range.
    """
    if not (math.isfinite(found_ml) and found_ml >= 0):
        raise UncertaintyError(f"Expected a found volume >= 0 ml, got {found_ml}.")
    if median_ml is None:
        return 0.0
    if not (math.isfinite(median_ml) and median_ml > 0):
        raise UncertaintyError(
            f"Expected a median volume > 0 ml, got {median_ml}. Leave it out (None) where it is not known."
        )
    if found_ml == 0:
        return 0.0
    logarithm = math.log(found_ml) - math.log(median_ml)
    return max(0.0, logarithm if inner else -logarithm)
