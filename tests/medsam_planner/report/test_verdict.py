"""How figures and places are said, and the verdict's sentences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medsam_planner.drawing.formatting import number, percent, place, plain
from medsam_planner.planning.relaxations import NearestMiss, Relaxation
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.structures import StructureRole
from medsam_planner.report import PlanReport
from medsam_planner.report.cautions import Caution, CautionKind
from medsam_planner.report.verdict import verdict


def test_places_are_said_by_the_side_of_the_patient() -> None:
    assert place((-12.34, 4.0, 88.05)).replace("\N{NO-BREAK SPACE}", " ") == "R 12.3, P 4.0, S 88.0 mm"
    assert place((12.0, -4.0, -0.01)).replace("\N{NO-BREAK SPACE}", " ") == "L 12.0, A 4.0, S 0.0 mm"
    assert place((1.0, 2.0, -3.0), axes=(2,)).replace("\N{NO-BREAK SPACE}", " ") == "I 3.0 mm"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0 %"), (0.00005, "<0.01 %"), (0.0042, "0.42 %"), (0.12, "12.0 %"), (1.0, "100.0 %")]
)
def test_a_small_probability_is_never_said_to_be_zero(value: float, text: str) -> None:
    assert percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(-0.04, "0.0"), (-1.26, "−1.3"), (2.0, "2.0"), (None, "–"), (float("inf"), "–")]
)
def test_numbers_have_a_true_minus_and_no_negative_zero(value: float | None, text: str) -> None:
    assert number(value) == text


def test_any_provenance_value_becomes_one_line() -> None:
    assert plain({"a": [1, 2.5], "b": None}) == '{"a": "1, 2.5", "b": "–"}'
    assert plain(np.array([[1, 2], [3, 4]])) == "(1, 2), (3, 4)"
    assert plain(np.float32(0.1)) == "0.1"
    assert plain(StructureRole.AVOID) == "avoid"
    assert plain(True) == "yes"


def test_a_feasible_plan_names_clearance_place_and_probability(make_report: Callable[..., PlanReport]) -> None:
    said = verdict(make_report())
    assert said.kind == "feasible"
    text = " ".join(said.sentences).replace("\N{NO-BREAK SPACE}", " ")
    assert "the certified clearance is 3.3 mm" in text
    assert (
        "The clearance is smallest at the margin of iliac vessel, 25.6 mm along the path, at L 30.3, P 2.4, S 139.8 mm."
        in text
    )
    assert "1.3 % (95 % interval over the stochastic masks 0.20 % to 4.6 %)" in text


def test_a_path_that_reaches_into_a_margin_is_not_called_free(make_report: Callable[..., PlanReport]) -> None:
    line = replace(make_report().plan.alternatives[0], certified_clearance_mm=-1.25)
    sentences = " ".join(verdict(make_report(plan=PlanResult(True, (line,), (), 10, 1))).sentences)
    assert "reaches up to 1.2 mm into a margin" in sentences
    assert "certified clearance" not in sentences


def test_a_corridor_is_limited_by_its_wall_and_is_left_and_not_touched(make_report: Callable[..., PlanReport]) -> None:
    sentences = " ".join(verdict(make_report(roles={"iliac vessel": StructureRole.INSIDE})).sentences)
    assert "the wall of iliac vessel" in sentences
    assert "the tool leaves iliac vessel" in sentences


def test_without_structures_no_clearance_and_no_probability_is_claimed(make_report: Callable[..., PlanReport]) -> None:
    line = replace(
        make_report().plan.alternatives[0],
        certified_clearance_mm=float("inf"),
        limiting_structure="",
        clearance_mm_by_structure={},
        hit_probability_by_structure={},
    )
    sentences = " ".join(verdict(make_report(plan=PlanResult(True, (line,), (), 10, 10))).sentences)
    assert "no structure limits it" in sentences
    assert "robability" not in sentences


def test_an_infeasible_plan_says_which_limit_to_relax(make_report: Callable[..., PlanReport]) -> None:
    advice = "Raise the maximum length by 4.0 mm (from 50.0 mm to 54.0 mm)."
    relaxation = Relaxation("max_length_mm", 4.0, "mm", 54.0, np.array([[0.0, 0, 0], [10.0, 0, 0]]), advice)
    said = verdict(make_report(plan=PlanResult(False, (), (relaxation,), 500, 0)))
    assert said.kind == "infeasible"
    assert said.headline.startswith("Not feasible")
    assert advice in said.sentences[1]
    assert "500 trajectories were examined; 0 satisfy" in said.sentences[0]


def test_what_holds_the_target_is_the_first_thing_said(make_report: Callable[..., PlanReport]) -> None:
    reason = 'The target lies inside "iliac vessel", a structure to avoid.'
    said = verdict(make_report(plan=PlanResult(False, (), (), 0, 0, (reason,))))
    assert said.kind == "infeasible"
    assert said.sentences == (reason,)


def test_the_nearest_miss_is_described_by_its_shortage(make_report: Callable[..., PlanReport]) -> None:
    miss = NearestMiss(np.array([[0.0, 0, 0], [10.0, 0, 0]]), "iliac vessel", 3.6)
    said = verdict(make_report(plan=PlanResult(False, (), (), 500, 0, nearest_miss=miss)))
    assert "the best lacks 3.6 mm of clearance from iliac vessel." in said.sentences[1]


def test_feasible_is_said_only_with_what_was_checked(make_report: Callable[..., PlanReport]) -> None:
    assert verdict(make_report()).headline.endswith("(checked against iliac vessel)")


def test_an_open_question_on_the_way_turns_the_verdict_amber(make_report: Callable[..., PlanReport]) -> None:
    said = verdict(make_report(), [Caution(CautionKind.CROSSING, "", is_unchecked=True)])
    assert said.kind == "unchecked"
    assert "Feasible" not in said.headline
    assert said.headline.count("(checked against iliac vessel)") == 1
    assert verdict(make_report(), [Caution(CautionKind.MASK, "")]).kind == "feasible"


@pytest.mark.parametrize(
    ("clearance_mm", "told"),
    [({}, "was checked against is lesion"), ({"unsegmented_bone": 4.0}, "was checked against is unsegmented bone")],
)
def test_a_path_past_nothing_that_was_segmented_is_amber(
    make_report: Callable[..., PlanReport], clearance_mm: dict[str, float], told: str
) -> None:
    line = replace(make_report().plan.alternatives[0], clearance_mm_by_structure=clearance_mm)
    said = verdict(make_report(plan=PlanResult(True, (line,), (), 10, 10)))
    assert said.kind == "unchecked"
    assert told in said.headline
