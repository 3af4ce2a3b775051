"""The search on scenes whose best line can be worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.planning import Avoid, StayInside, Tool, clearance
from medsam_planner.planning.alternatives import distinct, non_dominated
from medsam_planner.planning.multi_tool import JointPlan
from medsam_planner.planning.plan_document import plan_document
from medsam_planner.planning.problem import (
    Limits,
    PlanningProblem,
    SearchSettings,
    entry_region_on_surface,
    points_in_mask,
    points_in_sphere,
)
from medsam_planner.planning.search import risk_map_mm, search

SHAPE = (72, 72, 72)
SETTINGS = SearchSettings(candidates=3000, alternatives=4, hit_draws=60)
TOOL = Tool(1.0, 0.0, 0.0)


@pytest.fixture(params=["plain", "oblique"])
def grid(request):
    """Affine and the LPS position of the middle; isotropic, so that one scene fits both."""
    affine = np.eye(4)
    if request.param == "plain":
        affine[:3, :3] = np.eye(3)[:, ::-1]
    else:
        turn, _ = np.linalg.qr(np.array([[2.0, 1.0, 0.3], [-1.0, 2.0, 0.5], [0.2, -0.6, 1.7]]))
        affine[:3, :3] = turn if np.linalg.det(turn) < 0 else -turn
        affine[:3, 3] = (-40.0, 15.0, 120.0)
    return affine, lps_from_index(affine, (np.array(SHAPE) - 1) / 2)


def ball(grid, offset_mm, radius_mm):
    affine, middle = grid
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    inside = np.linalg.norm(lps_from_index(affine, index) - (middle + offset_mm), axis=-1) <= radius_mm
    return highdicom.Volume(inside, affine, "PATIENT")


def towards_z(grid, degrees=0.0):
    return np.array([math.sin(math.radians(degrees)), 0.0, math.cos(math.radians(degrees))])


def problem_with(grid, structures, **changes):
    """From the upper cap of a 33 mm ball to its centre."""
    _, middle = grid
    entry = entry_region_on_surface(
        ball(grid, 0, 33.0), centre_lps_mm=middle + 33.0 * towards_z(grid), radius_mm=changes.pop("entry_radius", 26.0)
    )
    return PlanningProblem(
        structures=tuple(structures),
        tool=changes.pop("tool", TOOL),
        entry=entry,
        targets_lps_mm=changes.pop("targets", middle[None]),
        limits=changes.pop("limits", Limits(max_length_mm=60.0)),
        settings=SETTINGS,
    )


def test_normals_point_out_of_the_body_on_any_grid(grid):
    _, middle = grid
    entry = entry_region_on_surface(ball(grid, 0, 33.0))
    outward = entry.points_lps_mm - middle
    cosine = (outward * entry.outward_normals_lps).sum(axis=1) / np.linalg.norm(outward, axis=1)
    assert cosine.min() > 0.97


def test_the_best_line_leans_away_from_the_obstacle(grid):
    obstacle = ball(grid, 18.0 * towards_z(grid, 25.0), 5.0)
    plan = search(problem_with(grid, [Avoid("vessel", obstacle, 1.0)]))
    assert plan.feasible
    _, middle = grid
    best = plan.alternatives[0]
    lean = np.array(best.entry_lps_mm) - middle
    assert lean @ np.array([1.0, 0, 0]) < 0
    assert best.limiting_structure == "vessel"


def test_certified_clearance_of_every_alternative_is_confirmed_by_a_fresh_measurement(grid):
    vessel = Avoid("vessel", ball(grid, 18.0 * towards_z(grid, 25.0), 5.0), 1.0)
    plan = search(problem_with(grid, [vessel]))
    lines = np.array([[line.entry_lps_mm, line.target_lps_mm] for line in plan.alternatives])
    room = clearance(lines, [vessel], TOOL)
    planned = [line.certified_clearance_mm for line in plan.alternatives]
    assert np.allclose(room.certified_mm, planned, atol=0.02)


def test_every_alternative_keeps_every_limit(grid):
    limits = Limits(max_length_mm=34.0, max_entry_angle_deg=12.0, min_clearance_mm=1.0)
    vessel = Avoid("vessel", ball(grid, 18.0 * towards_z(grid, 25.0), 5.0), 1.0)
    targets = points_in_sphere(grid[1], 2.0)
    plan = search(problem_with(grid, [vessel], limits=limits, targets=targets))
    assert plan.feasible
    for line in plan.alternatives:
        assert line.length_mm <= 34.0 and line.entry_angle_deg <= 12.0 and line.certified_clearance_mm >= 1.0


def test_alternatives_differ_in_place_and_none_dominates_another(grid):
    vessel = Avoid("vessel", ball(grid, 18.0 * towards_z(grid), 4.0), 1.0)
    plan = search(problem_with(grid, [vessel], targets=points_in_sphere(grid[1], 2.0)))
    ends = np.array([[line.entry_lps_mm, line.target_lps_mm] for line in plan.alternatives])
    for first in range(len(ends)):
        for second in range(first):
            assert np.linalg.norm(ends[first] - ends[second], axis=1).max() >= SETTINGS.min_separation_mm
    scores = [line.score for line in plan.alternatives]
    assert scores == sorted(scores, reverse=True)


def test_the_profile_falls_to_the_certified_clearance(grid):
    vessel = Avoid("vessel", ball(grid, 18.0 * towards_z(grid, 25.0), 5.0), 1.0)
    best = search(problem_with(grid, [vessel])).alternatives[0]
    profile = best.clearance_profile
    assert profile.distance_mm[-1] == pytest.approx(best.length_mm)
    lowest = profile.clearance_mm_by_structure["vessel"].min()
    assert lowest == pytest.approx(best.certified_clearance_mm, abs=0.3)


def document(plan, problem):
    return plan_document(JointPlan(plan.feasible, {"tool": plan}, ()), {"tool": problem})


def test_the_same_seed_gives_the_same_file(grid):
    problem = problem_with(grid, [Avoid("vessel", ball(grid, 18.0 * towards_z(grid, 25.0), 5.0), 1.0)])
    first, second = (json.dumps(document(search(problem), problem), allow_nan=False) for _ in range(2))
    assert first == second


def test_a_screw_stays_in_its_corridor(grid):
    _, middle = grid
    bone = ball(grid, 0, 12.0)
    entry = entry_region_on_surface(bone, centre_lps_mm=middle + 12.0 * towards_z(grid), radius_mm=4.0)
    corridor = StayInside("bone", bone, 0.5, free_entry_mm=6.0)
    problem = PlanningProblem((corridor,), Tool(2.0, 0.0, 0.0), entry, middle[None], Limits(max_length_mm=20.0))
    plan = search(problem)
    assert plan.feasible
    assert plan.alternatives[0].limiting_structure == "bone"
    longer = replace(problem, targets_lps_mm=(middle - 11.0 * towards_z(grid))[None], limits=Limits(max_length_mm=40.0))
    assert not search(longer).feasible


@pytest.mark.parametrize(
    ("limits", "constraint"),
    [
        (Limits(max_length_mm=20.0), "max_length_mm"),
        (Limits(min_length_mm=50.0, max_length_mm=90.0), "min_length_mm"),
        (Limits(max_length_mm=60.0, min_clearance_mm=40.0), "min_clearance_mm"),
    ],
)
def test_when_nothing_fits_the_relaxation_that_is_named_suffices(grid, limits, constraint):
    vessel = Avoid("vessel", ball(grid, 18.0 * towards_z(grid, 50.0), 5.0), 1.0)
    problem = problem_with(grid, [vessel], limits=limits)
    plan = search(problem)
    assert not plan.feasible and plan.alternatives == ()
    relaxation = next(found for found in plan.relaxations if found.constraint == constraint)
    relaxed = replace(limits, **{constraint: relaxation.relaxed_to})
    entry = np.linalg.norm(np.diff(relaxation.witness_lps_mm, axis=0))
    assert relaxed.min_length_mm <= entry <= relaxed.max_length_mm
    room = clearance(relaxation.witness_lps_mm[None], [vessel], TOOL).certified_mm[0]
    assert room >= relaxed.min_clearance_mm - 0.02
    assert search(replace(problem, limits=relaxed)).feasible


def test_the_structure_in_the_way_is_named(grid):
    aside = Avoid("aside", ball(grid, -20.0 * towards_z(grid), 5.0), 1.0)
    lid = Avoid("lid", ball(grid, 20.0 * towards_z(grid), 2.0), 10.0)
    plan = search(problem_with(grid, [lid, aside], entry_radius=10.0))
    assert not plan.feasible and plan.nearest_miss.structure == "lid"
    named = {found.constraint for found in plan.relaxations}
    assert "margin_mm:lid" in named and "margin_mm:aside" not in named


def test_a_line_through_a_structure_is_no_matter_of_margins(grid):
    """Every line from a cap of 10 mm runs through a lid of 11 mm: no margin, however narrow, helps."""
    lid = Avoid("lid", ball(grid, 20.0 * towards_z(grid), 11.0), 6.0)
    plan = search(problem_with(grid, [lid], entry_radius=10.0))
    assert not plan.feasible and plan.nearest_miss.structure == "lid"
    assert plan.nearest_miss.shortage_mm > 6.0
    assert not [found for found in plan.relaxations if found.constraint.startswith("margin_mm")]


def test_the_risk_map_is_low_behind_the_obstacle_and_high_beside_it(grid):
    _, middle = grid
    vessel = Avoid("vessel", ball(grid, 18.0 * towards_z(grid), 5.0), 1.0)
    problem = problem_with(grid, [vessel])
    behind, beside = (middle + 33.0 * towards_z(grid, angle) for angle in (0.0, 60.0))
    risk = risk_map_mm(problem, np.array([behind, beside, middle + 500.0]))
    assert risk[0] < 0 < risk[1]
    assert np.isnan(risk[2])


def test_points_of_a_ball_lie_in_it_and_begin_at_its_centre():
    points = points_in_sphere((1.0, 2.0, 3.0), 4.0)
    assert np.array_equal(points[0], (1, 2, 3))
    assert np.linalg.norm(points - points[0], axis=1).max() <= 4.0


def test_points_of_a_mask_are_its_voxel_centres(grid):
    mask = ball(grid, 0, 3.0)
    index = index_from_lps(mask.affine, points_in_mask(mask))
    assert mask.array[tuple(np.rint(index).astype(int).T)].all()


def test_a_dominated_point_is_dropped_and_equals_stay():
    costs = np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [1.0, 2.0]])
    assert non_dominated(costs).tolist() == [True, True, False, True]


def test_distinct_keeps_the_better_of_two_close_lines():
    lines = np.array([[[0, 0, 0], [0, 0, 9]], [[1, 0, 0], [0, 0, 9]], [[8, 0, 0], [0, 0, 9]]], dtype=float)
    assert distinct(lines, np.array([0.5, 0.9, 0.1]), separation_mm=3.0, count=5) == [1, 2]


def test_a_line_needs_a_length(grid):
    problem = problem_with(grid, [Avoid("vessel", ball(grid, 0, 4.0), 1.0)], limits=Limits(60.0, 0.0, 180.0))
    point = problem.entry.points_lps_mm[:1]
    both = np.concatenate([point, grid[1][None] + 20.0])
    plan = search(replace(problem, targets_lps_mm=both))
    assert all(math.isfinite(line.entry_angle_deg) and line.length_mm > 0 for line in plan.alternatives)
    json.dumps(document(plan, problem), allow_nan=False)
    entry = replace(problem.entry, points_lps_mm=point, outward_normals_lps=problem.entry.outward_normals_lps[:1])
    with pytest.raises(PlanningError, match="needs a length"):
        search(replace(problem, entry=entry, targets_lps_mm=point))
    risk = risk_map_mm(replace(problem, targets_lps_mm=point), np.concatenate([point, point + 5.0]))
    assert np.isnan(risk[0]) and np.isfinite(risk[1])


def test_an_entry_region_off_the_surface_is_refused(grid):
    with pytest.raises(PlanningError, match="touches the surface"):
        entry_region_on_surface(ball(grid, 0, 33.0), centre_lps_mm=grid[1], radius_mm=5.0)


def test_limits_that_cannot_be_right_are_refused():
    for wrong in (
        {"min_length_mm": 9.0, "max_length_mm": 8.0},
        {"max_entry_angle_deg": 0.0},
        {"max_length_mm": math.nan},
    ):
        with pytest.raises(PlanningError):
            Limits(**wrong)
