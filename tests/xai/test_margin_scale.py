from __future__ import annotations

import math

import numpy as np
import pytest

from prompts.errors import GeometryError
from xai.conformal import inner_nonconformity_score, nonconformity_score
from xai.errors import UncertaintyError
from xai.margin_scale import SCALES, MarginScale, scale_named, size_shortfall


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


@pytest.mark.parametrize(
    ("found_ml", "usual_ml", "outer", "inner"),
    [
        (0.8, 1.6, math.log(2), 0.0),
        (0.4, 1.6, 2 * math.log(2), 0.0),
        (1.6, 1.6, 0.0, 0.0),
        (4.8, 1.6, 0.0, math.log(3)),
        (0.239, 1.555, 1.872767, 0.0),  # 6.506276 times: e^1.87 is 6.488296, times 1.002771
        (0.5, None, 0.0, 0.0),
        (0.0, 1.6, 0.0, 0.0),
    ],
)
def test_the_shortfall_is_the_logarithm_of_how_many_times_too_little_was_found(found_ml, usual_ml, outer, inner):
    assert size_shortfall(found_ml, usual_ml) == pytest.approx(outer, abs=1e-6)
    assert size_shortfall(found_ml, usual_ml, inner=True) == pytest.approx(inner, abs=1e-6)


def test_the_less_is_found_the_larger_u_and_never_smaller_than_without():
    scale = MarginScale("size and spread", 0.5, per_spread_mm=1.0, per_size_shortfall=2.0)
    spread = np.random.default_rng(1).uniform(0, 3, (7, 7, 7))
    without = scale.on_surface(cube(), spread, None)
    before = without
    for volume_ml in (9.0, 2.0, 1.0, 0.1):
        u = scale.on_surface(cube(), spread, None, size_shortfall(volume_ml, 2.0))
        assert (u >= before).all()
        assert u == pytest.approx(without + 2 * max(0.0, math.log(2.0 / volume_ml)), rel=1e-6)
        before = u


def test_twice_the_u_is_half_the_score_and_the_margin_stays_where_it_was():
    """A floor of 1 and a shortfall of ln 2 = 0.693147 make u 1.693147; a weight of 1 / ln 2 makes it 2."""
    truth, found = np.zeros((9, 9, 9), dtype=bool), np.zeros((9, 9, 9), dtype=bool)
    truth[1:8, 4, 4], found[4, 4, 4] = True, True  # 3 voxels of 2 mm are missed on either side: 6 mm
    shortfall = size_shortfall(1.0, 2.0)
    u = {
        "uniform": SCALES["uniform"].on_surface(found, None, None, shortfall),
        "size": MarginScale("size", 1.0, per_size_shortfall=1.0).on_surface(found, None, None, shortfall),
        "twice": MarginScale("twice", 1.0, per_size_shortfall=1 / math.log(2)).on_surface(found, None, None, shortfall),
    }
    score = {name: nonconformity_score(truth, found, scale, (2.0, 1.0, 1.0)) for name, scale in u.items()}
    assert score["uniform"] == pytest.approx(6.0)
    assert score["size"] == pytest.approx(6.0 / 1.693147)
    assert score["twice"] == pytest.approx(3.0)
    assert inner_nonconformity_score(~truth, ~found, u["twice"], (2.0, 1.0, 1.0)) == pytest.approx(3.0)


def test_where_no_usual_size_is_known_the_size_scale_is_the_uniform_one():
    shortfall = size_shortfall(0.1, None)
    assert (SCALES["size"].on_surface(cube(), None, None, shortfall) == 1.0).all()
    assert SCALES["size"].floor == SCALES["uniform"].floor


def test_shortfalls_and_volumes_out_of_range_are_refused():
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(UncertaintyError, match="shortfall >= 0"):
            SCALES["size"].on_surface(cube(), None, None, wrong)
        with pytest.raises(UncertaintyError, match="found volume >= 0 ml"):
            size_shortfall(wrong, 1.0)
    for wrong in (-0.1, 0.0, math.inf, math.nan):
        with pytest.raises(UncertaintyError, match="median volume > 0 ml"):
            size_shortfall(1.0, wrong)


def test_scales_that_could_never_widen_are_refused():
    for wrong in (
        {"floor": 0.0},
        {"floor": 1.0, "per_spread_mm": -1.0},
        {"floor": 1.0, "per_size_shortfall": -1.0},
        {"floor": float("nan")},
    ):
        with pytest.raises(UncertaintyError, match="floor"):
            MarginScale("wrong", **wrong)
    with pytest.raises(UncertaintyError, match="uniform, spread"):
        scale_named("magic")
    with pytest.raises(GeometryError, match="grid"):
        SCALES["spread"].on_surface(cube(), np.zeros((3, 3, 3)), None)
