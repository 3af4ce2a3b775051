"""Review of a plan on a workbench: read a line that is moved, keep it, plan again at once, decide, write the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError, StaleError
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.lengths import FARTHEST_MM
from medsam_planner.planning.line_reader import broken_limits
from medsam_planner.planning.plan_document import alternative_entry
from medsam_planner.planning.request import PlanRequest
from medsam_planner.planning.search import PlanResult
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.report.decision import LONGEST_COMMENT, DecisionKind
from medsam_planner.service.core.review_requests import Document, ReadLine
from medsam_planner.service.page_state import draft_entry
from medsam_planner.service.plan_draft import MOST_TOOLS, PlanDraft, ToolEnds, next_tool_name
from medsam_planner.service.plan_inputs import request_of
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.workbench import Workbench

__all__ = [
    "LineAsked",
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
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True, eq=False)
class LineAsked:
    """One line that a person places."""

    line_lps_mm: NDArray[np.float64]
    """(2, 3) entry, then target."""
    tool: str = ""
    """Of the plan; empty for the one that is shown."""
    is_on_surface: bool = True
    """Whether the entry is moved along the line to the surface that is entered."""
    plan: str | None = None
    """Which plan the person sees."""

    @classmethod
    def from_browser(cls, payload: Any) -> LineAsked:
        """Read what the page sent, which is untrusted.

        Raises
        ------
        PlanningError
            If it is malformed, or a number is not finite or beyond ±:data:`FARTHEST_MM`.
        """
        try:
            line = np.array([payload["entry_lps_mm"], payload["target_lps_mm"]], dtype=np.float64)
            tool, plan = payload.get("tool", ""), payload.get("plan")
            is_text = isinstance(tool, str) and (plan is None or isinstance(plan, str))
            if line.shape != (2, 3) or not is_text or not (np.abs(line) <= FARTHEST_MM).all():
                raise ValueError("two positions of three numbers are needed")
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise PlanningError(
                f"Expected entry and target as three finite numbers each, LPS mm ({error}). Enter them again."
            ) from error
        return cls(line, tool, payload.get("on_surface") is not False, plan)


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
    name = asked.tool or now.tool or request.tools[0].name
    tool = next((one for one in request.tools if one.name == name), None)
    if tool is None:
        raise PlanningError(f"Expected one of the tools {', '.join(one.name for one in request.tools)}, got '{name}'.")
    plan = workbench.service.computations.reviewed(work, request, _PAGE)
    others = [] if now.read is None else [_ends(one) for found in now.plans.values() for one in found.alternatives]
    found = workbench.service.computations.read_line(
        ReadLine(
            plan,
            name,
            tool.tool,
            asked.line_lps_mm,
            np.array(others, dtype=np.float64).reshape(-1, 2, 3),
            asked.is_on_surface,
            is_live,
        )
    )
    return found | {
        "tool": name,
        "plan": now.plan_job,
        "is_of_plan": now.read is not None and _is_of_plan(now, request),
    }


def place(workbench: Workbench, asked: LineAsked) -> None:
    """Keep a line as an alternative of the plan, and show it; an acceptance of the plan ends.

    Raises
    ------
    PlanningError
        If there is no plan, its settings were changed since, or the line does not begin at the surface that is entered.
    """
    now = workbench.snapshot
    if now.read is None:
        raise PlanningError("There is no plan to keep the path in. Find paths first.")
    workbench.own.require_planner(workbench.require_work())
    found = read(workbench, asked, is_live=False)
    if not found["is_of_plan"]:
        raise PlanningError("The settings were changed since this plan was made. Plan again, then move the path.")
    if not found["is_at_surface"]:
        raise PlanningError(
            "Expected an entry on the surface that is entered, because what lies before it is not checked. "
            f"{' '.join(found['not_certified'])} Tick “entry on the surface”, or move it."
        )
    line = {**found["line"], "tool": found["tool"], "replaces": _moved(now, found["tool"])}
    workbench.own.review(workbench.require_work(), "line", line=line)
    workbench.refresh()
    last = len(workbench.snapshot.plans[found["tool"]].alternatives) - 1
    workbench.choose_alternative(last, found["tool"])


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


def decide(workbench: Workbench, kind: DecisionKind, comment: str, name: str = "") -> None:
    """Accept or reject the path that is shown, in the name of the person.

    Parameters
    ----------
    workbench : Workbench
    kind : DecisionKind
        Accepted or rejected.
    comment : str
        Needed to accept a path that breaks a limit, or to reject one.
    name : str
        Of the person, where the server has no accounts and does not know it.

    Raises
    ------
    ForbiddenError
        If the person may not plan on the study.
    PlanningError
        If there is no path, it rests on prompts that changed since, or a comment is needed.
    """
    now, work = workbench.snapshot, workbench.require_work()
    workbench.own.require_planner(work)
    comment, by = " ".join(comment.split()), _name(workbench, " ".join(name.split()))
    if len(comment) > LONGEST_COMMENT:
        raise PlanningError(f"Expected a comment of at most {LONGEST_COMMENT} characters, got {len(comment)}.")
    if kind is DecisionKind.WITHDRAWN:
        raise PlanningError("Expected 'accepted' or 'rejected'.")
    plan = now.plan
    if plan is None or not plan.alternatives:
        raise PlanningError("There is no path to decide on. Find paths first.")
    line = plan.alternatives[min(now.chosen, len(plan.alternatives) - 1)]
    if kind is DecisionKind.ACCEPTED:
        _require_acceptable(workbench, line, comment)
    elif not comment:
        raise PlanningError("Say in the comment why the path is rejected.")
    several = f" of {now.tool}" if now.read is not None and len(now.read.tools) > 1 else ""
    hand = ", placed by hand," if line.is_by_hand else ""
    path = f"path {min(now.chosen, len(plan.alternatives) - 1) + 1}{several}{hand}"
    workbench.own.review(work, "decision", decision={"kind": kind.value, "by": by, "comment": comment, "path": path})
    workbench.refresh()


def write_document(workbench: Workbench, *, progress: Progress | None = None) -> None:
    """Write the report and the DICOM objects of the plan as it stands: the path that is shown, and the decision.

    Raises
    ------
    PlanningError
        If there is no path.
    """
    now, work = workbench.snapshot, workbench.require_work()
    workbench.own.require_planner(work)
    if now.read is None or now.plan_job is None or not all(one.alternatives for one in now.plans.values()):
        raise PlanningError("There is no path to write a report of. Find paths first.")
    request = request_of(workbench)
    if not _is_of_plan(now, request):
        raise PlanningError("The settings were changed since this plan was made. Plan again, then write the report.")
    lines = {name: _entries(found, now.chosen if name == now.tool else 0) for name, found in now.plans.items()}
    plan = workbench.service.computations.reviewed(work, request, _PAGE)
    folder = workbench.service.plan_folder(work, now.plan_job)
    workbench.wait(
        workbench.own.write_document(work, Document(plan, lines, now.review.decision, folder)), progress=progress
    )


def _name(workbench: Workbench, typed: str) -> str:
    """In whose name a decision is made: the account's, else what the person has typed, and says so."""
    if workbench.own.actor.has_account:
        return workbench.own.actor.name
    if not 0 < len(typed) <= _LONGEST_NAME:
        raise PlanningError(f"Enter your name, of at most {_LONGEST_NAME} characters: a decision is made by a person.")
    return f"{typed} (name as typed, no login)"


def _require_acceptable(workbench: Workbench, line: Alternative, comment: str) -> None:
    now = workbench.snapshot
    if now.is_plan_outdated:
        raise PlanningError("Prompts changed since this plan was made. Segment in 3D and find paths again.")
    request = request_of(workbench)
    if not _is_of_plan(now, request):
        raise PlanningError("The settings were changed since this plan was made. Plan again, then decide.")
    broken = broken_limits(line, request.limits)
    if broken and not comment:
        raise PlanningError(f"Say in the comment why the path is accepted nevertheless. {' '.join(broken)}")


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
    workbench.own.review(work, kind)
    workbench.refresh()


def _is_of_plan(now: Snapshot, request: PlanRequest) -> bool:
    """Whether a request is the one that the plan was made from."""
    asked = json.loads(json.dumps(request.as_entry()))
    return bool(now.read is not None and asked == dict(now.read.request))


def _entries(found: PlanResult, first: int) -> tuple[dict[str, Any], ...]:
    """The paths of a tool as ``plan.json`` has them, one of them first."""
    first = min(first, len(found.alternatives) - 1)
    order = [first, *(number for number in range(len(found.alternatives)) if number != first)]
    counts = {"candidate_count": found.candidate_count, "feasible_count": found.feasible_count}
    return tuple(alternative_entry(found.alternatives[number]) | counts for number in order)


def _ends(one: Alternative) -> list[tuple[float, float, float]]:
    return [one.entry_lps_mm, one.target_lps_mm]
