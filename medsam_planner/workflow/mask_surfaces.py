"""Surfaces of masks for pictures and for the 3D view. No plan measures against them."""

from __future__ import annotations

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import EmptyStructureError, GeometryError
from medsam_planner.geometry import spacing_mm
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.progress import Progress
from prompts.masks import mask_box

__all__ = ["drawn_surface", "surface_of_mask"]

_VIEW_TRIANGLES = 40_000
_MOST_BEFORE_DECIMATION = 2 * _VIEW_TRIANGLES
"""A mask whose surface would have more triangles is drawn from coarser voxels."""
_BLUR_VOXELS = 0.7
_BLUR_REACH_VOXELS = 3
_FLAT_SURFACE = 0.76
"""What the blur leaves of a voxel right behind a flat surface: Φ(0.5 / 0.7)."""


def surface_of_mask(mask: highdicom.Volume, *, progress: Progress | None = None) -> Surface:
    """Smoothed surface of a mask that keeps its thin parts.

    Where the surface has far more triangles than are shown, voxels are first merged, as many along each axis as makes
    them about cubes.

    Parameters
    ----------
    mask : highdicom.Volume
        bool, (K, J, I).
    progress : Progress, optional

    Returns
    -------
    Surface
        LPS mm, closed.

    Raises
    ------
    EmptyStructureError, GeometryError
        If the mask is empty, or no closed surface can be made of it.
    """
    whole = mask.array > 0
    merged = _merged_along(whole, spacing_mm(mask.affine))
    box = mask_box(whole, grown=_BLUR_REACH_VOXELS * max(merged))
    share = _merge(whole[box], merged)
    inside = share > 0
    soft = ndimage.gaussian_filter(share, _BLUR_VOXELS)
    around = np.ones((3, 3, 3), dtype=bool)
    lost = inside & ~ndimage.binary_dilation(soft > 0.5, around)
    if lost.any():
        thin = inside & ndimage.binary_dilation(lost, around)
        soft[thin] = np.maximum(soft[thin], _FLAT_SURFACE)
    index = np.eye(4)
    index[:3, :3] = np.diag(merged)
    index[:3, 3] = np.array([part.start for part in box]) + (np.array(merged) - 1) / 2
    grid = highdicom.Volume(
        array=soft,
        affine=mask.affine @ index,
        coordinate_system="PATIENT",
        frame_of_reference_uid=mask.frame_of_reference_uid,
    )
    return surface_from_probability(grid, max_triangles=_VIEW_TRIANGLES, progress=progress)


def drawn_surface(mask: highdicom.Volume, *, progress: Progress | None = None) -> Surface | None:
    """As :func:`surface_of_mask`; None where no surface can be made."""
    try:
        return surface_of_mask(mask, progress=progress)
    except (EmptyStructureError, GeometryError):
        return None


def _merged_along(inside: NDArray[np.bool_], spacing: NDArray[np.float64]) -> tuple[int, ...]:
    """How many voxels along each axis are merged into one, for about as many triangles as may be decimated."""
    area_mm2 = 0.0
    for axis in range(3):
        ends = np.count_nonzero(inside.take([0, -1], axis=axis))  # the surface is closed at the border
        area_mm2 += (ends + np.count_nonzero(np.diff(inside, axis=axis))) * float(np.prod(np.delete(spacing, axis)))
    edge_mm = np.sqrt(2 * area_mm2 / _MOST_BEFORE_DECIMATION)  # two triangles for each face of a voxel
    return tuple(max(1, int(edge_mm / step)) for step in spacing)


def _merge(inside: NDArray[np.bool_], along: tuple[int, ...]) -> NDArray[np.float32]:
    """Share of each merged voxel that lies inside; at the end of the grid the last voxels count again."""
    padded = np.pad(inside, [(0, -size % count) for size, count in zip(inside.shape, along, strict=True)], mode="edge")
    blocks = padded.reshape([part for size, n in zip(padded.shape, along, strict=True) for part in (size // n, n)])
    share: NDArray[np.float32] = blocks.mean(axis=(1, 3, 5), dtype=np.float32)
    return share
