"""Logging in and out of the page: by the server's token, a name and password, or a provider.

Another site's page cannot log a person in under a foreign name: browsers send the header Origin with every form that
they post, and a foreign one is refused; the way back from a provider must bring the state that this browser was given
as a cookie. So a token in the form against forgery (double submit) would guard nothing more.
"""

from __future__ import annotations

import hashlib
import html
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import headers
from medsam_planner.service.access import Access
from medsam_planner.service.cookies import cookie_name, set_cookie
from medsam_planner.service.core.actors import BROWSER, Actor
from medsam_planner.service.core.logins import LoginKind
from medsam_planner.service.oidc import OidcRefusedError
from medsam_planner.service.people import LoginRefusedError, People
from medsam_planner.service.short_body import short_body

__all__ = ["PATH", "TITLE", "PageLogin"]

PATH = "/login"
_LOGOUT = "/logout"
_PROVIDER, _BACK = f"{PATH}/oidc", f"{PATH}/oidc/callback"
TITLE = "MedSAM Planner"
_PASS, _STATE = "pass", "oidc"
_MOST_FORM_BYTES = 16 << 10
_STATE_S = 600
_TEMPLATE = Path(__file__).with_name("login.html")
_TOKEN = """<form method="post" action="/login">
<label for="token">Token (ask whoever started this server)</label>
<input id="token" name="token" type="password" autocomplete="current-password" required>
<button type="submit">Open the workbench</button></form>"""
_PASSWORD = """<form method="post" action="/login">
<label for="name">Name</label><input id="name" name="name" autocomplete="username" required>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required>
<button type="submit">Log in</button></form>"""
_BY_PROVIDER = f'<a class="button" href="{_PROVIDER}">Log in with your organisation</a>'
_INSIDE = """<p>You are logged in as $name.</p><a class="button" href="/">Open the workbench</a>
<form method="post" action="/logout"><button type="submit">Log out</button></form>"""


class PageLogin:
    """Who a browser is, and the routes that change it.

    Parameters
    ----------
    access : Access
    """

    def __init__(self, access: Access) -> None:
        self._access = access

    def actor(self, request: Request, browser: str) -> Actor | None:
        """Who asks; None for a stranger where a login is required.

        Parameters
        ----------
        request : Request
        browser : str
            Secret cookie that tells browsers without an account apart.
        """
        access, cookie = self._access, request.cookies.get(cookie_name(request, _PASS), "")
        if access.people is not None and not access.is_pass(cookie):
            return access.people.actor_of(cookie, LoginKind.PAGE)
        if access.needs_login and not access.is_pass(cookie):
            return None
        return access.token_actor if access.people is not None else Actor(f"{BROWSER}{_digest(browser)}")

    async def answer(self, request: Request, actor: Actor | None) -> Response | None:
        """The response of a route of the login, or to a stranger; None where the page answers."""
        if not self._access.needs_login:
            return None
        people, path = self._access.people, request.scope["path"]
        try:
            if request.method == "POST" and path in (PATH, _LOGOUT) and not self._access.is_foreign(request.headers):
                return await (self._log_in(request) if path == PATH else self._log_out(request, actor))
            if request.method == "GET" and people is not None and people.oidc is not None:
                if path == _PROVIDER:
                    address, state = await people.oidc.begin(_way_back(request))
                    response = RedirectResponse(address, status_code=303)
                    set_cookie(response, request, _STATE, state, max_age_s=_STATE_S)
                    return response
                if path == _BACK:
                    return await self._come_back(request, people)
        except LoginRefusedError as error:
            return self._form(str(error), status=401 if error.wait_s is None else 429, wait_s=error.wait_s)
        except OidcRefusedError as error:
            if people is not None:
                await people.tell_refused(str(error))
            return self._form(str(error))
        except MedsamPlannerError:
            return self._form("The server cannot keep the login. Tell its administrator.", status=507)
        if actor is None:
            return self._form() if path in ("/", PATH) else PlainTextResponse("Log in first.", status_code=401)
        return _page(Template(_INSIDE).substitute(name=actor.name), 200) if path == PATH else None

    async def _log_in(self, request: Request) -> Response:
        form = parse_qs((await short_body(request, _MOST_FORM_BYTES) or b"").decode("latin-1"))
        token, name, password = (form.get(key, [""])[0] for key in ("token", "name", "password"))
        access = self._access
        if token and access.is_token(token.strip()):
            return _let_in(request, access.pass_value)
        if access.people is None or token:
            return self._form("That is not the token. Copy all of it.")
        address = request.client.host if request.client else ""
        _, known, _ = await access.people.log_in(name, password, address=address, kind=LoginKind.PAGE)
        return _let_in(request, known)

    async def _come_back(self, request: Request, people: People) -> Response:
        assert people.oidc is not None
        cookie = request.cookies.get(cookie_name(request, _STATE), "")
        actor = await people.oidc.finish(request.query_params, cookie)
        response = _let_in(
            request, await people.log_in_known(actor, address=request.client.host if request.client else "")
        )
        response.delete_cookie(cookie_name(request, _STATE), path="/")
        return response

    async def _log_out(self, request: Request, actor: Actor | None) -> Response:
        cookie = request.cookies.get(cookie_name(request, _PASS), "")
        if actor is not None and self._access.people is not None:
            await self._access.people.log_out(actor, cookie)
        response = RedirectResponse(PATH, status_code=303)
        response.delete_cookie(cookie_name(request, _PASS), path="/")
        return response

    def _form(self, wrong: str = "", *, status: int = 401, wait_s: float | None = None) -> Response:
        access = self._access
        has_accounts = access.people is not None and access.people.accounts.path.exists()
        ways = [
            _PASSWORD if has_accounts else "",
            _BY_PROVIDER if access.people is not None and access.people.oidc is not None else "",
            _TOKEN if access.token is not None else "",
        ]
        told = f'<p class="wrong" role="alert">{html.escape(wrong)}</p>' if wrong else ""
        response = _page(told + "\n".join(ways), status)
        if wait_s is not None:
            response.headers["Retry-After"] = f"{wait_s:.0f}"
        return response


def _page(content: str, status: int) -> Response:
    nonce = headers.new_nonce()
    text = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=TITLE, research=RESEARCH_USE_NOTICE, nonce=nonce, content=content
    )
    policy = f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'"
    return HTMLResponse(
        text, status_code=status, headers={"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
    )


def _let_in(request: Request, value: str) -> Response:
    response = RedirectResponse("/", status_code=303)
    set_cookie(response, request, _PASS, value)
    return response


def _way_back(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}{_BACK}"


def _digest(browser: str) -> str:
    """Stands for a browser in journals: its cookie is a secret."""
    return hashlib.sha256(browser.encode()).hexdigest()[:32]
