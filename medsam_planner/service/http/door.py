"""What is checked before a route of programs sees a request: origin, token, size. A refusal is a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.service import headers
from medsam_planner.service.core.actors import Actor, Right, with_actor
from medsam_planner.service.http.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Send

    from medsam_planner.service.access import Access

__all__ = ["HEALTH", "LOGIN", "OPEN", "STUDIES", "VOXELS", "Door", "bearer_of"]

_MOST_PROMPT_BYTES = 8 << 20
"""A scribble of 100,000 positions has 6 MB."""
_MOST_BODY_BYTES = 256 << 10
"""Of other JSON, which is read while all others wait; uploads of studies have limits of their own."""
_MOST_LOGIN_BYTES = 16 << 10
"""Anybody may send one."""
HEALTH = "/healthz"
"""Tells nothing but that the server answers."""
LOGIN = "/api/v1/login"
OPEN = {("GET", HEALTH), ("GET", f"/nninteractive{HEALTH}"), ("POST", LOGIN)}
"""What needs no token."""
_NOBODY = Actor("nobody", Right.VIEW, has_account=True)
"""A stranger at an open path."""
STUDIES = "/api/v1/studies"
VOXELS = "/nninteractive/"
"""Requests there carry volumes; their routes state limits of their own."""


class Door:
    """The side of the entrance that programs use.

    Parameters
    ----------
    app : ASGIApp
    access : Access
        Secret of the server. Cookies count for nothing here, so no page can ride on a login.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def answer(self, request: Request, send: Send) -> None:
        """Let the application answer, or refuse."""
        actor = self._access.actor_with(bearer_of(request))
        if self._access.is_foreign(request.headers):
            await _refuse(problem("origin", "A page of another site sent this request."), request, send)
        elif actor is not None or (request.method, request.scope["path"]) in OPEN:
            scope = with_actor(request.scope, actor or _NOBODY)
            await self._app(scope, _bounded(request), _with_headers(send))
        else:
            needed = "Expected the token of this server" + (
                ", or one of POST /api/v1/login." if self._access.people else "."
            )
            await _refuse(problem("token", needed, headers={"WWW-Authenticate": "Bearer"}), request, send)

    async def refuse_host(self, request: Request, send: Send) -> None:
        """Refuse a request under another machine's name."""
        await _refuse(problem("host", "This server is not known under that name."), request, send)


async def _refuse(refused: Response, request: Request, send: Send) -> None:
    await refused(request.scope, request.receive, _with_headers(send))


def bearer_of(request: Request) -> str | None:
    """The bearer token that a program sends."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _bounded(request: Request) -> Receive:
    """`receive` that refuses a body which is longer than a request may be."""
    path, receive = request.scope["path"], request.receive
    is_upload = path == STUDIES and request.headers.get("content-type", "").startswith("multipart/")
    if is_upload or path.startswith(VOXELS):
        return receive
    most = _MOST_LOGIN_BYTES if path == LOGIN else _MOST_PROMPT_BYTES if path.endswith("/prompts") else _MOST_BODY_BYTES
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > most:
            raise HTTPException(413, f"Expected a body of at most {most >> 10} KiB.")
        return message

    return bounded


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            out = MutableHeaders(scope=message)
            for name, value in {**headers.HEADERS, "Cache-Control": "no-store"}.items():
                out.setdefault(name, value)
        await send(message)

    return sent
