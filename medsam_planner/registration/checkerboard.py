"""A checkerboard of both series on three planes: edges that run on across its squares are registered."""

from __future__ import annotations

from io import BytesIO

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm, within_grid
from medsam_planner.registration.rigid_transform import RigidTransform

__all__ = ["checkerboard_png"]

_SQUARES = 8
_GAP = 8
_SMALLEST_SIDE = 320
"""Pixels of the shortest side of a plane, at least: a crop of 40 voxels is enlarged."""


def checkerboard_png(fixed: highdicom.Volume, moving: highdicom.Volume, transform: RigidTransform) -> bytes:
    """The middle slices of the fixed series across its three axes side by side, in turns from both series, as a PNG.

    Grey is the fixed series, orange the moving one; black where the moving series does not reach. The head is up where
    the axis runs to the head.
    """
    from PIL import Image

    shades = _stretched(fixed), _stretched(moving)
    planes = [_plane(*shades, transform, axis) for axis in range(3)]
    height = max(len(plane) for plane in planes)
    width = sum(plane.shape[1] for plane in planes) + _GAP * 2
    whole = np.full((height, width, 3), 255, dtype=np.uint8)
    left = 0
    for plane in planes:
        whole[: len(plane), left : left + plane.shape[1]] = plane
        left += plane.shape[1] + _GAP
    stream = BytesIO()
    Image.fromarray(whole).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _plane(
    fixed: highdicom.Volume, moving: highdicom.Volume, transform: RigidTransform, axis: int
) -> NDArray[np.uint8]:
    """(height, width, 3): the middle slice across an array axis of the fixed series, upright; both as stretched."""
    rows, columns = _in_plane(fixed.affine, axis)
    step = spacing_mm(fixed.affine)
    extent = np.array(fixed.spatial_shape) * step
    pixel = min(step[rows], step[columns], min(extent[rows], extent[columns]) / _SMALLEST_SIDE)
    height, width = (max(2, round(extent[one] / pixel)) for one in (rows, columns))
    index = np.empty((height, width, 3))
    index[..., axis] = (fixed.spatial_shape[axis] - 1) / 2
    index[..., rows] = ((np.arange(height) + 0.5) * pixel / step[rows] - 0.5)[:, None]
    index[..., columns] = ((np.arange(width) + 0.5) * pixel / step[columns] - 0.5)[None]
    there = index_from_lps(moving.affine, transform.inverse.apply(lps_from_index(fixed.affine, index)))
    one, other = _grey(fixed, index), _grey(moving, there)
    side = max(height, width) / _SQUARES
    squares = (np.arange(height) // side)[:, None] + (np.arange(width) // side)[None]
    is_moving = squares.astype(int) % 2 == 1
    colour = np.where(is_moving[..., None], other[..., None] * np.array([1.0, 0.72, 0.38]), one[..., None])
    colour[is_moving & ~within_grid(there, moving.spatial_shape)] = 0.0
    plane = np.rint(colour * 255).astype(np.uint8)
    down, across = fixed.affine[:3, rows], fixed.affine[:3, columns]
    main = int(np.argmax(np.abs(down)))
    # Rows run from head to foot or from front to back; columns from right to left or from front to back.
    if (main == 2) == (down[main] > 0):
        plane = plane[::-1]
    if across[int(np.argmax(np.abs(across)))] < 0:
        plane = plane[:, ::-1]
    return plane


def _in_plane(affine: NDArray[np.float64], axis: int) -> tuple[int, int]:
    """Array axes of a plane: rows run along the one nearest to head and foot, in an axial plane to front and back."""
    unit = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    one, other = (at for at in range(3) if at != axis)
    first = 2 * unit[2, one] + unit[1, one] >= 2 * unit[2, other] + unit[1, other]
    return (one, other) if first else (other, one)


def _stretched(volume: highdicom.Volume) -> highdicom.Volume:
    """Values from dark (0) to bright (1), some beyond both."""
    low, high = np.percentile(volume.array, (2, 99.5))
    values = (np.asarray(volume.array, dtype=np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return highdicom.Volume(values, volume.affine, volume.coordinate_system)


def _grey(stretched: highdicom.Volume, index: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values at fractional indices (..., 3), from 0 to 1."""
    values = ndimage.map_coordinates(stretched.array, np.moveaxis(index, -1, 0), order=1, mode="nearest")
    grey: NDArray[np.float64] = np.clip(values, 0.0, 1.0)
    return grey
