"""A synthetic abdomen: a lesion in an organ, a vessel beside the way to it, a spine; every border is known."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import lps_from_index
from medsam_planner.io import save_nifti

SHAPE = (40, 128, 160)
LESION_LPS_MM = np.array([-30.0, -10.0, 0.0])
LESION_RADIUS_MM = 14.0


def phantom_affine() -> NDArray[np.float64]:
    """2.5 mm slices of 1.5 mm pixels, head up, centred on the origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 2.5, 1.5, 1.5, 1.0
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


def write_phantom(path: Path) -> Path:
    """Write it as NIfTI, in HU."""
    affine = phantom_affine()
    places = lps_from_index(affine, np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    x, y, z = np.moveaxis(places, -1, 0)
    hu = np.full(SHAPE, -1000.0)
    hu[(x / 108) ** 2 + (y / 84) ** 2 < 1] = -90.0
    hu[(x / 100) ** 2 + (y / 76) ** 2 < 1] = 30.0
    hu[((x + 38) / 48) ** 2 + ((y + 12) / 44) ** 2 + (z / 60) ** 2 < 1] = 70.0
    hu[np.linalg.norm(places - LESION_LPS_MM, axis=-1) < LESION_RADIUS_MM] = 170.0
    hu[np.hypot(x + 62, y + 24 - 0.15 * z) < 5] = 240.0
    hu[np.hypot(x - 6, y - 18) < 9] = 190.0
    hu[np.hypot(x, y - 48) < 20] = 420.0
    hu[np.hypot(x, y - 48) < 15] = 220.0
    hu[np.hypot(x, y - 72) < 6] = 40.0
    hu += np.random.default_rng(0).normal(0, 9, SHAPE)
    volume = highdicom.Volume(array=hu.astype(np.float32), affine=affine, coordinate_system="PATIENT")
    save_nifti(volume, path)
    return path
