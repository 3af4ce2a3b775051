"""Fixtures every package's tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real development cases; the test is skipped where it is absent."""
    root = Path(os.environ.get("MEDSAM_PLANNER_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    folder = root / "data"
    if not (folder / "README.md").is_file():
        pytest.skip(f"needs the real development data, not found at {folder} (set MEDSAM_PLANNER_SHARED)")
    return folder


@pytest.fixture(autouse=True, scope="session")
def _no_embeddings_on_disk() -> Iterator[None]:
    """Nothing is kept in the user's own cache, nor found there; tests of the folder set it anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSAM_PLANNER_EMBEDDINGS_GB", "0")
        yield


@pytest.fixture
def plain_affine() -> NDArray[np.float64]:
    """1 mm isotropic, axes (k, j, i) = (+z, +y, +x)."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1]
    return affine


@pytest.fixture
def oblique_affine() -> NDArray[np.float64]:
    """Oblique, anisotropic (2.5, 0.7, 0.9 mm) and left-handed: what positive diagonals hide."""
    a, b = np.deg2rad(25.0), np.deg2rad(-40.0)
    tilt = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    directions = turn @ tilt
    if np.linalg.det(directions) > 0:
        directions[:, 1] *= -1
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array([2.5, 0.7, 0.9])
    affine[:3, 3] = (-31.0, 12.5, 204.0)
    return affine
