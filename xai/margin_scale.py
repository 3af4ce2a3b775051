"""How margins share out over a surface: u(z), large where the segmentation is unsure.

A scale is frozen before any score is taken. It moves width from places that are sure to places that are not; whatever
it is, the conformal quantile makes the margins hold, so a bad scale costs width and never coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError
from xai.errors import UncertaintyError

__all__ = ["DEFAULT_SCALE", "SCALES", "MarginScale", "scale_named"]


@dataclass(frozen=True, slots=True)
class MarginScale:
    """``u = floor + per_spread_mm × boundary spread + per_entropy_bit × predictive entropy`` at the surface.

    Raises
    ------
    UncertaintyError
        If the floor is not positive (a place where all runs agree would never be widened), or a weight is negative.
    """

    name: str
    floor: float
    per_spread_mm: float = 0.0
    per_entropy_bit: float = 0.0

    def __post_init__(self) -> None:
        weights = (self.floor, self.per_spread_mm, self.per_entropy_bit)
        if not all(math.isfinite(weight) for weight in weights) or self.floor <= 0 or min(weights) < 0:
            raise UncertaintyError(
                f"Expected a margin scale with floor > 0 and weights >= 0, all finite, got floor={self.floor}, "
                f"per_spread_mm={self.per_spread_mm}, per_entropy_bit={self.per_entropy_bit}."
            )

    def on_surface(
        self, mask: ArrayLike, boundary_spread_mm: ArrayLike | None, entropy_bits: ArrayLike | None
    ) -> NDArray[np.float32]:
        """u for every voxel of a grid, read at the surface of `mask`.

        Parameters
        ----------
        mask : (K, J, I) bool
            What is widened: a structure to avoid, or the complement of a corridor.
        boundary_spread_mm, entropy_bits : (K, J, I) float, optional
            Absent or not finite counts as 0, in calibration and in use alike.

        Returns
        -------
        (K, J, I) float32
            Elsewhere than on the surface the smallest value of the surface: there u can make no difference, so that
            "min over the voxels" and "min over the surface" are the same thing.
        """
        inside = np.asarray(mask, dtype=bool)
        u = np.full(inside.shape, np.float32(self.floor))
        for weight, values in ((self.per_spread_mm, boundary_spread_mm), (self.per_entropy_bit, entropy_bits)):
            if weight == 0 or values is None:
                continue
            known = np.asarray(values, dtype=np.float32)
            if known.shape != inside.shape:
                raise GeometryError(f"Expected maps on the mask's grid {inside.shape}, got {known.shape}.")
            u += np.float32(weight) * np.where(np.isfinite(known), np.maximum(known, 0), 0)
        surface = _surface(inside)
        lowest = u[surface].min() if surface.any() else np.float32(self.floor)
        result: NDArray[np.float32] = np.where(surface, u, lowest)
        return result


SCALES = {
    scale.name: scale
    for scale in (
        MarginScale("uniform", 1.0),
        MarginScale("spread", 0.5, per_spread_mm=1.0),
        MarginScale("entropy", 0.5, per_entropy_bit=1.0),
        MarginScale("combined", 0.5, per_spread_mm=1.0, per_entropy_bit=0.5),
    )
}
"""By name. The floor of half a millimetre is about half a voxel: no surface is surer than that."""
DEFAULT_SCALE = "uniform"
"""The one of least stretch at equal coverage in ``benchmarks/margins.py`` with the shipped weights. A calibration may
choose another, on patients of its own."""


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


def _surface(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    result: NDArray[np.bool_] = inside & ~binary_erosion(inside, border_value=1)
    return result
