"""What a person decides on a path of a plan, and which path is shown."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any

from medsam_planner.errors import PlanningError
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.line_reader import broken_limits
from medsam_planner.planning.request import PlanRequest
from medsam_planner.provenance import PlanOrigin
from medsam_planner.report.decision import LONGEST_COMMENT, DecisionKind
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.review_requests import Document
from medsam_planner.service.core.work import Work
from medsam_planner.service.held_plan import HeldPlan
from medsam_planner.service.page_state import PageState

__all__ = ["NO_PATH", "OUTDATED", "DecisionAsked", "choose", "decide", "write_document"]

NO_PATH = "There is no path to write a report of. Find paths first."
OUTDATED = "Prompts changed since this plan was made. Segment in 3D and find paths again."
_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class DecisionAsked:
    """A decision that somebody makes."""

    kind: DecisionKind
    """Accepted or rejected."""
    tool: str
    number: int
    """Of the path, from 0."""
    comment: str = ""
    """Needed to accept a path that breaks a limit, or to reject one."""
    name: str = ""
    """Of the person, where the server has no accounts and does not know it."""


def choose(own: OnBehalf, work: Work, held: HeldPlan, tool: str, number: int) -> int:
    """Choose which path of a plan is shown, and stands first in its report; counted from 0.

    Raises
    ------
    PlanningError
        If the plan has no such path.
    """
    held.path(tool, number)
    return own.record(work, "page", page={"chosen": [held.job, number, tool]}, ends_plan=False)


def decide(
    own: OnBehalf, work: Work, held: HeldPlan, wish: DecisionAsked, *, event: str | None = None, **entries: Any
) -> int:
    """Accept or reject a path, in the name of the person.

    Parameters
    ----------
    own : OnBehalf
    work : Work
    held : HeldPlan
    wish : DecisionAsked
    event : str, optional
        The client's identifier of the change.
    **entries
        What else is recorded.

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    ForbiddenError, StaleError
        If the person may not plan on the study; if the plan no longer holds.
    PlanningError
        If there is no such path, it rests on prompts that changed since, or a comment or name is needed.
    """
    own.require_planner(work)
    comment, by = _text(wish.comment), _name(own, _text(wish.name))
    if len(comment) > LONGEST_COMMENT:
        raise PlanningError(f"Expected a comment of at most {LONGEST_COMMENT} characters, got {len(comment)}.")
    if wish.kind is DecisionKind.WITHDRAWN:
        raise PlanningError("Expected 'accepted' or 'rejected'.")
    line = held.path(wish.tool, wish.number)
    if wish.kind is DecisionKind.ACCEPTED:
        _require_acceptable(work, held, line, comment)
    elif not comment:
        raise PlanningError("Say in the comment why the path is rejected.")
    several = f" of {wish.tool}" if len(held.read.tools) > 1 else ""
    hand = ", placed by hand," if line.is_by_hand else ""
    decision = {
        "kind": wish.kind.value,
        "by": by,
        "comment": comment,
        "path": f"path {wish.number + 1}{several}{hand}",
    }
    return own.review(work, "decision", held.job, event=event, decision=decision, **entries)


def write_document(own: OnBehalf, work: Work, held: HeldPlan, request: PlanRequest, origin: PlanOrigin) -> str:
    """Begin to write report and DICOM objects of a plan as it stands, the path that is shown first, with the decision.

    Parameters
    ----------
    own : OnBehalf
    work : Work
    held : HeldPlan
    request : PlanRequest
        What it was made from.
    origin : PlanOrigin
        Where that came from.

    Returns
    -------
    str
        Identifier of the job.

    Raises
    ------
    ForbiddenError, StaleError
        If the actor may not plan on the study; if a structure has no 3D result of its present prompts.
    PlanningError
        If a tool has no path.
    """
    own.require_planner(work)
    if not all(one.alternatives for one in held.paths.values()):
        raise PlanningError(NO_PATH)
    page = PageState.of(work.state)
    shown = page.tool if page.tool in held.paths else next(iter(held.paths))
    first = min(page.chosen, len(held.paths[shown].alternatives) - 1)  # a placed line may have been taken back
    lines = {name: held.entries(name, first if name == shown else 0) for name in held.paths}
    plan = own.service.computations.reviewed(work, request, origin)
    folder = own.service.plan_folder(work, held.job)
    return own.write_document(work, Document(plan, lines, held.review.decision, folder))


def _text(typed: str) -> str:
    """Without what a report or a DICOM object cannot hold."""
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in typed if not letter.isspace()):
        raise PlanningError("Expected comment and name as text, got control characters. Enter them again.")
    return " ".join(typed.split())


def _name(own: OnBehalf, typed: str) -> str:
    """In whose name a decision is made: the account's, else what the person has typed, and says so."""
    if own.actor.has_account:
        return own.actor.name
    if not 0 < len(typed) <= _LONGEST_NAME:
        raise PlanningError(f"Enter your name, of at most {_LONGEST_NAME} characters: a decision is made by a person.")
    return f"{typed} (name as typed, no login)"


def _require_acceptable(work: Work, held: HeldPlan, line: Alternative, comment: str) -> None:
    state = work.state
    used = [name for name in held.structures if name in state.results]
    if any(state.is_stale(name) or state.is_newer_than_plan(name) for name in used):
        raise PlanningError(OUTDATED)
    broken = broken_limits(line, held.limits)
    if broken and not comment:
        raise PlanningError(f"Say in the comment why the path is accepted nevertheless. {' '.join(broken)}")
