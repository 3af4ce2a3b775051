"""The exact Euclidean distance transform, in mm."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

__all__ = ["distance_transform_mm"]

_MAX_THREADS = 4
_THREADED_VOXELS = 500_000
"""Below this, starting threads takes longer than the transform."""


def distance_transform_mm(
    foreground: NDArray[np.bool_], spacing_mm: NDArray[np.float64], *, black_border: bool = False
) -> NDArray[np.float32]:
    """Distance of each foreground voxel to the nearest background voxel, centre to centre, 0 in the background.

    Where there is no background at all, the diagonal of the array. With `black_border` everything beyond the array
    counts as background.
    """
    import edt

    threads = min(_MAX_THREADS, os.cpu_count() or 1) if foreground.size >= _THREADED_VOXELS else 1
    distance: NDArray[np.float32] = edt.edt(
        np.ascontiguousarray(foreground),
        anisotropy=tuple(float(spacing) for spacing in spacing_mm),
        black_border=black_border,
        parallel=threads,
    )
    if not black_border and foreground.all():
        distance[...] = np.float32(np.linalg.norm(np.array(foreground.shape) * spacing_mm))
    return distance
