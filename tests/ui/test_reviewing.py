"""Review of a plan: lines that are moved, plans at once, decisions and what ends them, as the panel asks for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medsam_planner.errors import ForbiddenError, PlanningError, StaleError
from medsam_planner.report.decision import Decision, DecisionKind, with_decision
from medsam_planner.service import reviewing
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.core.work_state import WorkState
from medsam_planner.service.placed_lines import LineAsked
from medsam_planner.service.presets import presets
from medsam_planner.service.results import report_path
from medsam_planner.service.review_routes import reslice
from medsam_planner.service.showing import shown
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.workbench import Workbench
from tests.ui.test_planning import NUMBERS, aimed, await_report, make_stale, with_vessel
from ui import plan_handlers, structure_handlers
from ui.plan_handlers import enter_preset
from ui.procedure import sources_html
from ui.review_handlers import on_review, on_review_long
from ui.review_scene import review_scene

Make = Callable[[], Workbench]
VESSEL_RADIUS_MM = 5.0


@pytest.fixture
def planned(make_workbench: Make) -> Workbench:
    workbench = aimed(with_vessel(make_workbench()))
    workbench.set_draft(workbench.draft.with_numbers(NUMBERS))
    on_review_long(workbench, {"kind": "replan", "numbers": {}})
    assert workbench.snapshot.plan is not None
    return workbench


def shown_line(workbench: Workbench) -> np.ndarray:
    line = workbench.snapshot.chosen_trajectory_lps_mm
    assert line is not None
    return line


def message(workbench: Workbench, line: np.ndarray, **more: Any) -> dict[str, Any]:
    ends = {"entry_lps_mm": line[0].tolist(), "target_lps_mm": line[1].tolist()}
    return {"kind": "line", **ends, "plan": workbench.snapshot.plan_job, **more}


def place(workbench: Workbench, shift_mm: tuple[float, float, float] = (0.0, 3.0, 0.0)) -> str:
    line = shown_line(workbench) + np.array([shift_mm, (0.0, 0.0, 0.0)])
    return on_review(workbench, message(workbench, line)).notice


def accept(workbench: Workbench, comment: str = "") -> str:
    payload = {"kind": "decide", "verdict": "accepted", "comment": comment, "name": "Ada Lovelace"}
    return on_review(workbench, payload).notice


def lines_and_decision(workbench: Workbench) -> tuple[int, str | None]:
    plan, decision = workbench.snapshot.plan, workbench.snapshot.review.decision
    return 0 if plan is None else len(plan.alternatives), None if decision is None else decision.kind.value


def test_a_moved_line_reads_the_clearance_of_the_true_cylinder(planned: Workbench) -> None:
    """The vessel is a cylinder of 5 mm about (−62, −24 + 0.15 z); its margin is 3 mm, the tool 1 mm and its error."""
    for shift in (-6.0, 0.0, 5.0):
        line = shown_line(planned) + np.array([[0.0, shift, 0.0], [0.0, 0.0, 0.0]])
        found = reviewing.read(planned, LineAsked(line))
        ends = np.array([found["line"]["entry_lps_mm"], found["line"]["target_lps_mm"]])
        part = np.linspace(0, 1, 2000)[:, None]
        x, y, z = (ends[0] + part * (ends[1] - ends[0])).T
        allowance = 3.0 + 1.0 + 1.5 + part[:, 0] * 1.4
        true_mm = float((np.hypot(x + 62, y + 24 - 0.15 * z) - VESSEL_RADIUS_MM - allowance).min())
        certified = found["line"]["clearance_mm_by_structure"]["vessel"]
        diagonal = float(np.linalg.norm([2.5, 1.5, 1.5]))
        assert true_mm - 2 * diagonal < certified <= true_mm + 0.05
        assert found["is_at_surface"] and found["is_of_plan"]


def test_reading_in_kept_fields_builds_none_and_changes_nothing(planned: Workbench) -> None:
    before = planned.require_work().state.n
    reviewing.read(planned, LineAsked(shown_line(planned)))
    took = []
    for number in range(9):
        line = shown_line(planned) + np.array([[0.0, 0.5 * number, 0.0], [0.0, 0.0, 0.0]])
        begun = time.perf_counter()
        assert reviewing.read(planned, LineAsked(line))["built"] == []
        took.append(time.perf_counter() - begun)
    assert float(np.median(took)) < 1.0  # 0.1 on a quiet machine: python -m benchmarks.review
    assert planned.require_work().state.n == before


def test_a_line_of_a_plan_that_no_longer_holds_is_not_read(planned: Workbench) -> None:
    with pytest.raises(StaleError, match="has changed meanwhile"):
        reviewing.read(planned, LineAsked(shown_line(planned), plan="0" * 32))


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        {"entry_lps_mm": [0, 0], "target_lps_mm": [0, 0, 0]},
        {"entry_lps_mm": [1e99, 0, 0], "target_lps_mm": [0, 0, 0]},
        {"entry_lps_mm": [float("nan"), 0, 0], "target_lps_mm": [0, 0, 0]},
        {"entry_lps_mm": "abc", "target_lps_mm": 3},
    ],
)
def test_what_is_no_line_is_refused(payload: Any) -> None:
    with pytest.raises(PlanningError, match="three finite numbers"):
        LineAsked.from_browser(payload)


def test_a_moved_line_is_kept_shown_undone_and_found_again(planned: Workbench) -> None:
    found = lines_and_decision(planned)[0]
    assert "kept as an alternative" in place(planned)
    now = planned.snapshot
    assert now.plan is not None and now.plan.alternatives[-1].is_by_hand and now.chosen == found
    assert "Placed by hand" in now.plan.alternatives[-1].reason
    place(planned, (0.0, 1.0, 0.0))  # moved again: it replaces the first move
    assert lines_and_decision(planned)[0] == found + 1
    again = WorkState()
    for line in (planned.require_work().folder / "journal.jsonl").read_text().splitlines():
        again = again.after({name: value for name, value in json.loads(line).items() if name != "crc"})
    assert again.review == planned.require_work().state.review
    for kind, count in (("undo", 1), ("undo", 0), ("redo", 1), ("undo", 0)):
        on_review(planned, {"kind": kind})
        assert lines_and_decision(planned)[0] == found + count, kind
    assert "mv-error" in on_review(planned, {"kind": "undo"}).notice
    assert lines_and_decision(planned)[0] == found


def test_a_line_that_begins_below_the_skin_is_read_but_not_kept(planned: Workbench) -> None:
    line = shown_line(planned)
    line = np.stack([line[0] + 0.3 * (line[1] - line[0]), line[1]])
    found = reviewing.read(planned, LineAsked(line, is_on_surface=False))
    assert any("what lies before it was not checked" in one for one in found["not_certified"])
    notice = on_review(planned, message(planned, line, on_surface=False)).notice
    assert "mv-error" in notice and "Expected an entry on the surface" in notice
    assert not planned.snapshot.review.lines


def test_a_slider_plans_again_and_says_what_it_computed_anew(planned: Workbench) -> None:
    first = planned.snapshot.plan
    assert first is not None
    notice = on_review_long(planned, {"kind": "replan", "numbers": {"tool_radius_mm": 2.0}}).notice
    assert "Planned again in" in notice and "anew" not in notice
    second = planned.snapshot.plan
    assert second is not None
    lost = first.alternatives[0].certified_clearance_mm - second.alternatives[0].certified_clearance_mm
    assert lost == pytest.approx(1.0, abs=0.3)
    assert "anew" not in on_review_long(planned, {"kind": "replan", "numbers": {"base_margin_mm": 3.0}}).notice
    assert planned.draft.tool_radius_mm == 2.0 and planned.draft.base_margin_mm == 3.0
    for bad in ({"tool_radius_mm": -1.0}, {"model": 1.0}, [], None):
        assert "mv-error" in on_review_long(planned, {"kind": "replan", "numbers": bad}).notice


def test_a_decision_needs_a_name_and_a_plan_that_changes_loses_its_acceptance(planned: Workbench) -> None:
    nameless = {"kind": "decide", "verdict": "accepted", "comment": ""}
    assert "Enter your name" in on_review(planned, nameless).notice
    assert "Say in the comment why" in on_review(planned, {**nameless, "verdict": "rejected", "name": "A"}).notice
    assert "Accepted: path 1 by Ada Lovelace" in accept(planned)
    folder = report_path(planned).parent
    told = json.loads((folder / "plan.json").read_text())["decision"]
    assert (told["kind"], told["by"]) == ("accepted", "Ada Lovelace (name as typed, no login)")
    audit = [json.loads(line) for line in planned.service.audit.path.read_text().splitlines()]
    assert any(one["event"] == "decided" and "accepted plan" in one["what"] for one in audit)
    place(planned)
    assert lines_and_decision(planned)[1] == "withdrawn"
    scene = review_scene(planned)["decision"]
    assert scene["kind"] == "withdrawn" and "No longer accepted" in scene["text"] and "placed by hand" in scene["text"]
    assert json.loads((report_path(planned).parent / "plan.json").read_text())["decision"]["kind"] == "withdrawn"


@pytest.mark.parametrize("change", ["prompts", "role", "replan"])
def test_whatever_changes_a_plan_ends_its_acceptance(planned: Workbench, change: str) -> None:
    accept(planned)
    if change == "prompts":
        make_stale(planned)
    elif change == "role":
        structure_handlers.describe(planned, planned.structure.name, role="ignore")
    else:
        on_review_long(planned, {"kind": "replan", "numbers": {"tool_radius_mm": 1.2}})
    assert review_scene(planned)["decision"]["kind"] == "withdrawn"
    assert "No longer accepted" in review_scene(planned)["decision"]["text"]


def test_a_viewer_may_neither_decide_nor_keep_a_line(planned: Workbench) -> None:
    looking = planned.own.actor
    planned.own.actor = Actor("vera", Right.VIEW, has_account=True)
    try:
        owner = planned.require_work().study
        planned.service.rights.grant(owner, {"vera": Right.VIEW})
        with pytest.raises(ForbiddenError, match="Expected the role planner"):
            reviewing.decide(planned, DecisionKind.ACCEPTED, "", "Vera")
        with pytest.raises(ForbiddenError, match="Expected the role planner"):
            reviewing.place(planned, LineAsked(shown_line(planned)))
        assert not review_scene(planned)["may_decide"]
    finally:
        planned.own.actor = looking
    assert planned.snapshot.review.decision is None


def test_presets_state_a_source_for_each_number_and_fit_a_plan(planned: Workbench) -> None:
    assert set(presets()) == {"biopsy", "seeg", "pelvic-screw", "pedicle-screw", "liver-needle"}
    for preset in presets().values():
        assert preset.numbers.keys() == preset.sources.keys()
        assert all(
            "chosen here" in one or "doi" in one or "PMC" in one or "study" in one or "mm" in one
            for one in preset.sources.values()
        )
        assert "were entered" in enter_preset(planned, preset).notice
        assert planned.draft.tool_radius_mm == preset.numbers["tool_radius_mm"]
        assert all(f" {number:g}: " in sources_html(preset) for number in preset.numbers.values())


def test_several_tools_are_planned_together_and_shown_one_by_one(make_workbench: Make) -> None:
    workbench = aimed(with_vessel(make_workbench()))
    workbench.set_draft(workbench.draft.with_numbers(NUMBERS))
    on_review(workbench, {"kind": "put_aside"})
    workbench.set_end(target=(-30.0, -10.0, 12.0), entry=(-106.0, -4.0, 14.0))
    on_review_long(workbench, {"kind": "replan", "numbers": {}})
    assert review_scene(workbench)["tools"] == ["tool 1", "tool 2"]
    assert on_review(workbench, {"kind": "choose", "number": 0, "tool": "tool 2"})
    assert workbench.snapshot.tool == "tool 2"
    assert shown_line(workbench)[1] == pytest.approx([-30.0, -10.0, 12.0], abs=2.1)
    on_review(workbench, {"kind": "remove_tool", "tool": "tool 1"})
    assert workbench.snapshot.plan is None and workbench.draft.other_tools == ()


def test_a_slice_across_the_tool_has_it_in_the_middle_and_one_along_it_upright(
    planned: Workbench,
) -> None:
    line = shown_line(planned)
    for depth in (0.0, 20.0):
        values, plane = reslice(planned, line, "across", depth, 0.0)
        place_lps = line[0] + depth * (line[1] - line[0]) / np.linalg.norm(line[1] - line[0])
        column, row, behind = plane.pixels_from_lps(place_lps)
        assert (column, row) == pytest.approx(((values.shape[1] - 1) / 2, (values.shape[0] - 1) / 2))
        assert behind == pytest.approx(0.0, abs=1e-6)
    _, plane = reslice(planned, line, "along", 0.0, 30.0)
    (entry_column, entry_row, _), (column, row, _) = plane.pixels_from_lps(line)
    assert entry_column == pytest.approx(column) and row > entry_row


def test_a_report_tells_the_decision_that_holds() -> None:
    from medsam_planner.report.decision import decision_html

    report = f"<p>{decision_html(None)}</p>"
    assert "Nobody has accepted" in report
    decided = Decision(DecisionKind.ACCEPTED, "A <b>", "2026-01-02T03:04:05Z", "fine & well", "path 2")
    told = with_decision(report, decided)
    assert "Accepted: path 2 by A &lt;b&gt; on 2026-01-02 03:04 UTC." in told and "fine &amp; well" in told
    assert "Nobody" not in told and with_decision(told, decided) == told
    assert Decision.from_entry(decided.as_entry()) == decided
    with pytest.raises(PlanningError, match="no place for a decision"):
        with_decision("<p></p>", decided)


def test_the_report_is_of_the_accepted_line_with_the_decision(planned: Workbench) -> None:
    place(planned)
    accept(planned, "seen by two")
    kept = shown_line(planned)
    assert "being written" in review_scene(planned)["report"]  # the decision has begun it
    await_report(planned)
    report = report_path(planned).read_text()
    assert "Accepted: path" in report and "seen by two" in report
    document = json.loads(report_path(planned).with_name("plan.json").read_text())
    assert document["alternatives"][0]["by_hand"]
    np.testing.assert_allclose(document["alternatives"][0]["entry_lps_mm"], kept[0], atol=1e-6)
    assert planned.snapshot.review.is_written
    again = shown(planned.service, planned.require_work(), Snapshot())  # as after a restart, on another page
    assert again.plan is not None and planned.snapshot.plan is not None
    assert [one.entry_lps_mm for one in again.plan.alternatives] == [
        one.entry_lps_mm for one in planned.snapshot.plan.alternatives
    ]
    assert np.array_equal(again.chosen_trajectory_lps_mm, kept)  # the accepted path is shown as the accepted one
    place(planned, (0.0, 0.5, 0.0))
    assert "No longer accepted" in report_path(planned).read_text()
    assert "does not tell the last changes" in review_scene(planned)["report"]
    assert "is being written" in on_review(planned, {"kind": "document"}).notice
    await_report(planned)
    assert review_scene(planned)["report"] == ""
    assert plan_handlers.choose_alternative(planned, 0).chosen == 0
