"""Several tools: the choice of lines against trying everything, and plans whose tools keep apart."""

from __future__ import annotations

import itertools
from dataclasses import replace

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import PlanningError
from medsam_planner.geometry import lps_from_index
from medsam_planner.planning import Avoid, Tool, clearance
from medsam_planner.planning.assignment import best_assignment
from medsam_planner.planning.multi_tool import search_together
from medsam_planner.planning.problem import (
    Limits,
    PlanningProblem,
    SearchSettings,
    entry_region_on_surface,
    points_in_sphere,
)
from medsam_planner.planning.search import search
from medsam_planner.planning.tool_gap import tool_gaps_mm

SHAPE = (80, 80, 80)
ELECTRODE = Tool(0.4, 0.5, 1.0)
SETTINGS = SearchSettings(candidates=2000, alternatives=3, hit_draws=40, min_separation_mm=4.0)


@pytest.fixture(scope="module")
def head():
    """An oblique left-handed grid with a ball of 36 mm, and its middle."""
    turn, _ = np.linalg.qr(np.array([[2.0, 1.0, 0.3], [-1.0, 2.0, 0.5], [0.2, -0.6, 1.7]]))
    affine = np.eye(4)
    affine[:3, :3] = turn if np.linalg.det(turn) < 0 else -turn
    affine[:3, 3] = (-40.0, 15.0, 120.0)
    middle = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)

    def ball(offset, radius):
        index = np.moveaxis(np.indices(SHAPE), 0, -1)
        inside = np.linalg.norm(lps_from_index(affine, index) - (middle + offset), axis=-1) <= radius
        return highdicom.Volume(inside, affine, "PATIENT")

    return middle, ball


def electrode(head, target, entry, *, entry_radius=14.0, structures=None, tool=ELECTRODE):
    middle, ball = head
    towards = np.array(entry) / np.linalg.norm(entry)
    return PlanningProblem(
        structures=structures if structures is not None else (Avoid("vessel", ball((0.0, 8.0, 14.0), 5.0), 1.0),),
        tool=tool,
        entry=entry_region_on_surface(
            ball((0.0, 0.0, 0.0), 36.0), centre_lps_mm=middle + 36 * towards, radius_mm=entry_radius
        ),
        targets_lps_mm=points_in_sphere(middle + np.array(target), 1.5),
        limits=Limits(max_length_mm=70.0, max_entry_angle_deg=50.0),
        settings=SETTINGS,
    )


def three(head, **changes):
    """Targets a few millimetres apart, entered from one side: by themselves the tools would meet."""
    return {
        "amygdala": electrode(head, (-3.0, 0.0, -2.0), (0.3, -0.2, 1.0), **changes),
        "hippocampus head": electrode(head, (3.0, 0.0, -2.0), (-0.3, -0.2, 1.0), **changes),
        "hippocampus tail": electrode(head, (0.0, 4.0, -2.0), (0.0, -0.6, 1.0), **changes),
    }


def chosen_lines(found):
    return {
        name: np.array([plan.alternatives[0].entry_lps_mm, plan.alternatives[0].target_lps_mm])
        for name, plan in found.plans.items()
    }


def test_the_choice_is_the_best_of_all_choices():
    generator = np.random.default_rng(0)
    for _ in range(60):
        sizes = generator.integers(2, 6, 3).tolist()
        rooms = [generator.integers(0, 8, size).astype(float) for size in sizes]
        scores = [generator.uniform(0, 1, size) for size in sizes]
        gaps = {
            pair: generator.integers(-3, 8, (sizes[pair[0]], sizes[pair[1]])).astype(float)
            for pair in itertools.combinations(range(3), 2)
        }

        def worth(choice, rooms=rooms, scores=scores, gaps=gaps):
            room = [rooms[tool][line] for tool, line in enumerate(choice)]
            between = [gaps[a, b][choice[a], choice[b]] for a, b in gaps]
            return min(room + between), sum(scores[tool][line] for tool, line in enumerate(choice))

        best = max(itertools.product(*map(range, sizes)), key=worth)
        assert worth(best_assignment(rooms, scores, gaps)) == pytest.approx(worth(best))


@pytest.fixture(scope="module")
def planned(head):
    return search_together(three(head), min_gap_mm=1.0)


def test_three_electrodes_keep_apart_beyond_their_radii_and_errors(head, planned):
    assert planned.feasible and len(planned.gaps) == 3
    lines = chosen_lines(planned)
    for gap in planned.gaps:
        again = tool_gaps_mm(lines[gap.first][None], ELECTRODE, lines[gap.second][None], ELECTRODE)[0, 0]
        assert gap.certified_mm == pytest.approx(again)
        assert gap.certified_mm >= 1.0
    assert [gap.certified_mm for gap in planned.gaps] == sorted(gap.certified_mm for gap in planned.gaps)


def test_each_electrode_keeps_its_own_clearance_too(head, planned):
    problems = three(head)
    for name, line in chosen_lines(planned).items():
        room = clearance(line[None], problems[name].structures, ELECTRODE).certified_mm[0]
        assert room == pytest.approx(planned.plans[name].alternatives[0].certified_clearance_mm, abs=0.02)
        assert room >= 0


def test_planned_one_by_one_they_would_leave_less_room(head, planned):
    """What the joint choice is for: the best line of each alone is not the best of all together."""
    problems = three(head)
    alone = [search(problem).alternatives[0] for problem in problems.values()]
    ends = [np.array([[line.entry_lps_mm, line.target_lps_mm]]) for line in alone]
    worst_alone = min(
        tool_gaps_mm(ends[a], ELECTRODE, ends[b], ELECTRODE)[0, 0] for a, b in itertools.combinations(range(3), 2)
    )
    worst_alone = min(worst_alone, min(line.certified_clearance_mm for line in alone))
    together = min(
        planned.gaps[0].certified_mm, min(p.alternatives[0].certified_clearance_mm for p in planned.plans.values())
    )
    assert together >= worst_alone - 0.02


def test_every_alternative_may_replace_its_line_without_coming_near_the_others(planned):
    lines = chosen_lines(planned)
    for name, plan in planned.plans.items():
        for alternative in plan.alternatives:
            own = np.array([[alternative.entry_lps_mm, alternative.target_lps_mm]])
            for other, line in lines.items():
                if other != name:
                    assert tool_gaps_mm(own, ELECTRODE, line[None], ELECTRODE)[0, 0] >= 1.0


def test_the_same_seed_gives_the_same_lines(head, planned):
    again = search_together(three(head), min_gap_mm=1.0)
    assert again.gaps == planned.gaps
    for name, line in chosen_lines(planned).items():
        np.testing.assert_array_equal(line, chosen_lines(again)[name])


def test_tools_that_cannot_keep_apart_are_named_with_what_is_missing(head):
    fat = Tool(4.0, 0.5, 1.0)
    found = search_together(three(head, tool=fat, structures=()), min_gap_mm=1.0)
    assert not found.feasible and found.gaps[0].certified_mm < 1.0
    assert found.gaps[0].first in found.relaxations[0] and "too little" in found.relaxations[0]


def test_a_tool_without_any_line_says_what_to_relax(head):
    problems = three(head)
    problems["amygdala"] = replace(problems["amygdala"], limits=Limits(max_length_mm=20.0))
    found = search_together(problems)
    assert not found.feasible and not found.gaps
    assert any(relaxation.constraint == "max_length_mm" for relaxation in found.plans["amygdala"].relaxations)


def test_one_tool_is_planned_as_it_is_alone(head):
    problem = electrode(head, (0, 0, 0), (0, 0, 1))
    found, alone = search_together({"one": problem}), search(problem)
    assert found.feasible == alone.feasible and found.gaps == () and list(found.plans) == ["one"]
    assert [one.entry_lps_mm for one in found.plans["one"].alternatives] == [
        one.entry_lps_mm for one in alone.alternatives
    ]


def test_no_tool_and_no_gap_are_refused(head):
    with pytest.raises(PlanningError, match="at least one tool"):
        search_together({})
    with pytest.raises(PlanningError, match="min_gap_mm"):
        search_together(three(head), min_gap_mm=np.nan)
