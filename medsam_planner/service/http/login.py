"""Routes of the login of programs: a token for a name and password."""

from __future__ import annotations

from datetime import UTC, datetime

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.errors import NotThereError
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.core.logins import LoginKind
from medsam_planner.service.http.door import bearer_of
from medsam_planner.service.http.models import LoginAnswer, LoginRequest, WhoAnswer
from medsam_planner.service.http.problems import problem
from medsam_planner.service.people import LoginRefusedError, People

__all__ = ["router"]

router = APIRouter(prefix="/login", tags=["login"])


@router.post("", status_code=201, response_model=LoginAnswer)
async def log_in(asked: LoginRequest, request: Request) -> LoginAnswer | Response:
    """A bearer token for a user of this server. Five tries a minute for each address and each name."""
    address = request.client.host if request.client else ""
    try:
        actor, token, until = await _people(request).log_in(
            asked.name, asked.password, address=address, kind=LoginKind.PROGRAM
        )
    except LoginRefusedError as error:
        if error.wait_s is None:
            return problem("login", str(error))
        return problem("too-many-tries", str(error), headers={"Retry-After": f"{error.wait_s:.0f}"})
    ends = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    return LoginAnswer(name=actor.name, role=actor.right.role, token=token, expires_at=ends)


@router.get("")
async def who(request: Request) -> WhoAnswer:
    """Who you are."""
    actor = actor_of(request.scope)
    return WhoAnswer(name=actor.name, role=actor.right.role)


@router.delete("", status_code=204)
async def log_out(request: Request) -> None:
    """End the token that is sent. The server's own token does not end."""
    await _people(request).log_out(actor_of(request.scope), bearer_of(request) or "")


def _people(request: Request) -> People:
    people: People | None = request.app.state.access.people
    if people is None:
        raise NotThereError("This server has no users: send its token, if it has one.")
    return people
