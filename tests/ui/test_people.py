"""The page of a server with users: each person has the own studies, and nobody takes up the page of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from medsam_planner.client import Client
from medsam_planner.errors import ForbiddenError
from medsam_planner.service import earlier_work
from medsam_planner.service.access import Access
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.rest import PASSWORDS, lesion_box, people_of
from tests.ui.serving import page_app, served
from tests.ui.test_attacks import every_route
from ui import study_handlers

PAUL = Actor("paul", Right.PLAN, has_account=True)
MALLORY = Actor("mallory", Right.PLAN, has_account=True)
VERA = Actor("vera", Right.VIEW, has_account=True)


@dataclass(frozen=True)
class Place:
    """A server with its page, on which Paul has a study and a session."""

    address: str
    app: Any
    study: str
    session: str

    @property
    def pages(self) -> Pages:
        pages: Pages = self.app.state.pages
        return pages

    @contextmanager
    def logged_in(self, name: str) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.address) as browser:
            assert browser.get("/").status_code == 401
            answer = browser.post("/login", data={"name": name, "password": PASSWORDS[name]})
            assert answer.status_code == 303
            assert browser.get("/").status_code == 200
            yield browser


@pytest.fixture(scope="module")
def place(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    settings = Settings(out=tmp_path_factory.mktemp("people") / "data", model=model, roots=(study_path.parent,))
    access = Access(people=people_of(settings.out))
    with page_app(settings, access=access) as app, served(app) as address:
        with Client.log_in(address, "paul", PASSWORDS["paul"]) as client:
            study = client.open_study(study_path.name)
            session = client.open_session(study)
            session.add("lesion", lesion_box())
            session.release()
        yield Place(address, app, study.id, session.identifier)


def test_without_a_login_every_route_of_page_and_programs_is_shut(place: Place) -> None:
    routes = every_route(place.app)
    assert len(routes) > 80
    with httpx.Client(base_url=place.address) as stranger:
        for method, path in routes:
            if (method, path) in {("GET", "/healthz"), ("GET", "/nninteractive/healthz"), ("POST", "/api/v1/login")}:
                continue
            assert stranger.request(method, path).status_code == 401, (method, path)


def test_a_page_lists_and_takes_up_what_its_person_may(place: Place) -> None:
    assert [key for _, key in earlier_work.earlier_work(place.pages, PAUL, but="")] == [place.session]
    assert earlier_work.earlier_work(place.pages, MALLORY, but="") == []
    assert place.pages.take_up("page of mallory", place.session, MALLORY) is None
    with Client.log_in(place.address, "paul", PASSWORDS["paul"]) as client:
        asked = {"Authorization": str(client._transport._http.headers["authorization"])}
    rights = f"{place.address}/api/v1/studies/{place.study}/rights"
    httpx.put(rights, json={"vera": "viewer"}, headers=asked)
    with pytest.raises(ForbiddenError):
        place.pages.take_up("page of vera", place.session, VERA)
    httpx.put(rights, json={}, headers=asked)
    workbench = place.pages.take_up("page of paul", place.session, PAUL)
    assert workbench is not None and workbench.key == place.session
    workbench.give_back()


def test_the_routes_of_a_page_answer_its_own_person(place: Place, study_path: Path) -> None:
    workbench = place.pages.begin("a page of paul", PAUL)
    study_handlers.open_study(workbench, study_path.name)
    with place.logged_in("paul") as paul:
        for path in (f"/views/{workbench.token}?plane=axial&index=3", f"/alive/{workbench.token}"):
            assert paul.get(path).status_code == 200
    with place.logged_in("mallory") as mallory:
        found = routes_of_a_page(place.app)
        assert {path.split("/")[1] for _, path in found} >= OF_A_PAGE
        for method, path in found:
            sent = mallory.request(method, path.replace("{token}", workbench.token), params=ASKED, content=b"{}")
            assert sent.status_code == 404, (method, path, sent.text)
            assert "somebody else" in sent.text, (method, path, sent.text)


OF_A_PAGE = {"alive", "files", "live", "review", "slices", "surfaces", "uploads", "views"}
ASKED = {
    "plane": "axial",
    "index": "3",
    "name": "a",
    "line": "0,0,0,1,1,1",
    "version": "1",
    "structure": "a",
    "is_on": "true",
}


def routes_of_a_page(app: Any) -> list[tuple[str, str]]:
    """Method and path of every route that names a page by its token."""
    named = [route for route in app.routes if "{token}" in getattr(route, "path", "")]
    parts = {"kind": "study", "name": "export.zip", "job": "0" * 32, "number": "0", "side": "A", "token": "{token}"}
    return [(method, one.path.format(**parts)) for one in named for method in one.methods - {"HEAD"}]


def test_an_event_on_the_page_of_another_person_is_refused(place: Place, study_path: Path) -> None:
    workbench = place.pages.begin("a page of paul", PAUL)
    study_handlers.open_study(workbench, study_path.name)
    before = workbench.require_work().state
    with place.logged_in("paul") as paul, place.logged_in("mallory") as mallory:
        events = {
            one["id"]: one for one in paul.get("/config").json()["dependencies"] if len(one["inputs"]) in (1, 2, 3)
        }
        for number, event in list(events.items())[:12]:
            for index in range(len(event["inputs"])):
                values: list[Any] = [None] * len(event["inputs"])
                values[index] = workbench.token
                body = {"fn_index": number, "data": values, "session_hash": "mallorys"}
                assert mallory.post("/gradio_api/queue/join", json=body).status_code == 403
    assert workbench.require_work().state == before


def test_a_page_without_a_study_is_not_handed_to_the_next_person_in_the_browser(place: Place) -> None:
    """The browser remembers it; with it went whose page it is."""
    first = place.pages.begin("a page of paul", PAUL)
    assert place.pages.take_up("a page of mallory", first.token, MALLORY) is None
    again = place.pages.take_up("another page of paul", first.token, PAUL)
    assert again is not None and again.own.actor == PAUL
