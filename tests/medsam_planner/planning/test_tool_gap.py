"""Room between two tools, against distances known by heart and against a search over the square."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import PlanningError
from medsam_planner.planning.tool import Tool
from medsam_planner.planning.tool_gap import tool_gap, tool_gaps_mm

from .planning_scenes import rotation

STEADY_1 = Tool(1.0, 0.0, 0.0)
STEADY_2 = Tool(2.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ([(0, 0, 0), (0, 0, 10)], [(5, 0, 0), (5, 0, 10)], 5.0),  # parallel
        ([(0, 0, 0), (0, 0, 10)], [(-5, 4, 5), (5, 4, 5)], 4.0),  # skew, nearest inside both
        ([(0, 0, 0), (0, 0, 10)], [(-5, 0, 5), (5, 0, 5)], 0.0),  # crossing
        ([(0, 0, 0), (0, 0, 10)], [(0, 0, 13), (0, 0, 20)], 3.0),  # in line, one after the other
        ([(0, 0, 0), (0, 0, 10)], [(3, 0, 14), (9, 0, 14)], 5.0),  # end to end: 3, 4, 5
        ([(0, 0, 0), (0, 0, 10)], [(7, 0, 4), (9, 0, 4)], 7.0),  # an end beside a middle
        ([(0, 0, 0), (0, 0, 0)], [(6, 8, 0), (6, 8, 0)], 10.0),  # two points
        ([(0, 0, 0), (0, 0, 0)], [(-5, 2, 0), (5, 2, 0)], 2.0),  # a point beside a line
    ],
)
def test_gap_is_the_distance_of_the_axes_less_both_radii(first, second, apart):
    assert tool_gaps_mm([first], STEADY_1, [second], STEADY_2)[0, 0] == pytest.approx(apart - 3.0)
    assert tool_gaps_mm([second], STEADY_2, [first], STEADY_1)[0, 0] == pytest.approx(apart - 3.0)


def test_equal_errors_are_subtracted_as_the_radii_are():
    lines = [(0, 0, 0), (0, 0, 10)], [(8, 0, 0), (8, 0, 10)]
    assert tool_gaps_mm([lines[0]], Tool(1, 0.5, 0.5), [lines[1]], Tool(1, 1.5, 1.5))[0, 0] == pytest.approx(4.0)


def test_an_error_that_grows_moves_the_tightest_place_of_parallel_tools_to_the_target():
    first, second = [(0, 0, 0), (0, 0, 10)], [(8, 0, 0), (8, 0, 10)]
    gap = tool_gap("a", first, Tool(1, 0, 2), "b", second, Tool(1, 0, 3))
    assert gap.certified_mm == pytest.approx(8 - 1 - 1 - 2 - 3)
    assert gap.first_point_lps_mm == pytest.approx((0, 0, 10))
    assert (gap.first, gap.second) == ("a", "b")


def test_a_point_beside_a_cone_is_measured_square_to_the_cone():
    """Error 0 to 3 over 4: the room to a point 10 aside is (10 − 0.75 s) at its slanting foot, by hand 10·√(1 − k²)."""
    k = 3 / 40
    line, point = [(0, 0, -20), (0, 0, 20)], [(10, 0, 0), (10, 0, 0)]
    gap = tool_gaps_mm([line], Tool(0, 0, 3), [point], Tool(0, 0, 0))[0, 0]
    assert gap == pytest.approx(10 * np.sqrt(1 - k * k) - 1.5)  # the error at the foot of the perpendicular is 1.5


def _random(generator, count):
    lines = generator.normal(size=(count, 2, 3)) * 12
    return lines, Tool(*generator.uniform(0, 6, 3).tolist())


def test_the_closed_form_is_the_minimum_over_the_square():
    generator = np.random.default_rng(0)
    share = np.linspace(0, 1, 201)
    s, t = np.meshgrid(share, share, indexing="ij")
    for _ in range(40):
        (p,), first = _random(generator, 1)
        (q,), second = _random(generator, 1)
        apart = (p[0] + s[..., None] * (p[1] - p[0])) - (q[0] + t[..., None] * (q[1] - q[0]))
        sampled = (np.linalg.norm(apart, axis=-1) - first.allowance_mm(s) - second.allowance_mm(t)).min()
        gap = tool_gaps_mm([p], first, [q], second)[0, 0]
        assert gap <= sampled + 1e-9
        assert gap == pytest.approx(sampled, abs=0.15)


def test_tools_whose_ends_stray_within_their_errors_keep_the_certified_gap():
    generator = np.random.default_rng(1)
    for _ in range(60):
        (p,), first = _random(generator, 1)
        (q,), second = _random(generator, 1)
        certified = tool_gaps_mm([p], first, [q], second)[0, 0]
        for _ in range(20):
            strayed = []
            for line, tool in ((p, first), (q, second)):
                ball = generator.normal(size=(2, 3))
                ball /= np.linalg.norm(ball, axis=1, keepdims=True)
                strayed.append(line + ball * tool.error_mm([0.0, 1.0])[:, None])
            steady = [Tool(tool.radius_mm, 0, 0) for tool in (first, second)]
            assert tool_gaps_mm([strayed[0]], steady[0], [strayed[1]], steady[1])[0, 0] >= certified - 1e-9


def test_every_pair_is_measured_and_rigid_motion_and_order_change_nothing():
    generator = np.random.default_rng(2)
    (one, first), (other, second) = _random(generator, 7), _random(generator, 5)
    gaps = tool_gaps_mm(one, first, other, second)
    assert gaps.shape == (7, 5)
    turn, shift = rotation(generator), generator.normal(size=3) * 50
    moved = tool_gaps_mm(one @ turn.T + shift, first, other @ turn.T + shift, second)
    np.testing.assert_allclose(moved, gaps, atol=1e-9)
    np.testing.assert_allclose(tool_gaps_mm(other, second, one, first), gaps.T, atol=1e-9)


def test_wrong_lines_are_refused():
    with pytest.raises(PlanningError, match=r"\(N, 2, 3\)"):
        tool_gaps_mm(np.zeros((2, 3)), STEADY_1, np.zeros((1, 2, 3)), STEADY_1)
