"""The hit probability against two closed forms, and its interval."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medsam_planner.errors import PlanningError
from medsam_planner.planning import StayInside, Tool, hit_probability
from medsam_planner.planning.hit import clopper_pearson, structure_hit_probability

from .planning_scenes import middle, positions, segment_gap, shape_covering, volume


def half_space_scene(affine: NDArray[np.float64], normal: NDArray[np.float64], samples: int):
    """A tube parallel to a half-space 4 mm away whose surface varies with a standard deviation of 0.8 mm."""
    shape = shape_covering(affine, 44.0)
    centre = middle(shape, affine)
    normal = normal / np.linalg.norm(normal)
    along = np.cross(normal, [0.3, 0.4, 1.0])
    along /= np.linalg.norm(along)
    height = (positions(shape, affine) - centre) @ normal
    # Evenly spread quantiles in place of random numbers: the spread of the surface is then exact.
    shifts = 0.8 * stats.norm.ppf((np.arange(samples) + 0.5) / samples)
    masks = [volume(height >= shift, affine) for shift in shifts]
    line = np.array([centre - 4 * normal - 6 * along, centre - 4 * normal + 6 * along])
    return line, masks


def test_half_space_beside_a_parallel_tube(any_affine):
    expected = stats.norm.cdf((1.5 - 4) / np.hypot(0.8, 1.2))
    assert expected == pytest.approx(0.0415, abs=1e-4)
    normal = any_affine[:3, :3] @ np.array([0.2, 1.0, 0.7])  # slanting on the grid, not along its coarse axis
    line, masks = half_space_scene(any_affine, normal, samples=40)
    found = hit_probability(line, masks, Tool(1.5, entry_error_mm=1.2, target_error_mm=1.2), draws=600, seed=1)
    assert found.probability == pytest.approx(expected, abs=0.012)
    assert found.interval[0] < expected < found.interval[1]


def test_half_space_along_a_grid_plane(plain_affine):
    line, masks = half_space_scene(plain_affine, np.array([0.0, 1.0, 0.0]), samples=40)
    found = hit_probability(line, masks, Tool(1.5, entry_error_mm=1.2, target_error_mm=1.2), draws=600, seed=1)
    assert found.probability == pytest.approx(0.0415, abs=0.012)


@pytest.mark.parametrize(("spacing", "tolerance"), [(1.0, 0.02), (0.5, 0.008)])
def test_parallel_cylinder(plain_affine, spacing, tolerance):
    expected = stats.ncx2.cdf(((2 + 1) / 1.3) ** 2, 2, (5 / 1.3) ** 2)
    assert expected == pytest.approx(0.0438, abs=1e-4)
    generator = np.random.default_rng(0)
    affine = plain_affine.copy()
    affine[:3, :3] *= spacing
    shape = shape_covering(affine, 30.0)
    centre, place = middle(shape, affine), positions(shape, affine)
    tool = Tool(1.0, entry_error_mm=1.3, target_error_mm=1.3)
    found = []
    for number in range(12):  # directions and places on the grid, so that no single voxelisation decides
        along = generator.normal(size=3)
        along /= np.linalg.norm(along)
        across = np.cross(along, generator.normal(size=3))
        across /= np.linalg.norm(across)
        origin = centre + generator.uniform(-1, 1, 3)
        offset = place - (origin + 5 * across)
        radius = np.linalg.norm(offset - (offset @ along)[..., None] * along, axis=-1)
        line = np.array([origin - 5 * along, origin + 5 * along])
        found.append(hit_probability(line, [volume(radius <= 2, affine)], tool, 2000, number).probability)
    assert np.mean(found) == pytest.approx(expected, abs=tolerance)


def test_a_ball_on_a_coarse_and_on_a_fine_grid(plain_affine):
    """The exact share of displaced lines that touch the ball; on the voxels it may not depend on their size."""
    offset, ball_radius = np.array([0.0, 6.3, 0.0]), 3.0
    local = np.array([(-8.0, 0.2, 0.1), (8.0, -0.1, 0.3)])
    shift = np.random.default_rng(0).standard_normal((100_000, 1, 3))
    moved = local + np.array([1.5, 2.9])[None, :, None] * shift
    exact = np.mean(segment_gap(moved, offset, offset) <= ball_radius + 1.0)
    assert exact == pytest.approx(0.106, abs=0.003)
    fine = plain_affine.copy()
    fine[:3, :3] *= 0.5
    for affine, tolerance in ((plain_affine, 0.03), (fine, 0.018)):
        shape = shape_covering(affine, 36.0)
        centre = middle(shape, affine)
        ball = np.linalg.norm(positions(shape, affine) - (centre + offset), axis=-1) <= ball_radius
        found = hit_probability(centre + local, [volume(ball, affine)], Tool(1.0), 6000, 3)
        assert found.probability == pytest.approx(exact, abs=tolerance)


def test_certain_hit_certain_miss_and_an_empty_sample(any_affine):
    shape = shape_covering(any_affine, 40.0)
    centre = middle(shape, any_affine)
    ball = volume(np.linalg.norm(positions(shape, any_affine) - centre, axis=-1) <= 6, any_affine)
    nothing = volume(np.zeros(shape, dtype=bool), any_affine)
    tool = Tool(1.0, entry_error_mm=0.5, target_error_mm=0.5)
    through = centre + np.array([(-30.0, 0, 0), (30.0, 0, 0)])
    assert hit_probability(through, [ball, ball], tool, 50, 0).probability == 1.0
    assert hit_probability(through + np.array([0, 0, 80]), [ball], tool, 50, 0).probability == 0.0
    half = hit_probability(through, [ball, nothing], tool, 50, 0)
    assert half.probability == 0.5
    np.testing.assert_array_equal(half.per_sample, [1.0, 0.0])


def test_an_array_of_samples_with_its_affine_is_the_same_as_volumes(any_affine):
    line, masks = half_space_scene(any_affine, any_affine[:3, 1], samples=5)
    tool = Tool(1.5, entry_error_mm=1.2, target_error_mm=1.2)
    stack = np.stack([mask.array for mask in masks])
    assert (
        hit_probability(line, stack, tool, 100, 4, affine=any_affine).probability
        == hit_probability(line, masks, tool, 100, 4).probability
    )
    with pytest.raises(PlanningError, match="affine"):
        hit_probability(line, stack, tool, 100, 4)


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(plain_affine):
    line, masks = half_space_scene(plain_affine, np.array([0.3, 1.0, 0.2]), samples=4)
    tool = Tool(1.5, entry_error_mm=1.2, target_error_mm=1.2)
    first = hit_probability(line, masks, tool, 200, 6).per_sample
    np.testing.assert_array_equal(first, hit_probability(line, masks, tool, 200, 6).per_sample)
    assert (first != hit_probability(line, masks, tool, 200, 7).per_sample).any()


def test_a_breach_of_the_corridor_counts_the_way_out_but_not_the_way_in(plain_affine):
    shape = shape_covering(plain_affine, 40.0)
    centre = middle(shape, plain_affine)
    tube = np.linalg.norm((positions(shape, plain_affine) - centre)[..., :2], axis=-1) <= 8
    tube &= np.abs((positions(shape, plain_affine) - centre)[..., 2]) <= 15
    line = centre + np.array([(0.0, 0, 16), (0.0, 0, -8)])
    tool = Tool(1.0, entry_error_mm=0.5, target_error_mm=0.5)
    mask = volume(tube, plain_affine)
    assert structure_hit_probability(line, StayInside("bone", mask), tool, 200, 0).probability == 1.0
    free = StayInside("bone", mask, free_entry_mm=5.0)
    assert structure_hit_probability(line, free, tool, 200, 0).probability < 0.01


def test_clopper_pearson_is_the_exact_binomial_interval():
    low, high = clopper_pearson(3, 20)
    expected = stats.binomtest(3, 20).proportion_ci(method="exact")
    assert (low, high) == pytest.approx((expected.low, expected.high))
    assert clopper_pearson(0, 10)[0] == 0.0 and clopper_pearson(10, 10)[1] == 1.0
    assert low < clopper_pearson(3.5, 20)[0] and high < clopper_pearson(3.5, 20)[1]


def test_wrong_input_is_refused(plain_affine):
    mask = volume(np.ones((4, 4, 4), dtype=bool), plain_affine)
    with pytest.raises(PlanningError, match="two finite"):
        hit_probability(np.zeros((2, 2)), [mask], Tool(1.0))
    with pytest.raises(PlanningError, match="at least one"):
        hit_probability(np.zeros((2, 3)), [], Tool(1.0))
    with pytest.raises(PlanningError, match="at least one"):
        hit_probability(np.zeros((2, 3)), [mask], Tool(1.0), draws=0)
