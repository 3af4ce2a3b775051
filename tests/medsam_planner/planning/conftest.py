"""Both grids for every planning test."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(params=["plain", "oblique left-handed"])
def any_affine(
    request: pytest.FixtureRequest, plain_affine: NDArray[np.float64], oblique_affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Both grids, one after the other."""
    return plain_affine if request.param == "plain" else oblique_affine
