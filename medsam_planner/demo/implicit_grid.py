"""Implicit shapes on a voxel grid, evaluated only near their surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.demo.implicit_shapes import FAR_MM, Shape
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm

__all__ = ["distance_on_grid", "grid_region"]

_BLOCKS = (32, 8, 4, 2)
"""Voxels along the edge of a block, coarse to fine: far blocks are filled without a closer look."""

_LIPSCHITZ = 1.4
"""The shapes' values change by up to so much per mm, where a skeleton's radius changes."""


def distance_on_grid(
    shape: Shape, affine: NDArray[np.float64], grid_shape: tuple[int, int, int], band_mm: float
) -> NDArray[np.float32]:
    """Signed distance of `shape` at voxel centres, (K, J, I) float32 clipped to ±`band_mm`."""
    voxels = tuple(int(np.ceil(n / _BLOCKS[0])) * _BLOCKS[0] for n in grid_shape)
    values = np.empty(voxels, dtype=np.float32)
    steps = spacing_mm(affine)
    first = _grid(tuple(n // _BLOCKS[0] for n in voxels)) * _BLOCKS[0]
    for edge, finer in zip(_BLOCKS, (*_BLOCKS[1:], 1), strict=True):
        half_mm = float(np.linalg.norm((edge - 1) / 2 * steps))
        reach_mm = band_mm + _LIPSCHITZ * half_mm
        at_centre = shape.distance_mm(lps_from_index(affine, first + (edge - 1) / 2), reach_mm)
        _fill(values, first, edge, np.clip(at_centre, -band_mm, band_mm))
        near = first[np.abs(at_centre) <= reach_mm]
        inner = _grid((edge // finer,) * 3) * finer
        first = (near[:, None] + inner).reshape(-1, 3)
    first = first[(first < grid_shape).all(axis=1)]
    distance = shape.distance_mm(lps_from_index(affine, first), band_mm)
    values[tuple(first.T)] = np.clip(distance, -band_mm, band_mm)
    return values[tuple(slice(n) for n in grid_shape)].copy()


def grid_region(
    shape: Shape, affine: NDArray[np.float64], grid_shape: tuple[int, int, int], margin_mm: float
) -> tuple[slice, slice, slice] | None:
    """The part of a grid within `margin_mm` of the shape's bounding box; None when they do not meet."""
    low, high = shape.bounds_lps_mm
    corners = np.stack(np.meshgrid(*np.clip([low - margin_mm, high + margin_mm], -FAR_MM, FAR_MM).T), axis=-1)
    index = index_from_lps(affine, corners.reshape(-1, 3))
    first = np.clip(np.floor(index.min(axis=0)), 0, grid_shape).astype(int)
    last = np.clip(np.ceil(index.max(axis=0)) + 1, 0, grid_shape).astype(int)
    if (first >= last).any():
        return None
    k, j, i = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return k, j, i


def _fill(values: NDArray[np.float32], first: NDArray[np.int64], edge: int, numbers: NDArray[np.float64]) -> None:
    k, j, i = (n // edge for n in values.shape)
    blocks = values.reshape(k, edge, j, edge, i, edge)
    a, b, c = (first // edge).T
    blocks[a, :, b, :, c, :] = numbers[:, None, None, None]


def _grid(counts: tuple[int, ...]) -> NDArray[np.int64]:
    return np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 3)
