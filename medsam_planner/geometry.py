"""Conversion between voxel indices and LPS millimetres, and the orientation of a volume in the patient.

An affine here is 4 × 4, maps a voxel index (in array-axis order) to LPS mm, and voxel (0, 0, 0) is a centre. The part
that prompts need too is in :mod:`prompts.affine` and re-exported here.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from prompts.affine import axis_letters, index_from_lps, lps_from_index, require_affine
from prompts.geometry import slice_across

__all__ = [
    "acquisition_axis",
    "axis_letters",
    "corner_indices",
    "index_from_lps",
    "lps_from_index",
    "require_affine",
    "slice_across",
    "spacing_mm",
    "volume_ml",
    "voxel_diagonal_mm",
    "within_grid",
    "zeros_by_slice",
]

_OWN: dict[str, int] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""Flags of memory that is not shared with a forked process."""
_ISOTROPY_TOLERANCE = 0.01
"""Spacings within 1 % of each other count as equal: pixel spacings are often rounded to three digits."""


def spacing_mm(affine: ArrayLike) -> NDArray[np.float64]:
    """Distance in mm between voxel centres along each array axis, (3,)."""
    spacing: NDArray[np.float64] = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return spacing


def voxel_diagonal_mm(affine: ArrayLike) -> float:
    """Longest distance in mm between two corners of a voxel, exact for sheared grids too."""
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    signs = np.array([(1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)], dtype=np.float64)
    return float(np.linalg.norm(signs @ columns.T, axis=1).max())


def volume_ml(mask: ArrayLike, affine: ArrayLike) -> float:
    """Volume of a (K, J, I) mask's voxels in ml."""
    voxel_mm3 = abs(float(np.linalg.det(np.asarray(affine, dtype=np.float64)[:3, :3])))
    return float(np.count_nonzero(mask)) * voxel_mm3 / 1000.0


def corner_indices(shape: Sequence[int]) -> NDArray[np.float64]:
    """(8, 3) indices of the corner voxels of a grid of (K, J, I) voxels."""
    ends = ((0.0, float(count - 1)) for count in shape)
    return np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)


def within_grid(index: ArrayLike, shape: ArrayLike, tolerance: float = 0.0) -> NDArray[np.bool_]:
    """Whether fractional voxel indices (..., 3) lie in a grid of (K, J, I) voxels, (...).

    A grid ends at the outer faces of its voxels; `tolerance` moves them outwards, in voxels.
    """
    places = np.asarray(index, dtype=np.float64)
    low, high = -0.5 - tolerance, np.asarray(shape) - 0.5 + tolerance
    return np.asarray(((places >= low) & (places <= high)).all(axis=-1))


def zeros_by_slice(shape: Sequence[int], axis: int, dtype: DTypeLike) -> NDArray[Any]:
    """A volume of zeros whose slices across `axis` lie together in memory.

    The operating system allocates memory only for the slices that are written, so a structure on few slices takes
    little.

    Parameters
    ----------
    shape : (3,) int
        Voxels along each array axis.
    axis : int
        Array axis across which the slices lie.
    dtype : dtype
        Type of the values.

    Returns
    -------
    (K, J, I) ndarray
    """
    sizes = [shape[axis], *(size for other, size in enumerate(shape) if other != axis)]
    kind = np.dtype(dtype)
    count = math.prod(sizes)
    # Directly from the system: numpy requests pages of 2 MB, which a few rows of each slice would fill.
    memory = mmap.mmap(-1, max(count * kind.itemsize, 1), **_OWN)
    return np.moveaxis(np.frombuffer(memory, dtype=kind, count=count).reshape(sizes), 0, axis)


def acquisition_axis(affine: ArrayLike) -> int:
    """Array axis along which the slices were stacked.

    It is the axis with the largest spacing; on an isotropic grid it is the one nearest to the patient's head-foot
    direction.
    """
    spacing = spacing_mm(affine)
    coarsest = spacing >= spacing.max() * (1 - _ISOTROPY_TOLERANCE)
    directions = np.abs(np.asarray(affine, dtype=np.float64)[2, :3]) / spacing
    return int(np.argmax(np.where(coarsest, directions + 1.0, 0.0)))
