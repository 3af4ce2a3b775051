"""Review of a plan on a workbench: read a line that is moved, keep it, plan again at once, decide, write the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from medsam_planner.errors import MedsamPlannerError, PlanningError, StaleError
from medsam_planner.planning.request import PlanRequest
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.report.decision import DecisionKind
from medsam_planner.service import decisions, placed_lines
from medsam_planner.service.decisions import DecisionAsked
from medsam_planner.service.held_plan import HeldPlan
from medsam_planner.service.page_state import draft_entry
from medsam_planner.service.placed_lines import LineAsked
from medsam_planner.service.plan_draft import MOST_TOOLS, PlanDraft, ToolEnds, next_tool_name
from medsam_planner.service.plan_inputs import request_of
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.workbench import Workbench

__all__ = [
    "decide",
    "place",
    "plan_at_once",
    "put_tool_aside",
    "read",
    "redo_line",
    "remove_tool",
    "undo_line",
    "write_document",
]

_PAGE = PlanOrigin(page=True)


def read(workbench: Workbench, asked: LineAsked, *, is_live: bool = True) -> dict[str, Any]:
    """Measure one line; nothing is changed.

    Parameters
    ----------
    workbench : Workbench
    asked : LineAsked
    is_live : bool
        Whether to leave out what takes long and is not there yet.

    Raises
    ------
    StaleError
        If the plan that the person sees no longer holds.
    PlanningError
        If the plan draft is not complete.
    """
    now, work = workbench.snapshot, workbench.require_work()
    if asked.plan is not None and asked.plan != now.plan_job:
        raise StaleError("The plan has changed meanwhile. Look at the new one, then move the path again.")
    request = request_of(workbench)
    found = placed_lines.measure(
        workbench.service,
        work,
        replace(asked, tool=asked.tool or now.tool),
        request,
        _PAGE,
        held=now.held,
        is_live=is_live,
    )
    return found | {"plan": now.plan_job, "is_of_plan": now.held is not None and now.held.is_of(request)}


def place(workbench: Workbench, asked: LineAsked) -> None:
    """Keep a line as an alternative of the plan, and show it; an acceptance of the plan ends.

    Raises
    ------
    PlanningError
        If there is no plan, its settings were changed since, or the line does not begin at the surface that is entered.
    """
    now, work = workbench.snapshot, workbench.require_work()
    if now.held is None:
        raise PlanningError("There is no plan to keep the path in. Find paths first.")
    workbench.own.require_planner(work)
    found = read(workbench, asked, is_live=False)
    if not found["is_of_plan"]:
        raise PlanningError("The settings were changed since this plan was made. Plan again, then move the path.")
    placed_lines.keep(workbench.own, work, now.held, found, replaces=_moved(now, found["tool"]))
    workbench.refresh()


def undo_line(workbench: Workbench) -> None:
    """Take the last placed line back.

    Raises
    ------
    PlanningError
        If there is none.
    """
    _step(workbench, "line-undo")


def redo_line(workbench: Workbench) -> None:
    """Put the last line back that was taken back.

    Raises
    ------
    PlanningError
        If there is none.
    """
    _step(workbench, "line-redo")


def plan_at_once(workbench: Workbench, numbers: Mapping[str, Any], *, progress: Progress | None = None) -> str:
    """Plan again with other numbers, in fields that are kept; no report is written.

    Parameters
    ----------
    workbench : Workbench
    numbers : mapping
        By field of :class:`~medsam_planner.service.plan_draft.PlanDraft`.
    progress : Progress, optional

    Returns
    -------
    str
        How long it took, and what had to be computed anew, as a sentence.

    Raises
    ------
    PlanningError
        If a number cannot be, or something is missing.
    """
    work = workbench.require_work()
    workbench.own.require_planner(work)
    workbench.set_draft(workbench.draft.with_numbers(numbers))
    job = workbench.own.plan_at_once(work, request_of(workbench), _PAGE)
    workbench.wait(job, progress=progress)
    ended = workbench.service.jobs.find(job).result or {}
    told = f"Planned again in {float(ended.get('took_ms', math.nan)) / 1000:.1f} s."
    if ended.get("built"):
        told += f" The distance fields of {', '.join(ended['built'])} were computed anew."
    return told


def put_tool_aside(workbench: Workbench) -> None:
    """Keep target and entry as those of one of several tools, so that the next tool's can be set.

    Raises
    ------
    PlanningError
        If target or entry is not set, or there are many tools already.
    """
    draft = workbench.snapshot.draft
    workbench.own.require_planner(workbench.require_work())
    if draft.target_lps_mm is None or draft.entry_lps_mm is None:
        raise PlanningError("Set the target and the entry of this tool first.")
    if len(draft.other_tools) >= MOST_TOOLS - 1:
        raise PlanningError(f"Expected at most {MOST_TOOLS} tools in one plan.")
    ends = ToolEnds(next_tool_name(draft.other_tools), draft.target_lps_mm, draft.entry_lps_mm)
    _change_tools(
        workbench, replace(draft, other_tools=(*draft.other_tools, ends), target_lps_mm=None, entry_lps_mm=None)
    )


def remove_tool(workbench: Workbench, name: object) -> None:
    """Take one of several tools out of the plan.

    Raises
    ------
    PlanningError
        If there is none of that name.
    """
    draft = workbench.snapshot.draft
    workbench.own.require_planner(workbench.require_work())
    left = tuple(one for one in draft.other_tools if one.name != name)
    if len(left) == len(draft.other_tools):
        raise PlanningError(f"There is no tool named {name!r}.")
    _change_tools(workbench, replace(draft, other_tools=left))


def _change_tools(workbench: Workbench, draft: PlanDraft) -> None:
    workbench.record(draft=draft_entry(draft), ends_plan=True)


def decide(workbench: Workbench, kind: DecisionKind, comment: str, name: str = "") -> str:
    """Accept or reject the path that is shown, in the name of the person, and begin to write the report with it.

    Parameters
    ----------
    workbench : Workbench
    kind : DecisionKind
        Accepted or rejected.
    comment : str
        Needed to accept a path that breaks a limit, or to reject one.
    name : str
        Of the person, where the server has no accounts and does not know it.

    Returns
    -------
    str
        Why no report is being written, though the decision was made; empty where one is.

    Raises
    ------
    ForbiddenError
        If the person may not plan on the study.
    PlanningError
        If there is no path, it rests on prompts that changed since, or a comment is needed.
    """
    now, work = workbench.snapshot, workbench.require_work()
    workbench.own.require_planner(work)
    if now.held is None or now.plan is None or not now.plan.alternatives:
        raise PlanningError("There is no path to decide on. Find paths first.")
    if kind is DecisionKind.ACCEPTED and now.is_plan_outdated:
        raise PlanningError(decisions.OUTDATED)
    if kind is DecisionKind.ACCEPTED and not now.held.is_of(request_of(workbench)):
        raise PlanningError("The settings were changed since this plan was made. Plan again, then decide.")
    number = min(now.chosen, len(now.plan.alternatives) - 1)
    decisions.decide(workbench.own, work, now.held, DecisionAsked(kind, now.tool, number, comment, name))
    workbench.refresh()  # with the decision, which the report is to tell
    held = workbench.snapshot.held
    assert held is not None
    try:
        decisions.write_document(workbench.own, work, held, _request_of(workbench, held), held.read.origin)
    except MedsamPlannerError as error:
        return str(error)
    workbench.refresh()
    return ""


def write_document(workbench: Workbench) -> None:
    """Begin to write the report and the DICOM objects of the plan as it stands: the path that is shown, the decision.

    Raises
    ------
    PlanningError
        If there is no path.
    """
    now, work = workbench.snapshot, workbench.require_work()
    workbench.own.require_planner(work)
    if now.held is None or not all(one.alternatives for one in now.plans.values()):
        raise PlanningError(decisions.NO_PATH)
    request = request_of(workbench)
    if not now.held.is_of(request):
        raise PlanningError("The settings were changed since this plan was made. Plan again, then write the report.")
    decisions.write_document(workbench.own, work, now.held, request, _PAGE)
    workbench.refresh()


def _request_of(workbench: Workbench, held: HeldPlan) -> PlanRequest:
    """What a plan was made from; the page has the calibration that may belong to it."""
    with suppress(PlanningError):
        entered = request_of(workbench)
        if held.is_of(entered):
            return entered
    return held.request()


def _moved(now: Snapshot, tool: str) -> int | None:
    """Number of the placed line that is shown, and is now moved again; None where one that was found is."""
    plan = now.plan
    if tool != now.tool or plan is None or not plan.alternatives:
        return None
    placed = [number for number, one in now.review.lines.items() if one["tool"] == tool]
    behind = now.chosen - (len(plan.alternatives) - len(placed))
    return placed[behind] if 0 <= behind < len(placed) else None


def _step(workbench: Workbench, kind: str) -> None:
    work = workbench.require_work()
    if work.state.plan is None:
        raise PlanningError("There is no plan. Find paths first.")
    workbench.own.review(work, kind, work.state.plan)
    workbench.refresh()
