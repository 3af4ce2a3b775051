"""How margins share out over a surface: u(z), large where the segmentation is unsure.

A scale is frozen before any score is taken. It moves width from places that are sure to places that are not; whatever
it is, the conformal quantile makes the margins hold, so a bad scale costs width and never coverage. That needs u to be
a function of the prediction and of constants alone that were fixed without the calibration patients.
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
    """What u is at the surface::

        u = floor + per_spread_mm × boundary spread + per_entropy_bit × predictive entropy
            + per_size_shortfall × size shortfall

    The first two tell the places of a surface apart. The last, of :func:`size_shortfall`, is one number of a structure
    and tells patients apart: the margins of most need not be as wide as those of the few of whom far too little was
    found.

    Raises
    ------
    UncertaintyError
        If the floor is not positive (a place where all runs agree would never be widened), or a weight is negative.
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
            Of the structure, by :func:`size_shortfall`; >= 0, without a unit.

        Returns
        -------
        (K, J, I) float32
            Elsewhere than on the surface the smallest value of the surface: there u can make no difference, so that
            "min over the voxels" and "min over the surface" are the same thing.

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
                "usual size is not known."
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
"""By name. The floor of half a millimetre is about half a voxel: no surface is surer than that."""
DEFAULT_SCALE = "size"
"""The one of these with least stretch at equal coverage in ``benchmarks/margins.py`` with the shipped weights; the same
as ``uniform`` where no usual size is known. A calibration may choose another, on patients of its own."""


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


def size_shortfall(found_ml: float, usual_ml: float | None, *, inner: bool = False) -> float:
    """How far a structure falls short of its usual volume: ``max(0, ln(usual / found))``.

    Half of it found is a shortfall of ln 2, a quarter of it twice that. For a corridor (``inner=True``) what is widened
    is the complement, which falls short where too much of the structure was found: ``max(0, ln(found / usual))``.

    Parameters
    ----------
    found_ml : float
        Volume of the prediction, ml, >= 0.
    usual_ml : float, optional
        Volume that is usual for structures of this name, ml, > 0: a constant that no calibration patient had a part in.
    inner : bool

    Returns
    -------
    float
        >= 0 and finite; 0 where no usual volume is known. 0 as well where nothing was found: nothing can be widened
        then, and the score is infinite whatever u is.

    Raises
    ------
    UncertaintyError
        If a volume is out of range.
    """
    if not (math.isfinite(found_ml) and found_ml >= 0):
        raise UncertaintyError(f"Expected a found volume >= 0 ml, got {found_ml}.")
    if usual_ml is None:
        return 0.0
    if not (math.isfinite(usual_ml) and usual_ml > 0):
        raise UncertaintyError(
            f"Expected a usual volume > 0 ml, got {usual_ml}. Leave it out (None) where it is not known."
        )
    if found_ml == 0:
        return 0.0
    logarithm = math.log(found_ml) - math.log(usual_ml)
    return max(0.0, logarithm if inner else -logarithm)
