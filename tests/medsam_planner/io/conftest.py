"""Grids on which every geometry test of this folder runs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(params=["plain", "head to feet", "oblique left-handed"])
def grid_affine(
    request: pytest.FixtureRequest, plain_affine: NDArray[np.float64], oblique_affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Affine to LPS mm of axes (slice, row, column)."""
    if request.param == "oblique left-handed":
        assert np.linalg.det(oblique_affine[:3, :3]) < 0
        return oblique_affine
    affine = plain_affine @ np.diag([2.0, 0.75, 0.5, 1.0])
    if request.param == "head to feet":
        affine[:3, 0] *= -1
        affine[:3, 3] = (-120.0, 33.5, 900.25)
    return affine
