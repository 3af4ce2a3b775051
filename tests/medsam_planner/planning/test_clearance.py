"""The certified clearance against clearances known from geometry."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import EmptyStructureError, GeometryError, PlanningError
from medsam_planner.geometry import lps_from_index, voxel_diagonal_mm
from medsam_planner.planning import Avoid, StayInside, Tool, clearance

from .planning_scenes import (
    STEADY,
    capsule,
    capsule_distance,
    middle,
    positions,
    random_affine,
    random_scene,
    rotation,
    segment_gap,
    shape_covering,
    volume,
)

POINT_TOOL = Tool(radius_mm=0.0, **STEADY)


def two_balls(affine: NDArray[np.float64]):
    """Balls of radius 5 on either side of a line, 13 and 12 mm away."""
    shape = shape_covering(affine, 56.0)
    centre = middle(shape, affine)
    along = np.array([1.0, 2.0, 0.5]) / np.linalg.norm([1.0, 2.0, 0.5])
    across = np.cross(along, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    near, far = centre - 12 * across, centre + 13 * across
    line = np.array([[centre - 10 * along, centre + 10 * along]])
    masks = [capsule(shape, affine, place, place, 5.0) for place in (far, near)]
    return masks, line, (positions(shape, affine) - centre) @ across


def test_two_balls_with_margins_leave_one_millimetre_and_no_more_is_certified(any_affine):
    (far, near), line, _ = two_balls(any_affine)
    result = clearance(line, [Avoid("far", far, 1.0), Avoid("near", near, 6.0)], POINT_TOOL)
    assert 12 - 5 - 6 == 1.0 < 13 - 5 - 1
    assert 1.0 - 1.3 * voxel_diagonal_mm(any_affine) < result.certified_mm[0] <= 1.0
    assert result.sampled_mm[0] >= 1.0
    assert result.limiting_structure[0] == "near"


def test_one_structure_with_a_margin_that_differs_from_place_to_place(any_affine):
    (far, near), line, side = two_balls(any_affine)
    both = volume(far.array | near.array, any_affine)
    margin = volume(np.where(side > 0, 1.0, 6.0).astype(np.float32), any_affine)
    result = clearance(line, [Avoid("balls", both, margin)], POINT_TOOL)
    assert 1.0 - 1.4 * voxel_diagonal_mm(any_affine) < result.certified_mm[0] <= 1.0


def over_claims_and_slack(scenes: int, lines: int, seed: int) -> tuple[int, NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    slack = []
    for _ in range(scenes):
        mask, margin, tool, ends, exact, diagonal = random_scene(generator, lines=lines)
        if mask.array.any():
            result = clearance(ends, [Avoid("structure", mask, margin)], tool)
            assert np.isfinite(result.certified_mm).all()
            assert (result.certified_mm <= result.sampled_mm).all()
            slack.append((exact - result.certified_mm) / diagonal)
    flat = np.concatenate(slack)
    return int((flat < 0).sum()), flat


def test_certified_clearance_is_never_above_the_exact_one():
    over, slack = over_claims_and_slack(scenes=120, lines=40, seed=1)
    assert len(slack) > 4_000
    assert over == 0
    assert slack.mean() < 1.0  # voxel diagonals


def test_a_smoothly_varying_margin_is_never_over_claimed():
    """Ball with margin m0 + g·(z − c) at its surface point z: the exact minimum over a dense set of them."""
    generator = np.random.default_rng(3)
    turns = np.arange(1_500) * np.pi * (3 - np.sqrt(5))
    height = 1 - 2 * (np.arange(1_500) + 0.5) / 1_500
    ring = np.sqrt(1 - height**2)
    unit = np.stack([ring * np.cos(turns), ring * np.sin(turns), height], axis=1)
    for _ in range(12):
        affine = random_affine(generator)
        shape = shape_covering(affine, 34.0)
        centre, radius = middle(shape, affine), generator.uniform(3, 6)
        slope = generator.normal(size=3) * 0.15
        field = 2.5 + (positions(shape, affine) - centre) @ slope
        margin = volume(np.maximum(field, 0).astype(np.float32), affine)
        surface = centre + radius * unit
        exact_margin = np.maximum(2.5 + (surface - centre) @ slope, 0)
        ends = centre + generator.normal(size=(15, 2, 3)) * 10
        fraction = np.linspace(0, 1, 60)[:, None]
        result = clearance(ends, [Avoid("ball", capsule(shape, affine, centre, centre, radius), margin)], POINT_TOOL)
        for number, (p, q) in enumerate(ends):
            path = p + fraction * (q - p)
            gaps = np.linalg.norm(path[:, None] - surface[None], axis=-1) - exact_margin
            inside = np.linalg.norm(path - centre, axis=1) < radius
            if not inside.any():
                assert (
                    result.certified_mm[number] <= gaps.min() + 1e-3
                )  # the surface is sampled, so the minimum is high


def test_rigid_motion_changes_nothing():
    generator = np.random.default_rng(4)
    mask, margin, tool, ends, _, _ = random_scene(generator, lines=60)
    before = clearance(ends, [Avoid("s", mask, margin)], tool)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation(generator), generator.uniform(-80, 80, 3)
    moved = volume(mask.array, motion @ mask.affine)
    after = clearance(ends @ motion[:3, :3].T + motion[:3, 3], [Avoid("s", moved, margin)], tool)
    np.testing.assert_allclose(after.certified_mm, before.certified_mm, atol=1e-3)
    np.testing.assert_allclose(
        after.limiting_point_lps_mm,
        before.limiting_point_lps_mm @ motion[:3, :3].T + motion[:3, 3],
        atol=1.0,
    )


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_the_order_and_direction_of_the_array_axes_change_nothing(order):
    mask, margin, tool, ends, _, _ = random_scene(np.random.default_rng(5), lines=60)
    before = clearance(ends, [Avoid("s", mask, margin)], tool)
    affine = mask.affine[:, [*order, 3]].copy()
    turned = np.transpose(mask.array, order)[::-1]
    affine[:3, 3] += affine[:3, 0] * (turned.shape[0] - 1)
    affine[:3, 0] *= -1
    after = clearance(ends, [Avoid("s", volume(turned, affine), margin)], tool)
    np.testing.assert_allclose(after.certified_mm, before.certified_mm, atol=1e-3)


def test_a_wider_margin_or_tool_never_gains_room(any_affine):
    generator = np.random.default_rng(6)
    (far, near), _, _ = two_balls(any_affine)
    ends = middle(far.array.shape, any_affine) + generator.normal(size=(80, 2, 3)) * 12
    rooms = [
        clearance(
            ends, [Avoid("far", far, margin), Avoid("near", near, 0.5)], Tool(radius_mm=radius, **STEADY)
        ).certified_mm
        for margin, radius in [(0.0, 0.0), (0.7, 0.0), (0.7, 0.9), (2.0, 0.9), (2.0, 1.4)]
    ]
    for wide, narrow in zip(rooms[1:], rooms, strict=False):
        assert (wide <= narrow + 1e-9).all()


def test_tool_error_is_a_linear_allowance(any_affine):
    """Beside one ball at the very end of the path only the error at that end counts."""
    (_, near), _, _ = two_balls(any_affine)
    centre = positions(near.array.shape, any_affine)[near.array].mean(axis=0)
    outward = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    line = np.array([[centre + 60 * outward, centre + 12 * outward]])
    steady = clearance(line, [Avoid("ball", near, 1.0)], POINT_TOOL).certified_mm[0]
    stray = Tool(radius_mm=0.5, entry_error_mm=4.0, target_error_mm=1.0)
    assert clearance(line, [Avoid("ball", near, 1.0)], stray).certified_mm[0] == pytest.approx(steady - 1.5, abs=0.03)
    back = clearance(line[:, ::-1], [Avoid("ball", near, 1.0)], stray).certified_mm[0]
    assert back == pytest.approx(steady - 4.5, abs=0.03)


def test_a_line_through_the_structure_has_a_negative_clearance_that_grows_with_depth(any_affine):
    shape = shape_covering(any_affine, 50.0)
    centre = middle(shape, any_affine)
    ball = Avoid("ball", capsule(shape, any_affine, centre, centre, 8.0), 1.0)
    offsets = np.array([0.0, 3.0, 6.0])
    lines = centre + np.array([[(x, -20, 0), (x, 20, 0)] for x in offsets])
    result = clearance(lines, [ball], POINT_TOOL)
    exact = offsets - 8 - 1
    assert (result.certified_mm <= exact).all()
    assert (result.certified_mm > exact - 2 * voxel_diagonal_mm(any_affine)).all()
    assert (np.diff(result.certified_mm) > 0).all()


def test_a_corridor_is_the_complement_turned_inside_out(any_affine):
    shape = shape_covering(any_affine, 50.0)
    centre = middle(shape, any_affine)
    along = np.array([0.6, 0.0, 0.8])
    a, b = centre - 15 * along, centre + 15 * along
    tube = capsule(shape, any_affine, a, b, 7.0)
    across = np.array([0.8, 0.0, -0.6])
    lines = np.array([[centre - 10 * along + x * across, centre + 10 * along + x * across] for x in (0.0, 2.0, 9.0)])
    exact = 7.0 - np.array([0.0, 2.0, 9.0]) - 0.5 - 1.0
    inside = clearance(lines, [StayInside("bone", tube, 0.5)], Tool(radius_mm=1.0, **STEADY))
    outside = clearance(lines, [Avoid("not bone", volume(~tube.array, any_affine), 0.5)], Tool(radius_mm=1.0, **STEADY))
    assert (inside.certified_mm <= exact).all()
    # On the middle of the tube the field has a ridge, which interpolation cuts off by up to half a diagonal.
    assert (inside.certified_mm[:2] > exact[:2] - 1.5 * voxel_diagonal_mm(any_affine)).all()
    assert inside.certified_mm[2] < 0
    np.testing.assert_allclose(inside.certified_mm, outside.certified_mm, atol=0.02)


def test_a_corridor_ends_with_the_volume_but_an_avoided_structure_does_not_continue(any_affine):
    shape = shape_covering(any_affine, 30.0)
    everything = volume(np.ones(shape, dtype=bool), any_affine)
    centre = middle(shape, any_affine)
    line = centre + np.array([[(0.0, 0.0, 0.0), (200.0, 0.0, 0.0)]])
    assert clearance(line, [StayInside("bone", everything, 0.0)], POINT_TOOL).certified_mm[0] < -150
    far = centre + np.array([[(200.0, 0.0, 0.0), (300.0, 0.0, 0.0)]])
    ball = capsule(shape, any_affine, centre, centre, 5.0)
    assert (
        195 - 1.2 * voxel_diagonal_mm(any_affine)
        < clearance(far, [Avoid("b", ball)], POINT_TOOL).certified_mm[0]
        <= 195
    )


def test_the_way_in_through_the_corridors_own_wall_is_free_when_it_is_said_so(any_affine):
    shape = shape_covering(any_affine, 50.0)
    centre = middle(shape, any_affine)
    ball = capsule(shape, any_affine, centre, centre, 15.0)
    line = centre + np.array([[(15.0, 0, 0), (0, 0, 0)]])
    assert clearance(line, [StayInside("bone", ball)], POINT_TOOL).certified_mm[0] < 0
    free = clearance(line, [StayInside("bone", ball, free_entry_mm=10.0)], POINT_TOOL)
    assert 10 - 1.2 * voxel_diagonal_mm(any_affine) < free.certified_mm[0] <= 10


def test_lines_cut_off_at_a_large_grid_are_continued_soundly(monkeypatch, any_affine):
    from medsam_planner.planning import region

    monkeypatch.setattr(region, "_SMALL_DOMAIN", 0)
    shape = shape_covering(any_affine, 24.0)
    centre = middle(shape, any_affine)
    ball = Avoid("ball", capsule(shape, any_affine, centre, centre, 5.0), 1.0)
    lines = centre + np.random.default_rng(7).normal(size=(300, 2, 3)) * 40
    result = clearance(lines, [ball], POINT_TOOL)
    exact = segment_gap(lines, centre, centre) - 6.0
    assert (result.certified_mm <= exact).all()
    assert np.corrcoef(result.certified_mm, exact)[0, 1] > 0.9


def test_a_structure_too_large_to_look_at_whole_is_bounded_from_what_was_seen(monkeypatch, plain_affine):
    from medsam_planner.planning import field_construction

    shape = (60, 60, 60)
    a, b = middle(shape, plain_affine) + np.array([(-28, 0, 20), (28, 0, 20)])
    tube = Avoid("tube", capsule(shape, plain_affine, a, b, 3.0), 1.0)
    centre = middle(shape, plain_affine)
    lines = centre + np.array([[(0, -2, z), (0, 2, z)] for z in (6.0, 9.0, 12.0)])
    whole = clearance(lines, [tube], POINT_TOOL)
    monkeypatch.setattr(field_construction, "_VOXEL_LIMIT", 30_000)
    cut = clearance(lines, [tube], POINT_TOOL)
    assert (cut.certified_mm <= whole.certified_mm + 1e-6).all()
    monkeypatch.setattr(field_construction, "_VOXEL_LIMIT", 1_000)
    tighter = clearance(lines, [tube], POINT_TOOL)
    assert (tighter.certified_mm <= cut.certified_mm + 1e-6).all()
    assert tighter.certified_mm[0] < whole.certified_mm[0] - 1


def test_each_structures_own_clearance_is_given_on_request(any_affine):
    (far, near), line, _ = two_balls(any_affine)
    structures = [Avoid("far", far, 1.0), Avoid("near", near, 6.0)]
    result = clearance(line, structures, POINT_TOOL, each_structure=True)
    alone = {s.name: clearance(line, [s], POINT_TOOL).certified_mm[0] for s in structures}
    assert {name: found.certified_mm[0] for name, found in result.by_structure.items()} == pytest.approx(alone)
    assert result.certified_mm[0] == pytest.approx(min(alone.values()))


def test_the_limiting_point_is_the_place_on_the_line_nearest_the_ball(any_affine):
    shape = shape_covering(any_affine, 50.0)
    centre = middle(shape, any_affine)
    ball = Avoid("ball", capsule(shape, any_affine, centre, centre, 6.0), 0.0)
    line = centre + np.array([[(12.0, -20, 3), (12.0, 20, 3)]])
    point = clearance(line, [ball], POINT_TOOL).limiting_point_lps_mm[0]
    assert capsule_distance(point, line[0, 0], line[0, 1]) < 1e-9
    assert abs(point[1] - centre[1]) < 2 * voxel_diagonal_mm(any_affine)


@pytest.mark.parametrize("far", [1e300, -1.1e10])
def test_a_line_beyond_the_largest_coordinate_is_refused(far):
    with pytest.raises(PlanningError, match=r"within ±1e\+10 mm"):
        clearance([[[0.0, 0.0, 0.0], [0.0, far, 0.0]]], [], Tool(1.0))


def test_without_structures_the_clearance_is_infinite():
    result = clearance(np.zeros((3, 2, 3)), [], POINT_TOOL)
    assert np.isposinf(result.certified_mm).all() and not result.limiting_structure.any()
    assert clearance(np.zeros((0, 2, 3)), [], POINT_TOOL).certified_mm.shape == (0,)


def test_a_line_of_no_length_is_a_point(any_affine):
    shape = shape_covering(any_affine, 40.0)
    centre = middle(shape, any_affine)
    ball = Avoid("ball", capsule(shape, any_affine, centre, centre, 5.0), 0.0)
    point = centre + np.array([0.0, 12.0, 0.0])
    result = clearance([[point, point]], [ball], POINT_TOOL)
    assert 7 - 1.2 * voxel_diagonal_mm(any_affine) < result.certified_mm[0] <= 7


def test_no_line_at_all_is_an_answer_of_no_rows(plain_affine):
    ball = capsule((20, 20, 20), plain_affine, (10, 10, 10), (10, 10, 10), 4.0)
    result = clearance(np.zeros((0, 2, 3)), [Avoid("b", ball), StayInside("c", ball)], POINT_TOOL)
    assert result.certified_mm.shape == result.sampled_mm.shape == result.limiting_structure.shape == (0,)
    assert result.limiting_point_lps_mm.shape == (0, 3)


@pytest.mark.parametrize("far", [500.0, 1e5, 1e9])
def test_lines_far_outside_the_volume_have_finite_clearances_that_hold(any_affine, far):
    shape = shape_covering(any_affine, 30.0)
    centre = middle(shape, any_affine)
    ball = capsule(shape, any_affine, centre, centre, 6.0)
    lines = centre + np.array([[(far, 0, 0), (2 * far, far, far)], [(-far, 7.5, 0), (far, 7.5, 0)]])
    avoided = clearance(lines, [Avoid("ball", ball, 1.0)], POINT_TOOL)
    assert (avoided.certified_mm <= segment_gap(lines, centre, centre) - 7).all()
    assert avoided.certified_mm[0] > 0.9 * far - 30
    kept = clearance(lines, [StayInside("ball", ball, 1.0)], POINT_TOOL)
    furthest = np.linalg.norm(lines - centre, axis=-1).max(axis=1)
    assert (kept.certified_mm <= 6 - 1 - furthest).all()
    assert np.isfinite(kept.certified_mm).all() and np.isfinite(kept.limiting_point_lps_mm).all()


def test_a_corridor_far_from_every_line_is_not_over_claimed(any_affine):
    """Within the grid, yet so far from the bone that none of it is looked at."""
    shape = shape_covering(any_affine, 60.0)
    corner = lps_from_index(any_affine, np.array(shape) * 0.15)
    bone = capsule(shape, any_affine, corner, corner, 5.0)
    away = lps_from_index(any_affine, np.array(shape) * 0.9)
    lines = away + np.array([[(0.0, 0, 0), (1.0, 1.0, 0.0)]])
    exact = (5.0 - np.linalg.norm(lines - corner, axis=-1)).min()
    assert clearance(lines, [StayInside("bone", bone)], POINT_TOOL).certified_mm[0] <= exact


def test_a_margin_volume_of_zeros_widens_nothing(any_affine):
    (_, near), line, _ = two_balls(any_affine)
    zeros = volume(np.zeros(near.array.shape, dtype=np.float32), any_affine)
    for kind in (Avoid, StayInside):
        without = clearance(line, [kind("ball", near, 0.0)], POINT_TOOL).certified_mm
        np.testing.assert_allclose(clearance(line, [kind("ball", near, zeros)], POINT_TOOL).certified_mm, without)


def test_a_margin_volume_is_read_at_the_surface_and_nowhere_else(any_affine):
    """Zeros outside of the structure and a wild value deep inside it change nothing."""
    (_, near), line, _ = two_balls(any_affine)
    depth = ndimage.distance_transform_edt(near.array, sampling=np.linalg.norm(any_affine[:3, :3], axis=0))
    margin = np.where(near.array, 6.0, 0.0)
    margin[depth == depth.max()] = 40.0
    found = clearance(line, [Avoid("b", near, volume(margin.astype(np.float32), any_affine))], POINT_TOOL)
    even = clearance(line, [Avoid("b", near, 6.0)], POINT_TOOL)
    np.testing.assert_allclose(found.certified_mm, even.certified_mm, atol=0.05)


def test_a_structure_may_lie_on_a_grid_of_its_own(plain_affine, oblique_affine):
    centre = np.array([20.0, 25.0, 22.0])
    plain = capsule((48, 50, 45), plain_affine, centre, centre, 6.0)
    other = oblique_affine.copy()
    shape = shape_covering(other, 45.0)
    other[:3, 3] += centre - middle(shape, other)
    oblique = capsule(shape, other, centre, centre, 6.0)
    line = centre + np.array([[(11.0, -15, 0), (11.0, 15, 0)]])
    result = clearance(line, [Avoid("plain", plain), Avoid("oblique", oblique)], POINT_TOOL, each_structure=True)
    for found in result.by_structure.values():
        assert 5 - 3.5 < found.certified_mm[0] <= 5


def test_wrong_input_is_refused_with_what_was_expected(plain_affine):
    ball = capsule((20, 20, 20), plain_affine, (10, 10, 10), (10, 10, 10), 4.0)
    with pytest.raises(PlanningError, match=r"\(N, 2, 3\)"):
        clearance(np.zeros((2, 3)), [Avoid("b", ball)], POINT_TOOL)
    with pytest.raises(PlanningError, match="finite"):
        clearance(np.full((1, 2, 3), np.nan), [Avoid("b", ball)], POINT_TOOL)
    with pytest.raises(PlanningError, match="different names"):
        clearance(np.zeros((1, 2, 3)), [Avoid("b", ball), Avoid("b", ball)], POINT_TOOL)
    with pytest.raises(EmptyStructureError, match="empty"):
        Avoid("b", volume(np.zeros((5, 5, 5), dtype=bool), plain_affine), 1.0)
    with pytest.raises(PlanningError, match="bool mask"):
        Avoid("b", volume(np.ones((5, 5, 5), dtype=np.float32), plain_affine), 1.0)
    with pytest.raises(PlanningError, match="margin_mm"):
        Avoid("b", ball, -1.0)
    with pytest.raises(GeometryError, match="grid of its mask"):
        Avoid("b", ball, volume(np.ones((5, 5, 5), dtype=np.float32), plain_affine))
    with pytest.raises(PlanningError, match="at most 1000, got nan"):
        Avoid("b", ball, volume(np.full((20, 20, 20), np.nan, dtype=np.float32), plain_affine))
    with pytest.raises(PlanningError, match="radius_mm"):
        Tool(radius_mm=-0.1)
    with pytest.raises(PlanningError, match="tolerance_mm"):
        clearance(np.zeros((1, 2, 3)), [Avoid("b", ball)], POINT_TOOL, tolerance_mm=0.0)


def test_a_sheared_grid_is_refused():
    sheared = np.eye(4)
    sheared[0, 2] = 0.3
    with pytest.raises(ValueError):
        Avoid("b", volume(np.ones((5, 5, 5), dtype=bool), sheared), 1.0)


HUGE = (1000.5, 1e19, 1e20, 1e39, 1e300, np.inf, np.nan)


@pytest.mark.parametrize("structure", [Avoid, StayInside])
@pytest.mark.parametrize("margin", [1.0, 30.0, 200.0, 1000.0])
def test_a_margin_is_subtracted_from_the_clearance_however_wide_it_is(any_affine, structure, margin):
    (far, near), line, _ = two_balls(any_affine)
    through = np.concatenate([line, line + 12.0, line * 3.0])
    both = volume(far.array | near.array, any_affine)
    without = clearance(through, [structure("balls", both)], POINT_TOOL).certified_mm
    uniform = volume(np.full(both.array.shape, margin, dtype=np.float32), any_affine)
    for given in (margin, uniform):
        found = clearance(through, [structure("balls", both, given)], POINT_TOOL).certified_mm
        np.testing.assert_allclose(found, without - margin, atol=0.03 + 0.1 * voxel_diagonal_mm(any_affine))
        assert (found <= without - margin + 0.02).all()


@pytest.mark.parametrize("huge", HUGE)
@pytest.mark.parametrize("structure", [Avoid, StayInside])
def test_a_margin_that_no_number_of_the_field_can_hold_is_refused(structure, huge):
    mask = capsule((20, 20, 20), np.eye(4), [10.0] * 3, [10.0] * 3, 4.0)
    with pytest.raises(PlanningError, match="at most 1000"):
        structure("ball", mask, huge)
    field = np.full(mask.array.shape, 1.0)
    field[3, 3, 3] = huge
    with pytest.raises(PlanningError, match="at most 1000"):
        structure("ball", mask, volume(field, np.eye(4)))


@pytest.mark.parametrize("huge", HUGE)
def test_a_tool_or_a_free_entry_beyond_every_patient_is_refused(huge):
    for values in ((huge, 0.0, 0.0), (1.0, huge, 0.0), (1.0, 0.0, huge)):
        with pytest.raises(PlanningError, match="at most 1000"):
            Tool(*values)
    mask = capsule((20, 20, 20), np.eye(4), [10.0] * 3, [10.0] * 3, 4.0)
    with pytest.raises(PlanningError, match="free_entry_mm"):
        StayInside("ball", mask, free_entry_mm=huge)


@pytest.mark.parametrize("overflowing", [1e20, 1e39, np.inf, np.nan])
@pytest.mark.parametrize("structure", [Avoid, StayInside])
def test_a_margin_that_overflows_is_an_error_and_never_a_clearance_without_limit(structure, overflowing):
    mask = capsule((20, 20, 20), np.eye(4), [10.0] * 3, [10.0] * 3, 4.0)
    past_the_check = structure("ball", mask, 1.0)
    object.__setattr__(past_the_check, "margin_mm", overflowing)
    try:
        with np.errstate(all="ignore"):
            found = clearance([[[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]]], [past_the_check], POINT_TOOL)
    except PlanningError as refused:
        assert "finite" in str(refused)
    else:
        assert found.certified_mm[0] < -1e19


@pytest.mark.parametrize("overflowing", [np.inf, np.nan])
def test_a_tool_that_overflows_is_an_error_too(overflowing):
    mask = capsule((20, 20, 20), np.eye(4), [10.0] * 3, [10.0] * 3, 4.0)
    tool = Tool(1.0, 0.0, 0.0)
    object.__setattr__(tool, "entry_error_mm", overflowing)
    with pytest.raises(PlanningError, match="finite"), np.errstate(all="ignore"):
        clearance([[[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]]], [Avoid("ball", mask)], tool)
