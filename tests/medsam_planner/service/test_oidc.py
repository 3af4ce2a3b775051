"""Login by an OpenID Connect provider: the whole code flow over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.service.access import Access
from medsam_planner.service.core.actors import Right
from medsam_planner.service.oidc import OidcSettings, read_oidc
from medsam_planner.service.people import People
from tests.medsam_planner.service.oidc_provider import CLIENT, SECRET, Provider, providing
from tests.medsam_planner.service.test_entrance import application
from tests.ui.serving import served


@dataclass(frozen=True)
class Place:
    """A page that trusts a provider."""

    provider: Provider
    address: str
    data: Path

    def begin(self, browser: httpx.Client) -> str:
        """Leave for the provider and come back: the address at which the browser arrives."""
        away = browser.get("/login/oidc")
        assert away.status_code == 303 and away.headers["location"].startswith(self.provider.issuer)
        return httpx.get(away.headers["location"]).headers["location"]

    def log_in(self, browser: httpx.Client) -> httpx.Response:
        """The whole way."""
        return browser.get(self.begin(browser))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with providing() as provider:
        settings = OidcSettings(provider.issuer, CLIENT, SECRET)
        with served(application(Access(people=People(tmp_path, oidc=settings)))) as address:
            yield Place(provider, address, tmp_path)


def test_a_person_for_whom_the_provider_vouches_is_let_in(place: Place) -> None:
    with httpx.Client(base_url=place.address) as browser:
        assert browser.get("/config").status_code == 401
        assert "/login/oidc" in browser.get("/login").text
        answer = place.log_in(browser)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert browser.get("/config").json() == "oidc:u1"
        browser.post("/logout")
        assert browser.get("/config").status_code == 401
    told = [json.loads(line) for line in (place.data / "audit.jsonl").read_text().splitlines()]
    assert [(one["event"], one["actor"]) for one in told] == [("login", "oidc:u1"), ("logout", "oidc:u1")]


def damaged(**claims: object) -> Callable[[Provider], None]:
    return lambda provider: provider.claims.update(claims)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (damaged(aud="another program"), "cannot be verified"),
        (damaged(iss="https://evil.example"), "cannot be verified"),
        (damaged(nonce="another"), "cannot be verified"),
        (damaged(nonce=None), "cannot be verified"),
        (damaged(exp=int(time.time()) - 3600), "cannot be verified"),
        (damaged(exp=None), "cannot be verified"),
        (damaged(sub=None), "cannot be verified"),
        (damaged(aud=[CLIENT, "other"]), "another program"),
        (damaged(aud=[CLIENT, "other"], azp="other"), "another program"),
        (damaged(azp="other"), "another program"),
        (damaged(roles=[]), "no role"),
        (damaged(roles=["emperor"]), "no role"),
        (damaged(roles=None), "no role"),
        (damaged(roles={"planner": True}), "no role"),
        (damaged(sub="a b<script>"), "no name"),
        (Provider.sign_with_another_key, "cannot be verified"),
        (Provider.do_not_sign, "cannot be verified"),
        (Provider.sign_with_the_public_key_as_a_secret, "cannot be verified"),
    ],
)
def test_a_token_that_is_not_right_in_every_respect_lets_nobody_in(
    place: Place, change: Callable[[Provider], None], said: str
) -> None:
    change(place.provider)
    with httpx.Client(base_url=place.address) as browser:
        answer = place.log_in(browser)
        assert answer.status_code == 401 and said in answer.text
        assert browser.get("/config").status_code == 401
    assert json.loads((place.data / "audit.jsonl").read_text())["event"] == "login failed"


def test_a_way_back_that_another_browser_began_logs_nobody_in(place: Place) -> None:
    """Otherwise a foreign page could log a person in under a foreign name."""
    with httpx.Client(base_url=place.address) as mallory, httpx.Client(base_url=place.address) as ann:
        stolen = place.begin(mallory)
        assert ann.get(stolen).status_code == 401
        place.begin(ann)  # even with a cookie of its own
        assert ann.get(place.begin(mallory)).status_code == 401
        assert ann.get("/config").status_code == 401


def test_a_way_back_works_once(place: Place) -> None:
    with httpx.Client(base_url=place.address) as browser:
        back = place.begin(browser)
        state = dict(browser.cookies)
        assert browser.get(back).status_code == 303
        browser.cookies.update(state)
        assert browser.get(back).status_code == 401


@pytest.mark.parametrize("query", ["error=access_denied", "code=made-up", "", "code=made-up&iss=https://evil.example"])
def test_no_answer_of_the_provider_but_a_code_lets_in(place: Place, query: str) -> None:
    with httpx.Client(base_url=place.address) as browser:
        away = browser.get("/login/oidc").headers["location"]
        (state,) = parse_qs(urlsplit(away).query)["state"]
        assert browser.get(f"/login/oidc/callback?state={state}&{query}").status_code == 401
        assert browser.get("/config").status_code == 401


def test_a_provider_that_is_away_is_told(tmp_path: Path) -> None:
    settings = OidcSettings("http://127.0.0.1:1", CLIENT, SECRET)
    with served(application(Access(people=People(tmp_path, oidc=settings)))) as address:
        answer = httpx.get(f"{address}/login/oidc")
    assert answer.status_code == 401 and "cannot be reached" in answer.text


def test_the_highest_role_of_the_claim_counts() -> None:
    groups = {"radiology": "annotator", "surgery": "planner"}
    settings = OidcSettings("https://login.example", "c", "s", role_claim="realm.groups", roles=groups)
    assert settings.right_of({"realm": {"groups": ["x", "radiology", "surgery"]}}) is Right.PLAN
    assert settings.right_of({"realm": {"groups": "radiology"}}) is Right.ANNOTATE
    assert settings.right_of({"realm": {"groups": ["admin"]}}) is None
    assert settings.right_of({"realm": "groups"}) is None


def test_the_settings_are_a_file_that_names_the_file_of_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "oidc.toml"
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    path.write_text(
        'issuer = "https://login.example"\nclient_id = "planner"\nclient_secret_file = "secret"\n'
        '[roles]\nsurgery = "planner"\n'
    )
    settings = read_oidc(path)
    assert (settings.client_secret, settings.roles) == (SECRET, {"surgery": "planner"})
    assert SECRET not in repr(settings)
    for text in ("", 'issuer = "https://login.example"', path.read_text().replace("https", "http"), "x = ["):
        path.write_text(text)
        with pytest.raises(ConfigError):
            read_oidc(path)
