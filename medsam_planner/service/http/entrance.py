"""The one check in front of the whole application: host name, who asks, and what may be sent.

What is checked, by whom: the host name here; then by the path's prefix :class:`Door` for programs (REST and the
nnInteractive protocol: a bearer token, no cookies), and :class:`~medsam_planner.service.guard.Guard` for the page (a
cookie). Both put who asks into the ASGI scope, where every route reads it with
:func:`~medsam_planner.service.core.actors.actor_of`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from medsam_planner.service.guard import Guard, PageEvents
from medsam_planner.service.http.door import HEALTH, Door

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

    from medsam_planner.service.access import Access

__all__ = ["PROGRAMS", "Entrance", "protect"]

PROGRAMS = ("/api/", "/nninteractive/", HEALTH)
"""Beginnings of the paths that programs ask; all others are the page's."""


def protect(app: FastAPI, access: Access, *, events: PageEvents | None = None) -> None:
    """Put the check in front of an application; nothing of it is answered without.

    Parameters
    ----------
    app : FastAPI
    access : Access
        Names, origins and secret of the server.
    events : PageEvents, optional
        Of the page; without them there is none.
    """
    app.state.access = access
    app.add_middleware(Entrance, access=access, events=events)
    if access.trusted_proxy is not None:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=access.trusted_proxy)


class Entrance:
    """ASGI middleware around the whole application; parameters as :func:`protect`."""

    def __init__(self, app: ASGIApp, *, access: Access, events: PageEvents | None = None) -> None:
        self._app = app
        self._access = access
        self._door = Door(app, access)
        self._guard = None if events is None else Guard(app, access, events)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            is_program = self._guard is None or scope["path"].startswith(PROGRAMS)
            side = self._door if is_program or self._guard is None else self._guard
            request = Request(scope, receive)
            if self._access.is_own_host(request.headers.get("host", "")):
                await side.answer(request, send)
            else:
                await side.refuse_host(request, send)
        else:  # nothing here uses a web socket
            await receive()
            await send({"type": "websocket.close", "code": 1008})
