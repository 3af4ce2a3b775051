"""Every coordinate function is tested on a plain grid and on an oblique, anisotropic, left-handed one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(params=["plain_affine", "oblique_affine"])
def grid_affine(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    affine: NDArray[np.float64] = request.getfixturevalue(request.param)
    return affine
