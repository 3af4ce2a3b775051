"""Access control of the page: every request of a browser is checked here before any route sees it.

The checks, in this order: the person is logged in, if that is required (:mod:`medsam_planner.service.login`); the page
uses the route (Gradio adds fifty more, which stay closed); the request does not come from another site; the body of an
event is short, contains no files, names an event of the page and no page of another person; the Gradio session belongs
to this browser and person.
A refusal is one line that reveals nothing about the machine.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from medsam_planner.service import headers
from medsam_planner.service.cookies import cookie_name, set_cookie
from medsam_planner.service.core.actors import Actor, with_actor
from medsam_planner.service.login import PageLogin
from medsam_planner.service.short_body import short_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from medsam_planner.service.access import Access

__all__ = ["MOST_BODY_BYTES", "NO_EVENTS", "Guard", "PageEvents"]

MOST_BODY_BYTES = 1 << 20
"""Limit for an event; uploads have limits of their own (:mod:`medsam_planner.service.uploads`)."""
_MOST_SESSIONS = 100_000
_BROWSER_COOKIE_S = 365 * 24 * 3600
_READ = ("GET", "HEAD")
_JOIN, _DATA, _HEARTBEAT = "/gradio_api/queue/join", "/gradio_api/queue/data", "/gradio_api/heartbeat/"
_RECONNECT = "/gradio_api/app_id"
"""After a lost connection Gradio's page requests this until it is answered, then reloads."""
_PAGES = {"/", "/config", "/theme.css", "/favicon.ico", _DATA, _RECONNECT}
_FOLDERS = (
    "/assets/",
    "/static/",
    "/viewer/",
    "/alive/",
    "/views/",
    "/slices/",
    "/surfaces/",
    "/files/",
    "/live/",
    "/review/",
    "/reading/",
    _HEARTBEAT,
)
_CHANGED_BY = {
    "/uploads/": ("POST", "DELETE"),
    "/live/": ("POST", "PUT", "DELETE"),
    "/review/": ("POST",),
    "/reading/": ("POST",),
}
"""Methods other than reading by folder."""
_CACHED_BY_BROWSERS = ("/assets/", "/static/", "/viewer/")
"""Paths that browsers may cache: they contain nothing about a patient."""


@dataclass(frozen=True, slots=True)
class PageEvents:
    """What the events of the page may say."""

    input_count: Mapping[int, int]
    """Number of inputs of every event, by Gradio's number of the event."""
    is_of_another: Callable[[str, Actor], bool]
    """Whether a text is the token of a page that belongs to another person."""


NO_EVENTS = PageEvents({}, lambda token, actor: False)
"""Of a page without Gradio."""


class Guard:
    """The side of the entrance that the page uses.

    Parameters
    ----------
    app : ASGIApp
    access : Access
        Origins and secret of the server.
    events : PageEvents
    """

    def __init__(self, app: ASGIApp, access: Access, events: PageEvents) -> None:
        self._app = app
        self._access = access
        self._login = PageLogin(access)
        self._events = events
        self._sessions = _Sessions()

    async def refuse_host(self, request: Request, send: Send) -> None:
        """Refuse a request under another machine's name."""
        refused = _refusal(
            400, "This server is not known under that name. Use its address, or restart it with --name NAME."
        )
        await refused(request.scope, request.receive, _WithHeaders(request, send, ""))

    async def answer(self, request: Request, send: Send) -> None:
        """Let the application answer, or refuse."""
        known = request.cookies.get(cookie_name(request, "browser"), "")
        browser = known or secrets.token_urlsafe(24)
        send = _WithHeaders(request, send, browser)
        actor = self._login.actor(request, browser)
        refused = await self._login.answer(request, actor) or self._refuse_route(request)
        if refused is not None:
            await refused(request.scope, request.receive, send)
            return
        assert actor is not None  # a stranger was answered by the login
        receive = request.receive
        session = _session_in_address(request)
        if request.scope["path"] == _JOIN:
            body = await short_body(request, MOST_BODY_BYTES)
            event = _event_of(body)
            if event is None or not self._is_of_page(event):
                refused = _refusal(400, "Expected an event of the page: short JSON without files.")
                await refused(request.scope, request.receive, send)
                return
            texts = (value for value in event["data"] if isinstance(value, str))
            if any(self._events.is_of_another(text, actor) for text in texts):
                refused = _refusal(403, "That page belongs to somebody else. Reload your own.")
                await refused(request.scope, request.receive, send)
                return
            session = str(event.get("session_hash"))
            receive = _replay(body or b"", request.receive)
        person = f"{known} {actor.name}" if known else ""
        if session is not None and not self._sessions.is_of(session, person):
            refused = _refusal(403, "That session belongs to another browser or person. Reload the page.")
            await refused(request.scope, request.receive, send)
            return
        await self._app(with_actor(_uncompressed(request.scope), actor), receive, send)

    def _refuse_route(self, request: Request) -> Response | None:
        path, method = request.scope["path"], request.method
        if method in _READ:
            is_open = path in _PAGES or path.startswith(_FOLDERS)
        else:
            by_folder = any(path.startswith(folder) and method in may for folder, may in _CHANGED_BY.items())
            is_open = by_folder or (method == "POST" and path == _JOIN)
        if not is_open or ".." in path or "\\" in path or "\0" in path:
            return _refusal(404, "There is nothing here.")
        if self._is_foreign(request):
            return _refusal(403, "Only the page of this server may do that.")
        return None

    def _is_of_page(self, event: Mapping[str, Any]) -> bool:
        """Whether the page has such an event with that number of inputs; Gradio fails on any other."""
        number, values = event.get("fn_index"), event.get("data")
        if type(number) is not int or not isinstance(values, list):  # True is an int too
            return False
        return self._events.input_count.get(number) == len(values)

    def _is_foreign(self, request: Request) -> bool:
        """Whether a page of another site sent the request. Following a link to the page does not count."""
        is_link = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
        is_link = is_link and request.headers.get("sec-fetch-dest") == "document"
        return self._access.is_foreign(request.headers, is_link=is_link)


class _Sessions:
    """Who began each of Gradio's sessions in which browser; nobody else may listen to it or act in it."""

    def __init__(self) -> None:
        self._person_by_session: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def is_of(self, session: str, person: str) -> bool:
        if not person or len(session) > 100:
            return False
        with self._lock:
            owner = self._person_by_session.setdefault(session, person)
            self._person_by_session.move_to_end(session)
            while len(self._person_by_session) > _MOST_SESSIONS:
                self._person_by_session.popitem(last=False)
        return secrets.compare_digest(owner.encode(), person.encode())


class _WithHeaders:
    """`send` that adds the security headers to each response, and the nonce to the page."""

    def __init__(self, request: Request, send: Send, browser: str) -> None:
        self._request = request
        self._send = send
        self._browser = browser
        self._start: Message | None = None
        """Start of the page's response, held back until its body is complete."""
        self._page = b""
        self._nonce = headers.new_nonce()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._add_headers(MutableHeaders(scope=message))
            if self._request.scope["path"] == "/" and message["status"] == 200:
                self._start = message
                return
        elif self._start is not None:
            self._page += message.get("body", b"")
            if message.get("more_body"):
                return
            page = headers.with_nonce(self._page, self._nonce)
            out = MutableHeaders(scope=self._start)
            if self._request.method == "GET":
                out["Content-Length"] = str(len(page))
            out["Content-Security-Policy"] = headers.page_policy(self._nonce)
            name = cookie_name(self._request, "browser")
            if name not in self._request.cookies:
                carrier = Response()
                set_cookie(carrier, self._request, "browser", self._browser, max_age_s=_BROWSER_COOKIE_S)
                out.append("Set-Cookie", carrier.headers["set-cookie"])
            start, self._start = self._start, None
            await self._send(start)
            await self._send({"type": "http.response.body", "body": page})
            return
        await self._send(message)

    def _add_headers(self, out: MutableHeaders) -> None:
        for name, value in headers.HEADERS.items():
            out.setdefault(name, value)
        if not self._request.scope["path"].startswith(_CACHED_BY_BROWSERS):
            out["Cache-Control"] = "no-store"
        for name in ("Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Server"):
            if name in out:
                del out[name]


def _refusal(status: int, message: str) -> Response:
    return PlainTextResponse(message, status_code=status)


def _event_of(body: bytes | None) -> dict[str, Any] | None:
    """The event in the body; None if it is malformed, or names files.

    Gradio would fetch the `path` or `url` that an object names, from the disk or the network, into the cache it serves.
    No component of this page accepts files that way.
    """
    if body is None:
        return None
    try:
        event = json.loads(body)
        names = set(_keys(event))
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and not names & {"path", "url", "meta", "_type"} else None


def _keys(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _uncompressed(scope: Scope) -> Scope:
    """Request the page itself uncompressed, because a nonce is added to its scripts."""
    if scope["path"] != "/":
        return scope
    return {**scope, "headers": [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]}


def _session_in_address(request: Request) -> str | None:
    if request.scope["path"] == _DATA:
        return request.query_params.get("session_hash", "")
    if request.scope["path"].startswith(_HEARTBEAT):
        return request.scope["path"].removeprefix(_HEARTBEAT)
    return None


def _replay(body: bytes, receive: Receive) -> Receive:
    """`receive` that returns the body which has been read already, once."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again
