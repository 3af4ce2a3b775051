"""Conversion between voxel indices and LPS millimetres, and the orientation of a grid in the patient.

An affine here is 4 × 4, maps a voxel index (in array-axis order) to LPS mm, and voxel (0, 0, 0) is a centre.
It is in the lowest layer because prompts are in patient space, and every other layer needs them on a grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import GeometryError

__all__ = [
    "axis_letters",
    "gap_text",
    "index_from_lps",
    "lps_from_index",
    "nearest_index",
    "require_affine",
    "require_shape",
]

_FACE_TOLERANCE = 1e-9
"""In voxels: larger than rounding errors of float64 coordinates, smaller than any intended difference."""


def require_affine(affine: ArrayLike) -> NDArray[np.float64]:
    """Return `affine` as float64 (4, 4), or refuse it.

    Raises
    ------
    GeometryError
        If it is not a finite, invertible 4 × 4 matrix with last row (0, 0, 0, 1).
    """
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise GeometryError(f"Expected a finite 4 × 4 affine to LPS mm, got shape {matrix.shape}.")
    if not np.allclose(matrix[3], (0, 0, 0, 1)) or abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
        raise GeometryError(f"Expected an invertible affine with last row (0, 0, 0, 1), got {matrix.tolist()}.")
    return matrix


def require_shape(shape: ArrayLike) -> NDArray[np.int64]:
    """Return the voxel counts `shape` as int64 (3,), or refuse them.

    Raises
    ------
    GeometryError
        If they are not three positive whole numbers.
    """
    counts = np.asarray(shape)
    if counts.shape != (3,) or counts.dtype.kind not in "iu" or (counts < 1).any():
        raise GeometryError(f"Expected a grid of three positive voxel counts, got {shape!r}.")
    return counts.astype(np.int64)


def lps_from_index(affine: ArrayLike, index: ArrayLike) -> NDArray[np.float64]:
    """Map voxel indices (..., 3) to LPS mm (..., 3)."""
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(index, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def index_from_lps(affine: ArrayLike, position_lps_mm: ArrayLike) -> NDArray[np.float64]:
    """Map LPS mm (..., 3) to fractional voxel indices (..., 3)."""
    return lps_from_index(np.linalg.inv(np.asarray(affine, dtype=np.float64)), position_lps_mm)


def axis_letters(affine: ArrayLike) -> tuple[tuple[str, str], ...]:
    """Patient direction at the low and the high end of each array axis.

    Returns
    -------
    ((low, high), (low, high), (low, high))
        Letters of L/R, P/A and S/I (FreeSurfer's S/I; DICOM says H/F). The nearest direction on oblique grids.
    """
    columns = np.asarray(affine, dtype=np.float64)[:3, :3]
    letters = []
    for column in columns.T:
        main = int(np.argmax(np.abs(column)))
        high, low = ("LR", "PA", "SI")[main] if column[main] > 0 else ("RL", "AP", "IS")[main]
        letters.append((low, high))
    return tuple(letters)


def nearest_index(index: ArrayLike) -> NDArray[np.int64]:
    """The voxel that contains each fractional index (..., 3); a face belongs to the voxel above it, on every axis.

    ``numpy.round`` would assign a face to the even neighbour, so that a prompt moved by one voxel could move by two.
    Positions within :data:`_FACE_TOLERANCE` of a face count as on it, so that rounding errors do not decide.
    """
    return np.floor(np.asarray(index, dtype=np.float64) + 0.5 + _FACE_TOLERANCE).astype(np.int64)


def gap_text(affine: ArrayLike, gap: ArrayLike) -> str:
    """Describe a distance and its direction in the patient.

    Parameters
    ----------
    affine : (4, 4) float
        Index → LPS mm.
    gap : (3,) float
        Distance in voxels along each array axis, negative towards the first voxel, 0 where there is none.

    Returns
    -------
    str
        For example ``"12.4 mm to the S"``.
    """
    voxels = np.asarray(gap, dtype=np.float64)
    distance_mm = float(np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3] @ voxels))
    letters = axis_letters(affine)
    sides = [letters[axis][int(voxels[axis] > 0)] for axis in np.flatnonzero(voxels).tolist()]
    return f"{distance_mm:.1f} mm to the {' and '.join(sides)}"
