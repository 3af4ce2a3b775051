"""Flaws of a mask that make any statement on its accuracy unreliable, whatever the stochastic passes show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import spacing_mm
from medsam_planner.planning.distance import distance_transform_mm
from medsam_planner.planning.region import IndexBox, bounding_box
from medsam_planner.planning.structures import bool_array
from xai.surface import surface_voxels

__all__ = ["FlawKind", "MaskFlaw", "find_flaws"]

_LEAST_ACROSS = 8
"""Voxels. Below it a surface that is half a voxel off moves the volume by a third and more."""
_STEP = 1.3
"""Ratio of the areas of two neighbouring slices: a ball of 8 voxels across or more stays below it around its middle."""
_USUAL_SPREAD_PERCENTILE = 95


class FlawKind(StrEnum):
    """Kind of a flaw."""

    ONE_SLICE = "one slice"
    THIN = "thin"
    STEPPED = "stepped"
    CUT = "cut by the edge of the study"
    SPREAD_BELOW_VOXEL = "spread below the voxel size"


@dataclass(frozen=True, slots=True)
class MaskFlaw:
    """One flaw of a mask."""

    kind: FlawKind
    text: str
    """Half a sentence that follows “the mask”."""


def find_flaws(
    mask: highdicom.Volume,
    *,
    boundary_spread_mm: highdicom.Volume | None = None,
    prompted_slices: Sequence[int] = (),
    axis: int = 0,
) -> tuple[MaskFlaw, ...]:
    """Find the flaws of a mask.

    Parameters
    ----------
    mask : highdicom.Volume
        bool, on the study's grid.
    boundary_spread_mm : highdicom.Volume, optional
        Standard deviation of the surface over the stochastic passes, mm, on the same grid.
    prompted_slices : sequence of int
        Indices of the prompted slices along `axis`.
    axis : int
        Array axis along which the mask was propagated.

    Returns
    -------
    tuple of MaskFlaw
        Empty for a mask in which none was found, and for an empty mask.
    """
    inside = bool_array(mask, "mask")
    if not inside.any():
        return ()
    box = bounding_box(inside)
    whole = IndexBox(np.zeros(3, dtype=np.int64), np.array(inside.shape, dtype=np.int64))
    part = box.clipped_to(whole).slices_in(whole)
    near = inside[part]
    extent = box.high - box.low - 2
    found: list[MaskFlaw] = []
    if extent.min() == 1:
        found.append(MaskFlaw(FlawKind.ONE_SLICE, "is one slice thick"))
    else:
        across = min(int(extent.min()), _thickness(near))
        if across < _LEAST_ACROSS:
            found.append(MaskFlaw(FlawKind.THIN, f"is only {across} voxels across"))
    stepped = [index for index in prompted_slices if _is_step(inside, axis, index)]
    if stepped:
        told = ", ".join(str(index + 1) for index in stepped)
        found.append(MaskFlaw(FlawKind.STEPPED, f"jumps in area on both sides of its prompted slice {told}"))
    if any(inside.take(end, axis=other).any() for other in range(3) for end in (0, -1)):
        found.append(MaskFlaw(FlawKind.CUT, "is cut by the edge of the study"))
    if boundary_spread_mm is not None:
        at_surface = boundary_spread_mm.array[part][surface_voxels(near)]
        voxel = float(spacing_mm(mask.affine).min())
        if at_surface.size and float(np.percentile(at_surface, _USUAL_SPREAD_PERCENTILE)) < voxel:
            text = (
                f"varies between the stochastic passes by less than a voxel ({voxel:.1f} mm), so the passes cannot "
                "measure its error"
            )
            found.append(MaskFlaw(FlawKind.SPREAD_BELOW_VOXEL, text))
    return tuple(found)


def _thickness(near: NDArray[np.bool_]) -> int:
    """Voxels across the thickest place of a mask, about: the voxel in its middle, and what lies on both sides."""
    return round(2 * float(distance_transform_mm(np.pad(near, 1), np.ones(3)).max()) + 1)


def _is_step(inside: NDArray[np.bool_], axis: int, index: int) -> bool:
    """Whether a slice is that much larger, or that much smaller, than both its neighbours."""
    if not 0 < index < inside.shape[axis] - 1:
        return False
    before, here, after = (float(np.count_nonzero(inside.take(index + side, axis=axis))) for side in (-1, 0, 1))
    return 0 < _STEP * max(before, after) < here or here * _STEP < min(before, after)
