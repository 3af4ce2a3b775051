"""What is checked before any route sees a request: host name, origin, token, size. A refusal is a problem document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from medsam_planner.service import headers
from medsam_planner.service.http.problems import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from medsam_planner.service.access import Access

__all__ = ["HEALTH", "STUDIES", "Door"]

MOST_BODY_BYTES = 8 << 20
"""A scribble of 100,000 positions has 6 MB; uploads of studies have limits of their own."""
HEALTH = "/healthz"
"""Open to everybody, and tells nothing but that the server answers."""
STUDIES = "/api/v1/studies"


class Door:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    app : ASGIApp
    access : Access
        Names and secret of the server. Cookies count for nothing here, so no page can ride on a login.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope, receive)
            refused = self._refusal(request)
            answer = self._app if refused is None else refused
            await answer(scope, _bounded(request, receive), _with_headers(send))
        else:  # there is no web socket
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _refusal(self, request: Request) -> Response | None:
        if not self._access.is_own_host(request.headers.get("host", "")):
            return problem("host", "This server is not known under that name.")
        if self._access.is_foreign(request.headers):
            return problem("origin", "A page of another site sent this request.")
        if self._access.token is not None and request.scope["path"] != HEALTH and not self._is_known(request):
            return problem("token", "Expected the token of this server.", headers={"WWW-Authenticate": "Bearer"})
        return None

    def _is_known(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._access.is_token(token.strip())


def _bounded(request: Request, receive: Receive) -> Receive:
    """`receive` that refuses a body which is longer than a request may be."""
    if request.scope["path"] == STUDIES and request.headers.get("content-type", "").startswith("multipart/"):
        return receive
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MOST_BODY_BYTES:
            raise HTTPException(413, f"Expected a body of at most {MOST_BODY_BYTES >> 20} MiB.")
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
