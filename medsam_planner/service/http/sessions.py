"""Routes of sessions: leases, prompts, what is computed from them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.core.packing import ExportChoice
from medsam_planner.service.http.answers import session_answer, session_summary
from medsam_planner.service.http.models import (
    ClaimRequest,
    EventId,
    ExportRequest,
    HeldAnswer,
    JobBegun,
    Numbered,
    PromptRequest,
    SegmentRequest,
    SessionAnswer,
    SessionRequest,
    SessionSummary,
    UndoRequest,
)
from medsam_planner.service.http.shared import LeaseHeader, TheService, begun, model_of

__all__ = ["router"]

router = APIRouter(prefix="/sessions", tags=["sessions"])
_MOST_LISTS = 100_100
"""In a prompt: those of a scribble of 100,000 positions."""
_MOST_COLONS = 10_000
_PROMPT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": PromptRequest.model_json_schema()}},
    }
}


@router.post("", status_code=201)
def open_session(asked: SessionRequest, request: Request, response: Response, service: TheService) -> HeldAnswer:
    """Begin a session on a study; its client holds it."""
    work, lease = service.open_session(asked.study, asked.model)
    response.headers["Location"] = f"{request.url.path}/{work.identifier}"
    return HeldAnswer(id=work.identifier, lease=lease)


@router.get("")
def list_sessions(service: TheService) -> list[SessionSummary]:
    """The sessions that you can continue, the one changed last first."""
    return [session_summary(service.service, work) for work in service.sessions()]


@router.get("/{session}")
def get_session(session: str, service: TheService) -> SessionAnswer:
    """Structures, prompts, states and jobs of a session. Reading needs no lease."""
    return session_answer(service.service, service.session(session))


@router.delete("/{session}", status_code=204)
def delete_session(session: str, service: TheService) -> None:
    """Delete a session with its prompts, results and plans; for its owner, its study's and administrators."""
    service.delete_session(session)


@router.post("/{session}/lease", status_code=201)
def claim(session: str, asked: ClaimRequest, service: TheService) -> HeldAnswer:
    """Hold a session, to continue it; `take_over` ends the lease of another client."""
    work, lease = service.claim(session, take_over=asked.take_over)
    return HeldAnswer(id=work.identifier, lease=lease)


@router.put("/{session}/lease", status_code=204)
def beat(session: str, service: TheService, lease: LeaseHeader = None) -> None:
    """A sign of life. Every acting request is one, too."""
    service.acting(session, lease)


@router.delete("/{session}/lease", status_code=204)
def release(session: str, service: TheService, lease: LeaseHeader = None) -> None:
    """Give a session back; nothing of it is lost."""
    service.release(session, lease)


async def _sent_prompt(request: Request) -> PromptRequest:
    """The prompt in a body, which may be long: it is read beside the others, unless it cannot be one."""
    body = await request.body()
    if body.count(b"[") > _MOST_LISTS or body.count(b":") > _MOST_COLONS:
        raise HTTPException(413, "Expected one prompt, of at most 100,000 positions.")
    return await run_in_threadpool(model_of, PromptRequest, body)


SentPrompt = Annotated[PromptRequest, Depends(_sent_prompt)]


@router.post("/{session}/prompts", status_code=201, openapi_extra=_PROMPT)
def add_prompt(session: str, asked: SentPrompt, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Append a prompt, as in a prompt file, to a structure; a new name begins one."""
    work = service.acting(session, lease)
    return Numbered(n=service.add(work, asked.structure, asked.prompt, event=asked.event_id))


@router.delete("/{session}/prompts/{n}")
def remove_prompt(
    session: str, n: int, service: TheService, lease: LeaseHeader = None, event_id: EventId | None = None
) -> Numbered:
    """Remove one prompt by the number that adding it returned; undo takes the removal back."""
    return Numbered(n=service.remove(service.acting(session, lease), n, event=event_id))


@router.post("/{session}/undo")
def undo(session: str, asked: UndoRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Undo the last step of a structure."""
    work = service.acting(session, lease)
    work.state.require(asked.structure)
    return Numbered(n=service.record(work, "undo", event=asked.event_id, structure=asked.structure))


@router.post("/{session}/redo")
def redo(session: str, asked: UndoRequest, service: TheService, lease: LeaseHeader = None) -> Numbered:
    """Redo the last undone step of a structure."""
    work = service.acting(session, lease)
    work.state.require(asked.structure)
    return Numbered(n=service.record(work, "redo", event=asked.event_id, structure=asked.structure))


@router.post("/{session}/segment", status_code=202)
def segment(
    session: str, asked: SegmentRequest, response: Response, service: TheService, lease: LeaseHeader = None
) -> JobBegun:
    """Segment a structure in 3D from its present prompts."""
    options = SegmentOptions(asked.samples, asked.uncertainty, asked.saliency, asked.triplanar)
    job = service.segment(service.acting(session, lease), asked.structure, options, event=asked.event_id)
    return begun(response, job)


@router.post("/{session}/exports", status_code=202)
def export(
    session: str, asked: ExportRequest, response: Response, service: TheService, lease: LeaseHeader = None
) -> JobBegun:
    """Write an archive of 3D results of present prompts; a session keeps the last one."""
    choice = ExportChoice(tuple(asked.contents), asked.ignores_unreviewed)
    return begun(response, service.pack(service.acting(session, lease), choice, event=asked.event_id))
