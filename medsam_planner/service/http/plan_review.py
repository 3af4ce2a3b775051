"""Routes of the review of a plan: lines placed by hand, the decision, and the report that tells them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from medsam_planner.planning.plan_file_tables import Position
from medsam_planner.report.decision import LONGEST_COMMENT, DecisionKind
from medsam_planner.service import decisions, placed_lines
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.work import Work
from medsam_planner.service.decisions import DecisionAsked
from medsam_planner.service.held_plan import HeldPlan, held_plan, read_held
from medsam_planner.service.http.answers import redacted
from medsam_planner.service.http.models import EventId, JobBegun, Model, Numbered
from medsam_planner.service.http.shared import LeaseHeader, TheService, begun
from medsam_planner.service.placed_lines import LineAsked

__all__ = ["router"]

router = APIRouter(prefix="/sessions/{session}/plans/{plan}", tags=["review"])


class LineRequest(Model):
    """A line, LPS mm."""

    entry_lps_mm: Position
    target_lps_mm: Position
    tool: str | None = None
    """By default the first of the plan."""
    on_surface: bool = True
    """Whether the entry is moved along the line to the surface that is entered."""

    @property
    def asked(self) -> LineAsked:
        """It, as the service takes it."""
        line = np.array([self.entry_lps_mm, self.target_lps_mm], dtype=np.float64)
        return LineAsked(line, self.tool or "", self.on_surface)


class PlacedLineRequest(LineRequest):
    """A line to keep."""

    event_id: EventId | None = None


class StepRequest(Model):
    """The line placed last."""

    event_id: EventId | None = None


class DecisionRequest(Model):
    """What is decided on a path."""

    decision: Literal["accepted", "rejected"]
    path: Annotated[int, Field(ge=1, le=100_000)] = 1
    """As the report numbers them, from 1; lines placed by hand come last."""
    tool: str | None = None
    """By default the first of the plan."""
    comment: Annotated[str, Field(max_length=10 * LONGEST_COMMENT)] = ""
    """Needed to reject a path, and to accept one that breaks a limit."""
    name: Annotated[str, Field(max_length=200)] = ""
    """Of the person, where the server has no users."""
    event_id: EventId | None = None


class ReviewAnswer(Model):
    """A plan with what persons have done to it."""

    plan: str
    holds: bool
    """Whether it may still be decided on."""
    paths: dict[str, list[dict[str, Any]]]
    """By tool, as in ``plan.json``; those placed by hand come last."""
    decision: dict[str, Any] | None
    can_undo: bool
    can_redo: bool
    is_written: bool
    """Whether the report tells it as it stands."""
    writing: str | None
    """The job that writes the report, until it has ended."""


class LineAnswer(Model):
    """Measures of a line."""

    tool: str
    line: dict[str, Any]
    """As ``plan.json`` has paths."""
    is_at_surface: bool
    crossed: str
    not_certified: list[str]
    broken_limits: list[str]


@router.get("/review")
def review(session: str, plan: str, service: TheService) -> ReviewAnswer:
    """Paths, lines placed by hand, and the decision."""
    work = service.session(session)
    held = read_held(service.service, work, plan)
    paths = {name: list(held.entries(name)) for name in held.paths}
    decision, writing = held.review.decision, service.service.jobs.document_of(work, plan)
    return ReviewAnswer(
        plan=plan,
        holds=work.state.plan == plan,
        paths=redacted(paths, service.service),
        decision=None if decision is None else decision.as_entry(),
        can_undo=held.review.can_undo,
        can_redo=held.review.can_redo,
        is_written=held.review.is_written,
        writing=None if writing is None or writing.state.is_final else writing.identifier,
    )


@router.post("/measures")
def measures(session: str, plan: str, asked: LineRequest, service: TheService) -> LineAnswer:
    """Measure a line as the planner measures its own. It changes nothing, so it needs no lease."""
    found, _ = _measured(service, service.session(session), plan, asked.asked)
    return LineAnswer.model_validate({name: found[name] for name in LineAnswer.model_fields})


@router.post("/lines", status_code=201)
def place(
    session: str, plan: str, asked: PlacedLineRequest, service: TheService, lease: LeaseHeader = None
) -> Numbered:
    """Keep a line as a path of the plan; an acceptance ends."""
    work, sent = service.acting(session, lease), asked.model_dump(exclude={"event_id"})
    service.require_planner(work)
    if (known := work.state.repeated(asked.event_id, "line", plan=plan, asked=sent)) is not None:
        return Numbered(n=known["n"])
    found, held = _measured(service, work, plan, asked.asked)
    return Numbered(n=placed_lines.keep(service, work, held, found, event=asked.event_id, asked=sent))


@router.post("/undo")
def undo(session: str, plan: str, asked: StepRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Take the line placed last back; an acceptance ends."""
    return Numbered(n=service.review(service.acting(session, lease), "line-undo", plan, event=asked.event_id))


@router.post("/redo")
def redo(session: str, plan: str, asked: StepRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Put the line back that was taken back; an acceptance ends."""
    return Numbered(n=service.review(service.acting(session, lease), "line-redo", plan, event=asked.event_id))


@router.post("/decision", status_code=201)
def decide(session: str, plan: str, asked: DecisionRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Accept or reject a path; ``plan.json`` and the report tell it at once."""
    work, sent = service.acting(session, lease), asked.model_dump(exclude={"event_id"})
    service.require_planner(work)
    with work.changing():
        if (known := work.state.repeated(asked.event_id, "decision", plan=plan, asked=sent)) is not None:
            return Numbered(n=known["n"])
        held = held_plan(service.service, work, plan)
        tool, number = asked.tool or next(iter(held.paths)), asked.path - 1
        wish = DecisionAsked(DecisionKind(asked.decision), tool, number, asked.comment, asked.name)
        n = decisions.decide(service, work, held, wish, event=asked.event_id, asked=sent)
        decisions.choose(service, work, held, tool, number)
        return Numbered(n=n)


@router.post("/report", status_code=202)
def write_report(
    session: str, plan: str, response: Response, service: TheService, lease: LeaseHeader = None
) -> JobBegun:
    """Write the report and the DICOM objects anew: the path decided on, or placed, last comes first."""
    work = service.acting(session, lease)
    held = held_plan(service.service, work, plan)
    return begun(response, decisions.write_document(service, work, held, held.request(), held.read.origin))


def _measured(service: OnBehalf, work: Work, plan: str, line: LineAsked) -> tuple[dict[str, Any], HeldPlan]:
    held = held_plan(service.service, work, plan)
    return placed_lines.measure(service.service, work, line, held.request(), held.read.origin, held=held), held
