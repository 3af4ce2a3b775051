"""Bring masks and maps to another grid without losing thin parts: a voxel counts as soon as it touches the mask.

Taking the nearest voxel loses a vessel that runs between two slices. Here a voxel of the new grid belongs to a mask
when its box touches a voxel of it (a structure to avoid), or when its whole box is filled (`inner`: a corridor). Every
point of the given mask then lies within half a voxel diagonal of a marked centre, and every marked voxel of the inner
mask within the given one: what :mod:`medsam_planner.planning.distance_field` certifies on the new grid holds for the
mask as given.

Along the axes of both grids this is exact. Where they are turned against each other, a voxel is looked at in pieces no
longer than its shortest side, each by the box around it along the mask's axes; that errs on the safe side, by less
than half a piece.
"""

from __future__ import annotations

import itertools
from typing import TypeAlias

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import GeometryError
from medsam_planner.geometry import corner_indices, index_from_lps, lps_from_index, spacing_mm
from medsam_planner.io.resampling import resample_like
from prompts.masks import mask_box

__all__ = ["around_mask", "covering_map", "covering_mask", "grid_around", "is_on_grid"]

_SAME_VOXELS = 0.01
"""Grids whose corners lie closer than this share of a voxel are one grid, written with different rounding."""
_TOUCH_VOXELS = 0.02
"""An overlap of less than this share of a voxel is rounding. The certified clearance gives up half a voxel more than it
must, so nothing depends on it."""
_ALIGNED_COSINE = 1e-6
_NOTHING = 1e-9
_SLAB = 16
_MOST_PIECES = 16

_Half: TypeAlias = NDArray[np.float64]
"""(3,) half the extent of a box along the axes of the old grid, in its voxels."""


def is_on_grid(volume: highdicom.Volume, reference: highdicom.Volume | highdicom.VolumeGeometry) -> bool:
    """Whether both have the same voxels, up to rounding."""
    if tuple(volume.spatial_shape) != tuple(reference.spatial_shape):
        return False
    corners = corner_indices(reference.spatial_shape)
    apart = index_from_lps(reference.affine, lps_from_index(volume.affine, corners)) - corners
    return bool(np.abs(apart).max() < _SAME_VOXELS)


def grid_around(
    reference: highdicom.Volume, mask: highdicom.Volume, *, most_mm: float
) -> highdicom.Volume | highdicom.VolumeGeometry:
    """The grid of `reference`, extended by at most `most_mm` on each side to hold a mask that is not empty."""
    shape = np.array(reference.spatial_shape)
    low, high = _filled_box(np.asarray(mask.array, dtype=bool))
    ends = np.array(list(itertools.product(*zip(low - 0.5, high - 0.5, strict=True))))
    ends = index_from_lps(reference.affine, lps_from_index(mask.affine, ends))
    most = np.floor(most_mm / spacing_mm(reference.affine) + 1e-6)
    before = np.minimum(np.maximum(np.ceil(-0.5 - _TOUCH_VOXELS - ends.min(axis=0)), 0), most).astype(int)
    after = np.minimum(np.maximum(np.ceil(ends.max(axis=0) - shape + 0.5 - _TOUCH_VOXELS), 0), most).astype(int)
    if not (before.any() or after.any()):
        return reference
    return reference.get_geometry().pad(list(zip(before.tolist(), after.tolist(), strict=True)))


def around_mask(mask: highdicom.Volume, *, most_mm: float) -> highdicom.Volume:
    """The part of the grid of a mask within `most_mm` of its voxels; the mask must not be empty."""
    low, high = _filled_box(np.asarray(mask.array, dtype=bool))
    grow = np.ceil(most_mm / spacing_mm(mask.affine)).astype(int)
    low, high = np.maximum(low - grow, 0), np.minimum(high + grow, mask.spatial_shape)
    k, j, i = (slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    return mask[k, j, i]  # type: ignore[index]  # highdicom takes three, its annotation one


def covering_mask(
    mask: highdicom.Volume, reference: highdicom.Volume | highdicom.VolumeGeometry, *, inner: bool = False
) -> highdicom.Volume:
    """Bring a mask to the grid of `reference` without losing any of it.

    Parameters
    ----------
    mask : highdicom.Volume
        bool, 3D.
    reference
        The new grid.
    inner : bool
        Mark the voxels that lie wholly in the mask, instead of those that touch it.

    Returns
    -------
    highdicom.Volume
        bool on the grid of `reference`.

    Raises
    ------
    GeometryError
        If both state a frame of reference and they differ.
    """
    _refuse_other_frame(mask, reference)
    shape = tuple(int(n) for n in reference.spatial_shape)
    result = np.zeros(shape, dtype=bool)
    if is_on_grid(mask, reference):
        result[...] = mask.array
    elif mask.array.any():
        _mark(result, mask, np.asarray(reference.affine, dtype=np.float64), inner=inner)
    return highdicom.Volume(
        array=result,
        affine=reference.affine,
        coordinate_system=reference.coordinate_system,
        frame_of_reference_uid=reference.frame_of_reference_uid or mask.frame_of_reference_uid,
    )


def covering_map(values: highdicom.Volume, reference: highdicom.Volume | highdicom.VolumeGeometry) -> highdicom.Volume:
    """Bring a map to the grid of `reference` without losing its peaks: interpolated, of the largest values around.

    Where the map is finer than the new grid, each voxel gets at least the largest value in it. Beyond the map it is 0.
    """
    if is_on_grid(values, reference):
        return values
    half = _half_extent(np.linalg.inv(values.affine) @ reference.affine)
    reach = np.maximum(np.ceil(half - 0.5 - _TOUCH_VOXELS), 0).astype(int)
    if reach.any():
        largest = ndimage.maximum_filter(values.array, size=tuple((2 * reach + 1).tolist()))
        values = values.with_array(largest)
    return resample_like(values, reference, order=1)


def _refuse_other_frame(mask: highdicom.Volume, reference: highdicom.Volume | highdicom.VolumeGeometry) -> None:
    here, there = mask.frame_of_reference_uid, reference.frame_of_reference_uid
    if here is not None and there is not None and here != there:
        raise GeometryError(
            f"Expected a mask in the study's frame of reference {there}, got {here}. It needs a registration first."
        )


def _half_extent(to_source: NDArray[np.float64]) -> _Half:
    """Of a voxel of the new grid, along the axes of the old one, in its voxels."""
    half: _Half = np.abs(to_source[:3, :3]).sum(axis=1) / 2
    return half


def _mark(result: NDArray[np.bool_], mask: highdicom.Volume, affine: NDArray[np.float64], *, inner: bool) -> None:
    """Set the voxels of `result`, which has `affine`, that touch the mask or lie in it."""
    inside = np.asarray(mask.array, dtype=bool)
    low, high = _filled_box(inside)
    block = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    sums = np.pad(inside[block].astype(np.uint32), [(1, 0)] * 3)
    for axis in range(3):
        np.cumsum(sums, axis=axis, out=sums)
    to_source: NDArray[np.float64] = np.linalg.inv(np.asarray(mask.affine, dtype=np.float64)) @ affine
    region = _region(np.asarray(np.linalg.inv(to_source), dtype=np.float64), low, high, result.shape)
    offsets, half = _pieces(to_source, affine)
    for first in range(region[0].start, region[0].stop, _SLAB):
        slab = (slice(first, min(first + _SLAB, region[0].stop)), *region[1:])
        marked = result[slab]
        marked[...] = inner
        for offset in offsets:
            piece = to_source.copy()
            piece[:3, 3] += to_source[:3, :3] @ offset
            count, size = _count(sums, low, piece, half, slab)
            if inner:
                marked &= count == size
            else:
                marked |= count > 0


def _filled_box(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel of the box around what is inside, and the one behind its last."""
    box = mask_box(inside)
    return np.array([axis.start for axis in box]), np.array([axis.stop for axis in box])


def _region(
    from_source: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64], shape: tuple[int, ...]
) -> tuple[slice, slice, slice]:
    """Voxels of the new grid that may touch the box ``low <= index < high`` of the old one."""
    ends = np.array(list(itertools.product(*zip(low - 0.5, high - 0.5, strict=True))))
    reached = ends @ from_source[:3, :3].T + from_source[:3, 3]
    first = np.clip(np.floor(reached.min(axis=0)), 0, shape).astype(int)
    last = np.clip(np.ceil(reached.max(axis=0)) + 1, 0, shape).astype(int)
    k, j, i = (slice(int(a), int(max(a, b))) for a, b in zip(first, last, strict=True))
    return k, j, i


def _pieces(to_source: NDArray[np.float64], affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], _Half]:
    """Where in a voxel of the new grid its pieces lie, (P, 3) in voxels, and how far each reaches in the old grid."""
    directions = np.abs(to_source[:3, :3]) / np.linalg.norm(to_source[:3, :3], axis=0)
    is_aligned = bool((directions.max(axis=0) > 1 - _ALIGNED_COSINE).all())
    spacing = spacing_mm(affine)
    parts = np.ones(3) if is_aligned else np.minimum(np.ceil(spacing / spacing.min() - 1e-6), _MOST_PIECES)
    numbers = np.array(list(itertools.product(*(range(int(count)) for count in parts))))
    return (numbers + 0.5) / parts - 0.5, _half_extent(to_source / np.append(parts, 1.0))


def _count(
    sums: NDArray[np.uint32],
    first: NDArray[np.int64],
    piece: NDArray[np.float64],
    half: _Half,
    slab: tuple[slice, slice, slice],
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """How many voxels of the mask each piece touches, and how many voxels there are for it to touch.

    Parameters
    ----------
    sums : (K + 1, J + 1, I + 1) uint32
        Number of the mask's voxels before an index, in the box around the mask.
    first : (3,) int
        Index of the first voxel of that box.
    piece : (4, 4) float
        Index on the new grid to the centre of the piece, as an index of the mask's grid.
    half : (3,) float
        How far the piece reaches from its centre.
    slab
        Which voxels of the new grid.
    """
    index = np.ogrid[slab]
    size: NDArray[np.int64] = np.ones((1, 1, 1), dtype=np.int64)
    ends = []
    for axis in range(3):
        # Axes that do not change the index are left out: between grids with parallel axes all this is one-dimensional.
        terms = [piece[axis, b] * index[b] for b in range(3) if abs(piece[axis, b]) > _NOTHING]
        centre = sum(terms, start=np.full((1, 1, 1), piece[axis, 3]))
        reach = half[axis] + 0.5 - _TOUCH_VOXELS * min(1.0, 2 * half[axis])
        low, high = np.floor(centre - reach).astype(np.int64) + 1, np.ceil(centre + reach).astype(np.int64)
        size = size * (high - low)
        last = sums.shape[axis] - 1
        ends.append((np.clip(low - first[axis], 0, last), np.clip(high - first[axis], 0, last)))
    count = np.zeros(np.broadcast_shapes(*(low.shape for low, _ in ends)), dtype=np.uint32)
    for corner in itertools.product((0, 1), repeat=3):
        part = sums[tuple(ends[axis][which] for axis, which in enumerate(corner))]
        count = count + part if sum(corner) % 2 else count - part  # modulo 2**32, in which the result fits
    return count, size
