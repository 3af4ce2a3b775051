"""Which part of a grid a set of trajectories needs, and how far around it a structure can matter.

Boxes are in voxel indices of the structure's grid, may reach beyond it, and are half open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prompts.masks import mask_box

__all__ = ["IndexBox", "bounding_box", "distance_bound_mm", "domain_of", "surroundings", "window"]

_COARSE_VOXELS = 400_000
"""Size of the pooled grid on which the distance bound is computed: a few milliseconds."""
_SMALL_DOMAIN = 4_000_000
"""With at most this many voxels, or twice those of the grid, grid and domain may be looked at together; beyond that the
domain is cut at the grid's edge."""


@dataclass(frozen=True, slots=True)
class IndexBox:
    """Voxels ``low <= index < high``."""

    low: NDArray[np.int64]
    high: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along each axis."""
        size = self.high - self.low
        return int(size[0]), int(size[1]), int(size[2])

    @property
    def voxels(self) -> int:
        """How many; a whole number of any size, as trajectories may lie anywhere."""
        return math.prod(self.shape)

    def slices_in(self, other: IndexBox) -> tuple[slice, slice, slice]:
        """This box as slices of an array that covers `other`."""
        a, b = self.low - other.low, self.high - other.low
        return slice(int(a[0]), int(b[0])), slice(int(a[1]), int(b[1])), slice(int(a[2]), int(b[2]))

    def clipped_to(self, other: IndexBox) -> IndexBox:
        """The part of this box that lies in `other`, at least one voxel thick (its nearest one)."""
        low = np.clip(self.low, other.low, other.high - 1)
        return IndexBox(low, np.maximum(np.clip(self.high, other.low, other.high), low + 1))

    def joined(self, other: IndexBox) -> IndexBox:
        """The smallest box around both."""
        return IndexBox(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


def domain_of(position_index: NDArray[np.float64], shape: tuple[int, ...]) -> IndexBox:
    """The voxels needed to interpolate at every position (P, 3).

    It reaches beyond a grid of `shape` where that is cheap; else it ends at the edge, and positions beyond are
    continued from there (see :class:`~medsam_planner.planning.distance_field.DistanceField`).
    """
    low = np.floor(position_index.min(axis=0) - 1e-6).astype(np.int64)
    high = np.ceil(position_index.max(axis=0) + 1e-6).astype(np.int64) + 1
    box = IndexBox(low, np.maximum(high, low + 2))
    grid = IndexBox(np.zeros(3, dtype=np.int64), np.array(shape, dtype=np.int64))
    return box if box.joined(grid).voxels <= max(2 * grid.voxels, _SMALL_DOMAIN) else box.clipped_to(grid)


def window(array: NDArray[np.bool_], box: IndexBox, *, outside: bool) -> NDArray[np.bool_]:
    """Copy `box` out of `array`; voxels beyond the array are `outside`."""
    result = np.full(box.shape, outside, dtype=bool)
    grid = IndexBox(np.zeros(3, dtype=np.int64), np.array(array.shape, dtype=np.int64))
    low, high = np.maximum(box.low, grid.low), np.minimum(box.high, grid.high)
    if (low < high).all():
        common = IndexBox(low, high)
        result[common.slices_in(box)] = array[common.slices_in(grid)]
    return result


def distance_bound_mm(
    inside: NDArray[np.bool_], domain: IndexBox, spacing_mm: NDArray[np.float64], *, outside: bool
) -> float:
    """No voxel of `domain` is farther than this from the structure.

    Found on a pooled grid, in which a block belongs to the structure when any of its voxels does.
    """
    grid = IndexBox(np.zeros(3, dtype=np.int64), np.array(inside.shape, dtype=np.int64))
    whole = grid.joined(domain)
    if outside:  # the complement of a corridor: a rim of voxels beyond the grid belongs to it
        whole = IndexBox(whole.low - 1, whole.high + 1)
    block = _block(whole, spacing_mm)
    padded = IndexBox(whole.low, whole.low + -(-(whole.high - whole.low) // block) * block)
    coarse = _pooled(inside, padded, block, outside=outside)
    distance = ndimage.distance_transform_edt(~coarse, sampling=block * spacing_mm)
    low, high = (domain.low - padded.low) // block, -(-(domain.high - padded.low) // block)
    near = distance[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    return float(near.max() + np.linalg.norm(block * spacing_mm))


def surroundings(
    inside: NDArray[np.bool_],
    domain: IndexBox,
    reach_mm: float,
    spacing_mm: NDArray[np.float64],
    *,
    outside: bool,
    voxel_limit: int,
) -> tuple[IndexBox, bool]:
    """The box in which a structure must be looked at so that distances in `domain` come out right.

    Returns
    -------
    box : IndexBox
        `domain` grown by `reach_mm`, less what certainly holds nothing of the structure.
    is_cut : bool
        Whether `voxel_limit` stopped it: then something may lie just beyond the box.
    """
    filled = IndexBox(np.full(3, -1), np.array(inside.shape) + 1) if outside else bounding_box(inside)
    reach, is_cut = reach_mm, False
    while True:
        grow = np.ceil(reach / spacing_mm).astype(np.int64)
        grown = IndexBox(domain.low - grow, domain.high + grow)
        low, high = np.maximum(grown.low, filled.low), np.minimum(grown.high, filled.high)
        box = domain.joined(IndexBox(low, high)) if (low < high).all() else domain
        if box.voxels <= max(voxel_limit, domain.voxels) or reach < spacing_mm.max():
            return box, is_cut
        reach, is_cut = reach * 0.8, True


def _block(whole: IndexBox, spacing_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    edge = (float(np.prod(whole.shape)) * float(np.prod(spacing_mm)) / _COARSE_VOXELS) ** (1 / 3)
    return np.maximum(np.ceil(edge / spacing_mm), 1).astype(np.int64)


def _pooled(
    inside: NDArray[np.bool_], padded: IndexBox, block: NDArray[np.int64], *, outside: bool
) -> NDArray[np.bool_]:
    """Whether any voxel of each block belongs; one slab of blocks at a time, to stay small."""
    blocks = (padded.high - padded.low) // block
    coarse = np.zeros(tuple(blocks), dtype=bool)
    for slab in range(int(blocks[0])):
        low, high = padded.low.copy(), padded.high.copy()
        low[0] += slab * block[0]
        high[0] = low[0] + block[0]
        voxels = np.logical_or.reduce(window(inside, IndexBox(low, high), outside=outside), axis=0)
        tiles = voxels.reshape(int(blocks[1]), int(block[1]), int(blocks[2]), int(block[2]))
        coarse[slab] = np.logical_or.reduce(tiles, axis=(1, 3))
    return coarse


def bounding_box(inside: NDArray[np.bool_]) -> IndexBox:
    """The filled part of an array that is not empty, and one voxel more on each side, where its background begins."""
    box = mask_box(inside)
    return IndexBox(np.array([part.start for part in box]) - 1, np.array([part.stop for part in box]) + 1)
