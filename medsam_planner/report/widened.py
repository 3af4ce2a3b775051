"""The outline of a structure with its safety margin, on any plane.

The margin belongs to the structure's surface: the widened structure is where ``min over z (|x − z| − m(z)) <= 0``. The
margins are rounded up to a few levels, so the outline never lies inside the true one, and each level is a nearest
neighbour search.
"""

from __future__ import annotations

from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from medsam_planner.drawing.reformat import Plane, sample_plane
from medsam_planner.geometry import lps_from_index, spacing_mm
from prompts.masks import mask_box

__all__ = ["WidenedStructure", "widened_structure"]

_LEVELS = 6
_COARSER = 2
"""The distance is searched on pixels this many times as wide: searching is most of a report's time."""


@dataclass(frozen=True, slots=True, eq=False)
class WidenedStructure:
    """Surface voxels of a structure, grouped by margin."""

    mask: highdicom.Volume
    trees: tuple[tuple[float, cKDTree], ...]
    """Reach in mm (margin and half a voxel) and the centres of the surface voxels that have it, LPS mm."""
    half_voxel_mm: float
    bounds_lps_mm: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Lowest and highest coordinates of the surface voxels."""
    inwards: bool
    """The margin narrows a corridor instead of widening a structure."""

    @property
    def margin_range_mm(self) -> tuple[float, float]:
        """Smallest and largest margin at the surface."""
        reaches = [margin for margin, _ in self.trees]
        return min(reaches) - self.half_voxel_mm, max(reaches) - self.half_voxel_mm

    @property
    def has_margin(self) -> bool:
        """Whether the widened outline differs from the structure's own."""
        return self.margin_range_mm[1] > 0

    def distance_mm(self, plane: Plane) -> NDArray[np.float32]:
        """Distance to the widened outline, (rows, columns) float32 mm.

        Negative inside the widened structure, or, inwards, outside the narrowed corridor. Capped far from the outline,
        where no picture needs it.
        """
        coarse = plane.coarser(_COARSER)
        widest = max(margin for margin, _ in self.trees)
        reach = widest + 3 * coarse.pixel_mm
        positions = coarse.positions_lps_mm().reshape(-1, 3)
        low, high = self.bounds_lps_mm
        is_near = ((positions > low - reach) & (positions < high + reach)).all(axis=1)
        nearby = np.full(int(is_near.sum()), reach - widest)
        for margin, tree in self.trees:
            found, _ = tree.query(positions[is_near], distance_upper_bound=reach)
            nearby = np.minimum(nearby, np.where(np.isfinite(found), found - margin, np.inf))
        everywhere = np.full(len(positions), reach - widest)
        everywhere[is_near] = nearby
        distance = everywhere.reshape(coarse.size[1], coarse.size[0])
        in_mask = np.nan_to_num(sample_plane(self.mask, coarse, order=0)) > 0.5
        inside = ~in_mask if self.inwards else in_mask
        distance[inside] = np.minimum(distance[inside], -coarse.pixel_mm)
        # Distances change by at most a pixel's side per pixel: between the coarser pixels they interpolate well.
        rows, columns = np.indices((plane.size[1], plane.size[0]), dtype=np.float64)
        at = [(axis - (_COARSER - 1) / 2) / _COARSER for axis in (rows, columns)]
        fine: NDArray[np.float32] = ndimage.map_coordinates(distance, at, output=np.float32, order=1, mode="nearest")
        return fine

    def nearest_lps_mm(self, position_lps_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """The surface voxel whose margin reaches nearest to a position, (3,) LPS mm."""
        found = [(*tree.query(position_lps_mm), margin, tree) for margin, tree in self.trees]
        _, index, _, tree = min(found, key=lambda candidate: candidate[0] - candidate[2])
        nearest: NDArray[np.float64] = tree.data[index]
        return nearest


def widened_structure(
    mask: highdicom.Volume, margin_mm: highdicom.Volume | float, *, inwards: bool = False
) -> WidenedStructure:
    """Group the surface voxels of `mask` by their margin.

    Parameters
    ----------
    mask : highdicom.Volume
        bool, not empty.
    margin_mm : highdicom.Volume or float
        Margin of each surface voxel in mm, >= 0; or one for all.
    inwards : bool
        The structure is a corridor, and its margin narrows it.
    """
    box = mask_box(mask.array > 0, grown=1)
    first = np.array([part.start for part in box])
    # Beyond the grid a corridor is outside, and a structure to avoid is not known: both read as "not in the mask".
    inside = np.pad((mask.array > 0)[box], 1)
    if isinstance(margin_mm, highdicom.Volume):
        margin = np.pad(margin_mm.array[box].astype(np.float32), 1, mode="edge")
    else:
        margin = np.full(inside.shape, float(margin_mm), dtype=np.float32)
    structure = ~inside if inwards else inside
    cross = ndimage.generate_binary_structure(3, 1)
    shell = structure & ndimage.binary_dilation(~structure, cross)
    beside = ~structure & ndimage.binary_dilation(structure, cross)
    # The surface runs between the two layers, so the margin is read on both, and the larger one holds.
    read = ndimage.maximum_filter(np.where(shell | beside, margin, 0.0), size=3)
    index = np.argwhere(shell)
    # The surface runs about half a voxel beyond the centres of its voxels.
    half_voxel_mm = float(spacing_mm(mask.affine).min()) / 2
    margins = np.maximum(read[shell].astype(np.float64), 0.0) + half_voxel_mm
    bottom = margins.min()
    step = max((margins.max() - bottom) / _LEVELS, 0.05)
    level = bottom + np.ceil((margins - bottom) / step - 1e-9) * step
    positions = lps_from_index(mask.affine, index + first - 1)
    trees = tuple((float(value), cKDTree(positions[level == value])) for value in np.unique(level))
    bounds = (positions.min(axis=0), positions.max(axis=0))
    return WidenedStructure(mask=mask, trees=trees, half_voxel_mm=half_voxel_mm, bounds_lps_mm=bounds, inwards=inwards)
