"""Prompts on an index grid: the voxels of a box, a click or a scribble.

A grid is an affine (4 × 4, index → LPS mm) and a shape. Every position is mapped with the inverse affine, so flipped,
oblique and left-handed grids need no special treatment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.affine import gap_text, index_from_lps, nearest_index, require_affine, require_shape
from prompts.errors import PromptError
from prompts.shapes import Box, Click, Scribble

__all__ = ["BoxExtent", "box_extent", "click_index", "scribble_indices", "slice_across"]

_INDEX_TOLERANCE = 1e-3
"""In voxels: a corner still counts as the centre of a voxel after it was rounded to millimetres with three decimals."""


_Scalar = TypeVar("_Scalar", bound=np.generic)


def slice_across(array: NDArray[Any], axis: int, index: int) -> NDArray[Any]:
    """One slice of a volume, as a view.

    ``numpy.take`` would copy the whole volume first if it is not C-contiguous, as volumes from NIfTI files are.

    Parameters
    ----------
    array : (K, J, I) ndarray
        A volume of any memory layout; further axes are kept.
    axis : int
        Array axis across which the slice lies.
    index : int
        Number of the slice.

    Returns
    -------
    ndarray
        The other axes in their order; shares memory with `array`.

    Raises
    ------
    IndexError
        If there is no such axis or slice.
    """
    return np.moveaxis(array, axis, 0)[index]


@dataclass(frozen=True, slots=True, eq=False)
class BoxExtent:
    """A box on one grid. The arrays are read-only."""

    axis: int | None
    """Array axis across which a 2D box lies, at slice ``low_index[axis]``; None for a 3D box."""
    low_index: NDArray[np.int64]
    """(3,) first voxel along each array axis, inside the grid."""
    high_index: NDArray[np.int64]
    """(3,) last voxel along each array axis, inclusive, inside the grid."""
    low: NDArray[np.float64]
    """(3,) fractional index of the lower side; may lie outside the grid."""
    high: NDArray[np.float64]
    """(3,) fractional index of the upper side; may lie outside the grid."""

    @property
    def index_range(self) -> NDArray[np.int64]:
        """(3, 2) first and last voxel along each array axis, inclusive."""
        return np.stack([self.low_index, self.high_index], axis=1)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box as an index into an array of the grid."""
        k, j, i = (slice(low, high + 1) for low, high in self.index_range.tolist())
        return k, j, i


def box_extent(box: Box, affine: ArrayLike, shape: ArrayLike) -> BoxExtent:
    """Voxels whose centres lie in `box`.

    Both corners are mapped with the inverse affine. Along each array axis, the box contains the voxel centres between
    them, with a tolerance of 0.001 voxel, or the voxel nearest to the middle if there is none. A box one voxel thick
    along exactly one axis is a 2D box across that axis. The thickness is that before the box is clipped to the grid: a
    3D box with only one slice in the volume is still a 3D box and bounds the structure. On a grid of one slice every
    box is 2D.

    Parameters
    ----------
    box : Box
        In LPS mm.
    affine : (4, 4) float
        Index → LPS mm.
    shape : (3,) int
        Voxels along each array axis.

    Returns
    -------
    BoxExtent
        Clipped to the grid.

    Raises
    ------
    PromptError
        If the box is one voxel thick along two or three axes (which makes it a line), or contains no voxel of the grid.
    GeometryError
        If `affine` or `shape` is no grid.
    """
    matrix, counts = require_affine(affine), require_shape(shape)
    corners = index_from_lps(matrix, [box.corner_lps_mm, box.opposite_lps_mm])
    low, high = corners.min(axis=0), corners.max(axis=0)
    first = np.ceil(low - _INDEX_TOLERANCE).astype(np.int64)
    last = np.floor(high + _INDEX_TOLERANCE).astype(np.int64)
    nearest = nearest_index((low + high) / 2)
    between_centres = last < first
    first, last = np.where(between_centres, nearest, first), np.where(between_centres, nearest, last)

    is_below, is_above = last < 0, first > counts - 1
    if (is_below | is_above).any():
        gap = np.where(is_below, high, np.where(is_above, low - (counts - 1), 0.0))
        raise PromptError(
            f"Expected a box that holds at least one voxel of the volume, got {_corners_text(box)}, "
            f"{gap_text(matrix, gap)} past the nearest voxel. Check that the prompts belong to this study."
        )
    is_thin = (first == last) | (counts == 1)
    if is_thin.sum() > 1:
        thin = ", ".join(str(axis) for axis in np.flatnonzero(is_thin))
        raise PromptError(
            f"Expected a box at least two voxels wide along two array axes, got {_corners_text(box)}, "
            f"one voxel wide along the axes {thin}. Draw it wider, or use clicks."
        )
    return BoxExtent(
        axis=int(np.flatnonzero(is_thin)[0]) if is_thin.any() else None,
        low_index=_read_only(np.maximum(first, 0)),
        high_index=_read_only(np.minimum(last, counts - 1)),
        low=_read_only(low),
        high=_read_only(high),
    )


def click_index(click: Click, affine: ArrayLike) -> NDArray[np.float64]:
    """Fractional voxel index (3,) of `click`; it may lie outside any particular grid."""
    return index_from_lps(require_affine(affine), click.position_lps_mm)


def scribble_indices(scribble: Scribble, affine: ArrayLike, shape: ArrayLike) -> NDArray[np.int64]:
    """Every voxel through which `scribble` passes.

    Parameters
    ----------
    scribble : Scribble
        In LPS mm.
    affine : (4, 4) float
        Index → LPS mm.
    shape : (3,) int
        Voxels along each array axis.

    Returns
    -------
    (M, 3) int
        Voxel indices in drawing order, each once. Parts outside the grid are left out; :func:`prompts.validate` refuses
        such a scribble.

    Raises
    ------
    PromptError
        If no part lies in the grid.
    GeometryError
        If `affine` or `shape` is no grid.
    """
    matrix, counts = require_affine(affine), require_shape(shape)
    corners = index_from_lps(matrix, scribble.positions_lps_mm)
    starts, ends = corners, np.concatenate([corners[1:], corners[-1:]])
    passed = np.concatenate([_voxels_on_segment(start, end, counts) for start, end in zip(starts, ends, strict=True)])
    if len(passed) == 0:
        raise PromptError(
            f"Expected a scribble that passes through the volume, got {len(corners)} positions, all outside it. "
            "Check that the prompts belong to this study."
        )
    _, first_visit = np.unique(passed, axis=0, return_index=True)
    return passed[np.sort(first_visit)]


def _voxels_on_segment(
    start: NDArray[np.float64], end: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Voxels of the grid between two fractional indices, in order, (M, 3).

    Between two crossings of voxel faces a segment stays in one voxel, so the midpoints between crossings give all
    voxels.
    """
    step = end - start
    enter, leave = 0.0, 1.0
    for axis in range(3):  # clip to the grid first, so that parts outside cost nothing
        faces = np.array([-0.5, counts[axis] - 0.5])
        if step[axis] == 0.0:
            if not faces[0] <= start[axis] <= faces[1]:
                return np.empty((0, 3), dtype=np.int64)
            continue
        near, far = np.sort((faces - start[axis]) / step[axis])
        enter, leave = max(enter, near), min(leave, far)
    if enter > leave:
        return np.empty((0, 3), dtype=np.int64)
    crossings = [np.array([enter, leave])]
    for axis in np.flatnonzero(step).tolist():
        low, high = np.sort(start[axis] + np.array([enter, leave]) * step[axis])
        faces = np.arange(np.ceil(low - 0.5), np.floor(high - 0.5) + 1) + 0.5
        crossings.append(np.clip((faces - start[axis]) / step[axis], enter, leave))
    along = np.unique(np.concatenate(crossings))
    middles = (along[:-1] + along[1:]) / 2 if len(along) > 1 else along
    voxels = nearest_index(start + middles[:, None] * step)
    return voxels[((voxels >= 0) & (voxels < counts)).all(axis=1)]


def _corners_text(box: Box) -> str:
    corners = [", ".join(f"{value:.1f}" for value in corner) for corner in (box.corner_lps_mm, box.opposite_lps_mm)]
    return f"({corners[0]}) to ({corners[1]}) LPS mm"


def _read_only(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    array.flags.writeable = False
    return array
