from __future__ import annotations

import numpy as np
import pytest

from prompts.errors import GeometryError
from xai.errors import UncertaintyError
from xai.margin_scale import SCALES, MarginScale, scale_named


def cube() -> np.ndarray:
    mask = np.zeros((7, 7, 7), dtype=bool)
    mask[1:6, 1:6, 1:6] = True
    return mask


def test_u_is_the_weighted_sum_on_the_surface_and_the_smallest_of_it_elsewhere():
    mask, spread, entropy = cube(), np.zeros((7, 7, 7)), np.zeros((7, 7, 7))
    spread[1, 3, 3], entropy[5, 3, 3], spread[3, 3, 3], spread[0, 3, 3] = 2.0, 1.0, 50.0, 50.0
    u = MarginScale("both", 0.5, per_spread_mm=1.0, per_entropy_bit=3.0).on_surface(mask, spread, entropy)
    assert (u[1, 3, 3], u[5, 3, 3], u[1, 2, 2]) == (2.5, 3.5, 0.5)
    assert u[3, 3, 3] == u[0, 3, 3] == 0.5  # inside and outside nothing may reach farther than the surface


def test_what_is_not_known_counts_as_no_spread():
    spread = np.full((7, 7, 7), np.nan)
    assert (SCALES["spread"].on_surface(cube(), spread, None) == 0.5).all()
    assert (SCALES["uniform"].on_surface(cube(), None, None) == 1.0).all()


def test_scales_that_could_never_widen_are_refused():
    for wrong in ({"floor": 0.0}, {"floor": 1.0, "per_spread_mm": -1.0}, {"floor": float("nan")}):
        with pytest.raises(UncertaintyError, match="floor"):
            MarginScale("wrong", **wrong)
    with pytest.raises(UncertaintyError, match="uniform, spread"):
        scale_named("magic")
    with pytest.raises(GeometryError, match="grid"):
        SCALES["spread"].on_surface(cube(), np.zeros((3, 3, 3)), None)
