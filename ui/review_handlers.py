"""What the review panel and the handles do, free of Gradio: a workbench and what the browser sent in, a screen out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medsam_planner.errors import PlanningError
from medsam_planner.progress import Progress
from medsam_planner.report.decision import DecisionKind
from medsam_planner.service import reviewing
from medsam_planner.service.placed_lines import LineAsked
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.review_scene import SLIDERS
from ui.run_change import attempt
from ui.screen import Screen

__all__ = ["on_review", "on_review_long"]


def on_review(workbench: Workbench, payload: Mapping[str, Any]) -> Screen:
    """Carry out what a person did on the review panel.

    Parameters
    ----------
    workbench : Workbench
    payload : mapping
        As ``viewer/review.js`` sends it, which is untrusted: ``kind``, and what it needs.

    Returns
    -------
    Screen
    """
    return attempt(workbench, partial(_change, workbench, payload), step=_step(payload))


def on_review_long(workbench: Workbench, payload: Mapping[str, Any], *, progress: Progress | None = None) -> Screen:
    """As :func:`on_review`, for what takes a second or longer."""

    def change() -> str:
        kind = payload.get("kind")
        if kind == "replan":
            numbers = _numbers(payload)
            told = reviewing.plan_at_once(workbench, numbers, progress=progress)
            return f"{told} {wording.after_plan(workbench.snapshot.plan, workbench.snapshot.assessment)}"
        raise PlanningError(f"Expected a review action, got {kind!r}. Reload the page.")

    return attempt(workbench, change, notes=lambda: workbench.snapshot.notes, is_long=True)


def _change(workbench: Workbench, payload: Mapping[str, Any]) -> str | None:
    doing: dict[str, Callable[[], str | None]] = {
        "choose": partial(_choose, workbench, payload),
        "line": partial(_place, workbench, payload),
        "undo": partial(reviewing.undo_line, workbench),
        "redo": partial(reviewing.redo_line, workbench),
        "document": partial(_document, workbench),
        "decide": partial(_decide, workbench, payload),
        "put_aside": partial(_put_aside, workbench),
        "remove_tool": partial(reviewing.remove_tool, workbench, payload.get("tool")),
    }
    kind = payload.get("kind")
    if not isinstance(kind, str) or kind not in doing:
        raise PlanningError(f"Expected a review action, got {kind!r}. Reload the page.")
    return doing[kind]()


def _choose(workbench: Workbench, payload: Mapping[str, Any]) -> None:
    number, tool = payload.get("number"), payload.get("tool")
    if type(number) is not int or not (tool is None or isinstance(tool, str)):
        raise PlanningError("Expected the number of a path. Reload the page.")
    workbench.choose_alternative(number, tool)


def _place(workbench: Workbench, payload: Mapping[str, Any]) -> str:
    reviewing.place(workbench, LineAsked.from_browser(payload))
    return "The path was kept as an alternative, placed by hand. Undo takes it back."


def _decide(workbench: Workbench, payload: Mapping[str, Any]) -> str:
    try:
        kind = DecisionKind(str(payload.get("verdict")))
    except ValueError as error:
        raise PlanningError("Expected 'accepted' or 'rejected'.") from error
    comment, name = payload.get("comment", ""), payload.get("name", "")
    if not isinstance(comment, str) or not isinstance(name, str):
        raise PlanningError("Expected comment and name as texts.")
    problem = reviewing.decide(workbench, kind, comment, name)
    decision = workbench.snapshot.review.decision
    told = f"No report is being written: {problem}" if problem else wording.REPORT_BEGUN
    return "" if decision is None else f"{decision.sentence} {told}"


def _document(workbench: Workbench) -> str:
    reviewing.write_document(workbench)
    return wording.REPORT_BEGUN


def _put_aside(workbench: Workbench) -> str:
    reviewing.put_tool_aside(workbench)
    return "The tool was put aside. Set target and entry of the next one; “Find paths” plans all of them together."


def _numbers(payload: Mapping[str, Any]) -> dict[str, Any]:
    numbers = payload.get("numbers")
    if not isinstance(numbers, Mapping) or not set(numbers) <= set(SLIDERS):
        raise PlanningError(f"Expected numbers of {', '.join(SLIDERS)}. Reload the page.")
    return dict(numbers)


def _step(payload: Mapping[str, Any]) -> int | None:
    step = payload.get("step")
    return step if type(step) is int else None
