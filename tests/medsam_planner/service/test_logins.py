"""Users, their passwords and their logins."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medsam_planner.cli.app import run
from medsam_planner.client import Client
from medsam_planner.errors import ConfigError, ServiceError
from medsam_planner.service.access import Access
from medsam_planner.service.core.accounts import Accounts
from medsam_planner.service.core.actors import Actor, Right
from medsam_planner.service.core.logins import LASTS_S, LoginKind, Logins
from medsam_planner.service.people import LoginRefusedError, People
from medsam_planner.service.settings import Settings
from medsam_planner.service.tries import Tries, network_of
from tests.medsam_planner.service.rest import PASSWORDS, TOKEN, logged_in, people_of, serving
from tests.medsam_planner.service.test_entrance import application
from tests.ui.serving import served


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    accounts = Accounts(tmp_path / "users.json")
    accounts.add("ann", Right.ANNOTATE, PASSWORDS["ann"])
    return accounts


@pytest.fixture
def populated(settings: Settings) -> Iterator[str]:
    with serving(settings, token=TOKEN, people=people_of(settings.out)) as address:
        yield address


# ---- accounts -------------------------------------------------------------------------------------------------------
def test_a_password_is_kept_as_an_argon2id_hash_that_only_the_server_can_read(accounts: Accounts) -> None:
    text = accounts.path.read_text()
    assert PASSWORDS["ann"] not in text and "$argon2id$" in text
    assert accounts.path.stat().st_mode & 0o777 == 0o600
    assert PASSWORDS["ann"] not in repr(accounts.all()) and "argon2" not in repr(accounts.all())


def test_only_the_right_password_is_accepted(accounts: Accounts) -> None:
    found = accounts.check("ann", PASSWORDS["ann"])
    assert found is not None and found.actor == Actor("ann", Right.ANNOTATE, has_account=True)
    for name, password in (("ann", "wrong"), ("ann", ""), ("Ann", PASSWORDS["ann"]), ("nobody", PASSWORDS["ann"])):
        assert accounts.check(name, password) is None


def test_an_unknown_name_costs_what_a_wrong_password_costs(accounts: Accounts) -> None:
    accounts.check("nobody", "warm")
    times: dict[str, list[float]] = {"ann": [], "nobody": []}
    for _ in range(5):
        for name, found in times.items():
            begun = time.process_time()
            accounts.check(name, "wrong")
            found.append(time.process_time() - begun)
    known, unknown = (statistics.median(found) for found in times.values())
    assert 0.5 < known / unknown < 2.0


@pytest.mark.parametrize("name", ["", "a b", "token", "local", "browser:1", "oidc:ann", "a/b", "<b>", "x" * 200, "ann"])
def test_names_that_stand_for_something_else_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(ConfigError):
        accounts.add(name, Right.VIEW, "long enough password")


def test_a_damaged_file_lets_nobody_in(tmp_path: Path, accounts: Accounts) -> None:
    accounts.path.write_text("{}")
    with pytest.raises(ConfigError, match="Mend that file"):
        accounts.check("ann", PASSWORDS["ann"])


# ---- logins ---------------------------------------------------------------------------------------------------------
def test_a_login_survives_a_restart_and_its_token_is_not_on_the_disk(tmp_path: Path, accounts: Accounts) -> None:
    path = tmp_path / "logins.json"
    actor = Actor("ann", Right.ANNOTATE, has_account=True)
    token, _ = Logins(path, accounts).begin(actor, LoginKind.PROGRAM)
    assert token not in path.read_text()
    again = Logins(path, accounts)
    assert again.find(token, LoginKind.PROGRAM) == actor
    assert again.find(token, LoginKind.PAGE) is None
    again.end(token)
    assert again.find(token, LoginKind.PROGRAM) is None
    assert Logins(path, accounts).find(token, LoginKind.PROGRAM) is None


def test_a_login_ends_with_its_time_its_password_and_its_account(tmp_path: Path, accounts: Accounts) -> None:
    now = [1000.0]
    logins = Logins(tmp_path / "logins.json", accounts, clock=lambda: now[0])
    ann = Actor("ann", Right.ANNOTATE, has_account=True)
    first, _ = logins.begin(ann, LoginKind.PROGRAM)
    now[0] += LASTS_S
    assert logins.find(first, LoginKind.PROGRAM) is None
    second, _ = logins.begin(ann, LoginKind.PROGRAM)
    accounts.set_password("ann", "another long password")
    assert logins.find(second, LoginKind.PROGRAM) is None
    third, _ = logins.begin(ann, LoginKind.PROGRAM)
    accounts.remove("ann")
    assert logins.find(third, LoginKind.PROGRAM) is None
    assert logins.find(third[:-1], LoginKind.PROGRAM) is None


def test_tries_are_limited_by_address_and_by_name() -> None:
    now = [0.0]
    tries = Tries(clock=lambda: now[0])
    assert [tries.take("a", "n") for _ in range(5)] == [None] * 5
    assert tries.take("a", "other") == pytest.approx(60.0)
    assert tries.take("other", "n") == pytest.approx(60.0)
    assert tries.take("other", "other") is None
    now[0] = 59.0
    assert tries.take("a", "n") == pytest.approx(1.0)
    now[0] = 60.1
    assert tries.take("a", "n") is None
    tries.give_back("a", "n")
    assert [tries.take("a", "n") for _ in range(6)] == [None] * 5 + [pytest.approx(60.0)]


def test_an_ipv6_network_counts_as_one_address() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("testclient") == "testclient"


def test_passwords_are_checked_one_at_a_time_and_few_wait(tmp_path: Path) -> None:
    people = people_of(tmp_path)

    async def crowd() -> list[object]:
        asked = [people.log_in(f"name{n}", "wrong", address=f"192.0.2.{n}", kind=LoginKind.PAGE) for n in range(40)]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    answers = asyncio.run(crowd())
    assert all(isinstance(one, LoginRefusedError) for one in answers)
    waits = [one.wait_s for one in answers if isinstance(one, LoginRefusedError)]
    assert (waits.count(None), len(waits)) == (20, 40)


# ---- programs -------------------------------------------------------------------------------------------------------
def test_a_program_logs_in_acts_under_its_name_and_logs_out(populated: str, settings: Settings) -> None:
    ann = logged_in(populated, "ann")
    assert httpx.get(f"{populated}/api/v1/login", headers=ann).json() == {"name": "ann", "role": "annotator"}
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert httpx.get(f"{populated}/api/v1/login", headers=token).json() == {"name": "token", "role": "admin"}
    assert httpx.delete(f"{populated}/api/v1/login", headers=ann).status_code == 204
    assert httpx.get(f"{populated}/api/v1/login", headers=ann).status_code == 401
    told = [json.loads(line) for line in (settings.out / "audit.jsonl").read_text().splitlines()]
    assert [(one["event"], one["actor"]) for one in told] == [("login", "ann"), ("logout", "ann")]


def test_the_client_logs_in_by_name_and_password(populated: str) -> None:
    with Client.log_in(populated, "paul", PASSWORDS["paul"]) as paul:
        assert paul.studies() == []
        paul.log_out()
        with pytest.raises(ServiceError, match="token"):
            paul.studies()
    with pytest.raises(ServiceError, match="name or the password is wrong"):
        Client.log_in(populated, "paul", "wrong")


def test_guessing_is_limited_and_told(populated: str, settings: Settings) -> None:
    def guess(name: str, password: str) -> httpx.Response:
        return httpx.post(f"{populated}/api/v1/login", json={"name": name, "password": password})

    answers = [guess("ann", "wrong"), *(guess(f"my-secret-password-{n}", "x") for n in range(4))]
    assert {(one.status_code, one.json()["detail"]) for one in answers} == {(401, "The name or the password is wrong.")}
    limited = guess("ann", PASSWORDS["ann"])
    assert (limited.status_code, limited.json()["code"]) == (429, "too-many-tries")
    assert 0 < int(limited.headers["retry-after"]) <= 60
    text = (settings.out / "audit.jsonl").read_text()
    assert [json.loads(line)["actor"] for line in text.splitlines()] == ["ann", *["unknown"] * 4]
    assert "my-secret" not in text


def test_a_server_without_users_has_no_login(settings: Settings) -> None:
    with serving(settings, token=TOKEN) as address:
        answer = httpx.post(f"{address}/api/v1/login", json={"name": "ann", "password": "x"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not-there")


# ---- the page -------------------------------------------------------------------------------------------------------
@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    with served(application(Access(people=people_of(tmp_path), trusted_proxy="127.0.0.1"))) as address:
        yield address


def test_a_person_logs_in_by_the_form_and_out(page: str) -> None:
    with httpx.Client(base_url=page) as browser:
        assert browser.get("/config").status_code == 401
        form = {"name": "ann", "password": PASSWORDS["ann"]}
        assert 'name="password"' in browser.get("/login").text
        answer = browser.post("/login", data=form, headers={"Origin": page})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=lax" in cookie and "Secure" not in cookie
        assert browser.get("/config").json() == "ann"
        assert "logged in as ann" in browser.get("/login").text
        kept = dict(browser.cookies)
        assert browser.post("/logout").status_code == 303
        assert browser.get("/config").status_code == 401
        browser.cookies.update(kept)
        assert browser.get("/config").status_code == 401  # the login itself has ended, not only its cookie


def test_behind_a_proxy_with_tls_the_cookie_is_only_sent_over_tls(page: str) -> None:
    form = {"name": "ann", "password": PASSWORDS["ann"]}
    answer = httpx.post(f"{page}/login", data=form, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" in answer.headers["set-cookie"]


def test_forwarded_headers_of_anybody_else_are_not_believed(tmp_path: Path) -> None:
    access = Access(people=people_of(tmp_path), trusted_proxy="192.0.2.9")
    form = {"name": "ann", "password": "wrong"}
    with served(application(access)) as address:
        answers = [
            httpx.post(f"{address}/login", data={**form, "name": f"n{n}"}, headers={"X-Forwarded-For": f"192.0.2.{n}"})
            for n in range(6)
        ]
    assert [one.status_code for one in answers] == [401] * 5 + [429]


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_another_site_logs_nobody_in_or_out(page: str, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=page) as browser:
        form = {"name": "mallory", "password": PASSWORDS["mallory"]}
        assert "set-cookie" not in browser.post("/login", data=form, headers=headers).headers
        browser.post("/login", data={"name": "ann", "password": PASSWORDS["ann"]})
        browser.post("/logout", headers=headers)
        assert browser.get("/config").json() == "ann"


def test_a_cookie_is_no_bearer_token_and_the_other_way_round(page: str) -> None:
    with httpx.Client(base_url=page) as browser:
        browser.post("/login", data={"name": "ann", "password": PASSWORDS["ann"]})
        (name,) = (one for one in browser.cookies if "pass" in one)
        cookie = browser.cookies[name]
        assert browser.get("/api/v1/who").status_code == 401
        bearer = {"Authorization": f"Bearer {cookie}"}
        assert httpx.get(f"{page}/api/v1/who", headers=bearer).status_code == 401
        browser.cookies.clear()
        assert browser.get("/config", headers=bearer).status_code == 401


def test_the_page_of_one_person_is_shut_for_the_next_in_the_same_browser(page: str) -> None:
    with httpx.Client(base_url=page) as browser:
        browser.cookies.set(f"medsam-planner-browser-{httpx.URL(page).port}", "a" * 32)

        def join() -> httpx.Response:
            event = {"data": ["{}"], "fn_index": 0, "session_hash": "session1"}
            return browser.post("/gradio_api/queue/join", json=event)

        browser.post("/login", data={"name": "ann", "password": PASSWORDS["ann"]})
        assert join().json() == "ann"
        browser.post("/logout")
        browser.post("/login", data={"name": "mallory", "password": PASSWORDS["mallory"]})
        assert join().status_code == 403


def test_no_address_carries_a_secret(tmp_path: Path) -> None:
    with served(application(Access(token=TOKEN))) as address:
        for path in ("/", "/config", "/api/v1/who", "/nninteractive/who"):
            answer = httpx.get(address + path, params={"token": TOKEN})
            assert answer.status_code == 401 and "set-cookie" not in answer.headers


# ---- starting -------------------------------------------------------------------------------------------------------
def test_what_other_machines_reach_needs_a_login(tmp_path: Path) -> None:
    for options in ({"host": "0.0.0.0"}, {"trusted_proxy": "127.0.0.1"}):
        with pytest.raises(ConfigError, match="needs a secret"):
            Access(**options)  # type: ignore[arg-type]
        Access(**options, people=People(tmp_path))  # type: ignore[arg-type]


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="together"):
        Access(certificate=tmp_path / "a.pem")
    with pytest.raises(ConfigError, match="does not exist"):
        Access(certificate=tmp_path / "a.pem", private_key=tmp_path / "b.pem")


def test_users_are_managed_by_commands_that_take_no_password_as_an_argument(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def users(*arguments: str, password: str = "") -> tuple[int, str]:
        code = f"from medsam_planner.cli import main; main({['users', *arguments, '--data', str(tmp_path)]!r})"
        done = subprocess.run([sys.executable, "-c", code], input=password, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    code, said = users("add", "ann", "--role", "viewer", password="a long password\n")
    assert code == 0 and "first user" in said
    assert users("add", "bob", password="short\n")[0] == 2
    assert users("password", "ann", password="another long password\n")[0] == 0
    assert run(["users", "list", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == ["ann", "viewer"]
    assert Accounts(tmp_path / "users.json").check("ann", "another long password") is not None
    assert run(["users", "remove", "ann", "--data", str(tmp_path)]) == 0
    assert run(["users", "remove", "ann", "--data", str(tmp_path)]) == 2
    audit = (tmp_path / "audit.jsonl").read_text()
    assert audit.count("rights changed") == 3 and "long password" not in audit
