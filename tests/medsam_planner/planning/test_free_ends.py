"""A target or an entry inside a structure to avoid: the answer is no, with that reason and without advice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from medsam_planner.planning import Avoid, Tool
from medsam_planner.planning.multi_tool import search_together
from medsam_planner.planning.problem import Limits, PlanningProblem, SearchSettings, entry_region_on_surface
from medsam_planner.planning.search import search
from tests.medsam_planner.planning.planning_scenes import capsule, middle, shape_covering

SETTINGS = SearchSettings(candidates=400, alternatives=2, hit_draws=20)


@pytest.fixture
def scene(any_affine):
    """A body of 26 mm radius with a vessel of 5 mm radius 10 mm beside its middle; the first target is the middle."""
    shape = shape_covering(any_affine, 70.0)
    centre = middle(shape, any_affine)
    aside = centre + np.array([10.0, 0.0, 0.0])
    body = capsule(shape, any_affine, centre, centre, 26.0)
    vessel = capsule(shape, any_affine, aside, aside, 5.0)
    problem = PlanningProblem(
        structures=(Avoid("vessel", vessel, 1.0),),
        tool=Tool(0.5, 0.0, 0.0),
        entry=entry_region_on_surface(body, centre_lps_mm=centre + np.array([0.0, 0.0, 26.0]), radius_mm=10.0),
        targets_lps_mm=centre[None],
        limits=Limits(max_length_mm=60.0),
        settings=SETTINGS,
    )
    return problem, centre, aside, body


def test_a_target_inside_a_structure_to_avoid_is_infeasible_for_that_reason(scene):
    problem, _, aside, _ = scene
    plan = search(replace(problem, targets_lps_mm=np.array([aside, aside + 1.0])))
    assert not plan.feasible
    assert plan.reasons == ('The target lies inside "vessel", a structure to avoid.',)
    assert plan.relaxations == ()


def test_no_limit_however_loose_makes_such_a_target_feasible(scene):
    problem, _, aside, _ = scene
    loose = Limits(max_length_mm=60.0, min_clearance_mm=-50.0)
    assert search(replace(problem, limits=loose)).feasible
    assert not search(replace(problem, limits=loose, targets_lps_mm=aside[None])).feasible


def test_an_entry_inside_a_structure_to_avoid_is_infeasible_for_that_reason(scene):
    problem, _, _, body = scene
    plan = search(replace(problem, structures=(*problem.structures, Avoid("no-go", body, 0.0))))
    assert not plan.feasible
    assert plan.reasons[0] == 'The target lies inside "no-go", a structure to avoid.'
    assert plan.reasons[1] == 'The entry region lies inside "no-go", a structure to avoid.'


def test_only_the_part_of_a_target_that_is_free_is_planned_to(scene):
    problem, centre, aside, _ = scene
    plan = search(replace(problem, targets_lps_mm=np.array([centre, aside, aside + 1.0, aside - 1.0])))
    assert plan.feasible
    assert plan.reasons == ('75 % of the target lies inside "vessel", a structure to avoid.',)
    for line in plan.alternatives:
        assert line.target_lps_mm == pytest.approx(tuple(centre))


def test_one_of_several_tools_with_a_blocked_target_says_so(scene):
    problem, _, aside, _ = scene
    found = search_together({"free": problem, "blocked": replace(problem, targets_lps_mm=aside[None])})
    assert not found.feasible
    assert found.plans["blocked"].reasons == ('The target lies inside "vessel", a structure to avoid.',)


def test_room_or_margins_below_zero_are_never_advised(scene):
    """The target touches the vessel: 5.2 mm from its axis, where margin and tool want 6.5."""
    problem, _, aside, _ = scene
    beside = aside - np.array([5.9, 0.0, 0.0])
    plan = search(
        replace(
            problem,
            structures=(replace(problem.structures[0], margin_mm=1.0),),
            targets_lps_mm=beside[None],
            tool=Tool(4.0, 0.0, 0.0),
        )
    )
    assert not plan.feasible
    assert not any("clearance" in one.text or (one.relaxed_to or 0.0) < 0 for one in plan.relaxations)
    assert plan.nearest_miss is not None
    assert plan.nearest_miss.structure == "vessel"
    # 0.9 mm from the surface: 1 mm of margin and 4 mm of tool lack 4.1 mm, and the voxels up to a diagonal more.
    assert plan.nearest_miss.shortage_mm + 1e-3 >= 4.1
