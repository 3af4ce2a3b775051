"""One check in front of the page and of what programs ask."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request

from medsam_planner.service.access import Access
from medsam_planner.service.core.actors import actor_of
from medsam_planner.service.guard import PageEvents
from medsam_planner.service.http.entrance import protect
from tests.ui.serving import served

TOKEN = "correct-horse-battery-staple"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROGRAM_PATHS = ("/api/v1/who", "/nninteractive/who")


def application(access: Access) -> FastAPI:
    """A page and two doors for programs that say who asks."""
    app = FastAPI()

    def who(request: Request) -> str:
        return actor_of(request.scope).name

    for path in ("/config", *PROGRAM_PATHS, "/healthz", "/nninteractive/healthz"):
        app.get(path)(who)
    app.post("/gradio_api/queue/join")(who)
    protect(app, access, events=PageEvents({0: 1}, lambda token, actor: False))
    return app


@pytest.fixture(scope="module")
def locked() -> Iterator[str]:
    with served(application(Access(token=TOKEN))) as address:
        yield address


@pytest.fixture(scope="module")
def unlocked() -> Iterator[str]:
    with served(application(Access())) as address:
        yield address


@pytest.mark.parametrize("path", PROGRAM_PATHS)
def test_programs_are_known_by_their_token_and_by_no_cookie(locked: str, path: str) -> None:
    assert httpx.get(locked + path, headers=BEARER).json() == "token"
    with httpx.Client(base_url=locked) as browser:
        assert browser.post("/login", data={"token": TOKEN}).status_code == 303
        assert browser.get("/config").status_code == 200
        answer = browser.get(path)
        assert (answer.status_code, answer.json()["code"]) == (401, "token")
        assert answer.headers["content-type"] == "application/problem+json"


def test_the_page_is_known_by_its_cookie_and_by_no_bearer_token(locked: str) -> None:
    assert httpx.get(f"{locked}/config", headers=BEARER).status_code == 401


def test_health_is_told_to_everybody(locked: str) -> None:
    for path in ("/healthz", "/nninteractive/healthz"):
        assert httpx.get(locked + path).status_code == 200


def test_browsers_without_accounts_are_told_apart(unlocked: str) -> None:
    with httpx.Client(base_url=unlocked) as one, httpx.Client(base_url=unlocked) as other:
        port = httpx.URL(unlocked).port
        for browser, value in ((one, "a" * 32), (other, "b" * 32)):
            browser.cookies.set(f"medsam-planner-browser-{port}", value)
        names = [one.get("/config").json(), one.get("/config").json(), other.get("/config").json()]
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("browser:") and "a" * 32 not in name for name in names)
    assert httpx.get(f"{unlocked}/api/v1/who").json() == "local"


@pytest.mark.parametrize("path", ["/config", *PROGRAM_PATHS, "/healthz"])
def test_foreign_names_and_foreign_pages_are_refused_at_every_door(unlocked: str, path: str) -> None:
    assert httpx.get(unlocked + path, headers={"Host": "evil.example"}).status_code == 400
    assert httpx.get(unlocked + path, headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("path", ["/API/v1/who", "//api/v1/who", "/api", "/nninteractive", "/healthz/../config"])
def test_no_spelling_of_a_path_slips_between_the_doors(locked: str, path: str) -> None:
    answer = httpx.Client().send(httpx.Request("GET", locked + path))
    assert answer.status_code in (401, 404)
