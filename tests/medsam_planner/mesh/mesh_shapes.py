"""Shapes whose volume and surface a reader can compute, drawn on any grid."""

from __future__ import annotations

from collections.abc import Callable

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import lps_from_index, spacing_mm


def positions(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """LPS mm of every voxel centre, (K, J, I, 3)."""
    return lps_from_index(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))


def volume_of(array: NDArray, affine: NDArray[np.float64], uid: str | None = None) -> highdicom.Volume:
    return highdicom.Volume(array, affine, coordinate_system="PATIENT", frame_of_reference_uid=uid)


def soft_volume(
    distance_mm: Callable[[NDArray], NDArray], affine: NDArray[np.float64], shape: tuple[int, int, int]
) -> highdicom.Volume:
    """Probability that falls linearly from 1 to 0 within two of the largest spacings around the surface."""
    ramp_mm = 2 * spacing_mm(affine).max()
    probability = np.clip(0.5 - distance_mm(positions(affine, shape)) / ramp_mm, 0, 1).astype(np.float32)
    return volume_of(probability, affine)


def shape_for(affine: NDArray[np.float64], extent_mm: float) -> tuple[int, int, int]:
    """Voxels along each axis so that the grid is `extent_mm` long."""
    k, j, i = (int(n) for n in np.ceil(extent_mm / spacing_mm(affine)))
    return k, j, i


def grid_centre_lps_mm(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """The middle of the grid, moved off the voxel centres by a third of a voxel or so."""
    return lps_from_index(affine, (np.array(shape) - 1) / 2 + (0.31, -0.27, 0.13))
