"""Who may do what: owners, grants, roles, and everybody else; over HTTP, on every route."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from medsam_planner.client import Client
from medsam_planner.service.settings import Settings
from tests.medsam_planner.service.rest import PASSWORDS, TOKEN, lesion_box, logged_in, people_of, serving

NAMES = tuple(PASSWORDS)


@dataclass
class World:
    """A server on which Paul has a study, a session with a 3D result, and a job."""

    address: str
    data: Path
    headers: dict[str, dict[str, str]]
    study: str
    session: str
    job: str

    def ask(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {**self.headers.get(who, {}), **options.pop("headers", {})}
        return httpx.request(method, f"{self.address}/api/v1{path}", headers=headers, timeout=60, **options)

    def grant(self, grants: dict[str, str], who: str = "paul") -> httpx.Response:
        return self.ask(who, "PUT", f"/studies/{self.study}/rights", json=grants)

    def audit(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self.data / "audit.jsonl").read_text().splitlines()]

    def names(self) -> dict[str, str]:
        return {"study": self.study, "session": self.session, "job": self.job, "plan": self.job}


@pytest.fixture(scope="module")
def world(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    settings = Settings(out=tmp_path_factory.mktemp("rights") / "data", model=model, roots=(study_path.parent,))
    with serving(settings, token=TOKEN, people=people_of(settings.out)) as address:
        headers = {name: logged_in(address, name) for name in NAMES} | {"token": {"Authorization": f"Bearer {TOKEN}"}}
        with Client(address, token=headers["paul"]["Authorization"].removeprefix("Bearer ")) as client:
            study = client.open_study(study_path.name)
            session = client.open_session(study)
            session.add("lesion", lesion_box())
            session.segment("lesion", samples=0)
            job = session.begin_segment("lesion", samples=0)
            session.wait(job)
            session.release()
        yield World(address, settings.out, headers, study.id, session.identifier, job)


@pytest.fixture(autouse=True)
def nothing_granted(world: World) -> None:
    assert world.grant({}).status_code == 200


FILLED = {"structure": "lesion", "file": "mask.nii.gz", "plane": "axial", "index": "3", "n": "1"}


def routes(world: World) -> list[tuple[str, str, str]]:
    """Method, path with Paul's identifiers, and the path as documented, of every route that names one of them."""
    document = world.ask("token", "GET", "/openapi.json").json()
    found = []
    for path, methods in document["paths"].items():
        names = re.findall(r"\{(\w+)\}", path)
        if not set(names) & set(world.names()):
            continue
        filled = path.removeprefix("/api/v1")
        for name in names:
            filled = filled.replace(f"{{{name}}}", {**world.names(), **FILLED}[name])  # a new name fails here
        found += [(method.upper(), filled, path) for method in methods]
    return found


BODIES: dict[str, Any] = {
    "/api/v1/sessions/{session}/lease": {"take_over": True},
    "/api/v1/sessions/{session}/prompts": {"structure": "lesion", "prompt": {}},
    "/api/v1/sessions/{session}/undo": {"structure": "lesion"},
    "/api/v1/sessions/{session}/redo": {"structure": "lesion"},
    "/api/v1/sessions/{session}/segment": {"structure": "lesion"},
    "/api/v1/sessions/{session}/exports": {"contents": ["prompts"]},
    "/api/v1/sessions/{session}/structures/{structure}": {"hidden": True},
    "/api/v1/sessions/{session}/structures/{structure}/name": {"name": "tumour"},
    "/api/v1/sessions/{session}/restore": {"n": 1},
    "/api/v1/sessions/{session}/order": {"structures": ["lesion"]},
    "/api/v1/studies/{study}/rights": {"mallory": "planner"},
    "/api/v1/sessions/{session}/plans": {
        "structures": [{"name": "lesion", "role": "avoid"}],
        "tools": [
            {"name": "needle", "radius_mm": 1.0, "entry": {"structure": "lesion"}, "target": {"structure": "lesion"}}
        ],
    },
    "/api/v1/sessions/{session}/plans/{plan}/measures": {"entry_lps_mm": [0, 0, 0], "target_lps_mm": [1, 1, 1]},
    "/api/v1/sessions/{session}/plans/{plan}/lines": {"entry_lps_mm": [0, 0, 0], "target_lps_mm": [1, 1, 1]},
    "/api/v1/sessions/{session}/plans/{plan}/undo": {},
    "/api/v1/sessions/{session}/plans/{plan}/redo": {},
    "/api/v1/sessions/{session}/plans/{plan}/decision": {"decision": "accepted"},
    "/api/v1/sessions/{session}/plans/{plan}/report": {},
    "/api/v1/sessions/{session}/project": {"reviewed": True},
    "/api/v1/sessions/{session}/clearance": {
        "tool": {"radius_mm": 1.0},
        "structures": [{"name": "lesion", "role": "avoid"}],
        "lines_lps_mm": [[[0, 0, 0], [1, 1, 1]]],
    },
}


def test_on_every_route_the_identifiers_of_another_are_as_if_they_were_not_there(world: World) -> None:
    known = routes(world)
    assert len(known) > 20
    for method, path, documented in known:
        body = BODIES.get(documented)
        assert body is not None or method in ("GET", "DELETE") or path.endswith("/lease"), f"no body for {documented}"
        theirs = world.ask("mallory", method, path, json=body, headers={"Lease": "guessed"})
        absent = path
        for identifier in world.names().values():
            absent = absent.replace(identifier, "0" * 32)
        nothing = world.ask("mallory", method, absent, json=body, headers={"Lease": "guessed"})
        assert (theirs.status_code, theirs.json()) == (nothing.status_code, nothing.json()), (method, path)
        assert theirs.status_code == 404 and theirs.json()["code"] == "not-there", (method, path, theirs.text)
        stranger = world.ask("nobody", method, path, json=body)
        assert stranger.status_code == 401, (method, path)


def test_no_list_tells_of_what_is_another_s(world: World) -> None:
    for path, identifier in (("/studies", world.study), ("/sessions", world.session)):
        assert identifier in world.ask("paul", "GET", path).text
        assert identifier in world.ask("adam", "GET", path).text
        assert world.ask("mallory", "GET", path).json() == []
        world.grant({"mallory": "viewer"})
        assert identifier in world.ask("mallory", "GET", path).text
        world.grant({})


def test_a_session_cannot_be_begun_on_a_study_of_another(world: World) -> None:
    asked = {"study": world.study}
    assert world.ask("mallory", "POST", "/sessions", json=asked).status_code == 404
    world.grant({"mallory": "viewer"})
    assert world.ask("mallory", "POST", "/sessions", json=asked).status_code == 403


def test_a_viewer_reads_everything_and_changes_nothing(world: World) -> None:
    world.grant({"vera": "planner", "mallory": "viewer"})  # Vera's own role is viewer: a grant does not raise it
    for who in ("vera", "mallory"):
        for path in (f"/sessions/{world.session}", f"/jobs/{world.job}", f"/jobs/{world.job}/events"):
            assert world.ask(who, "GET", path).status_code == 200
        file = f"/sessions/{world.session}/structures/lesion/mask.nii.gz"
        assert world.ask(who, "GET", file).status_code == 200
        assert world.ask(who, "GET", f"/sessions/{world.session}/slices/axial/3.png").status_code == 200
        for method, path, documented in routes(world):
            if method == "GET" or path.endswith(("/clearance", "/measures")):
                continue
            refused = world.ask(who, method, path, json=BODIES.get(documented), headers={"Lease": "guessed"})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), (method, path)
            assert "annotator" in refused.json()["detail"] or "owner" in refused.json()["detail"], refused.text


def test_an_annotator_prompts_and_does_not_plan(world: World) -> None:
    world.grant({"ann": "planner"})
    claimed = world.ask("ann", "POST", f"/sessions/{world.session}/lease", json={"take_over": True}).json()
    lease = {"Lease": claimed["lease"]}
    undone = world.ask("ann", "POST", f"/sessions/{world.session}/undo", json={"structure": "lesion"}, headers=lease)
    assert undone.status_code == 200
    redone = world.ask("ann", "POST", f"/sessions/{world.session}/redo", json={"structure": "lesion"}, headers=lease)
    assert redone.status_code == 200
    journal = (world.data / "sessions" / world.session / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line)["actor"] for line in journal[-2:]] == ["ann", "ann"]
    plan = BODIES["/api/v1/sessions/{session}/plans"]
    refused = world.ask("ann", "POST", f"/sessions/{world.session}/plans", json=plan, headers=lease)
    assert refused.status_code == 403 and "planner" in refused.json()["detail"]
    world.ask("ann", "DELETE", f"/sessions/{world.session}/lease", headers=lease)


def test_a_role_that_may_view_may_open_no_study(world: World, study_path: Path) -> None:
    refused = world.ask("vera", "POST", "/studies", json={"path": study_path.name})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    with study_path.open("rb") as file:
        assert world.ask("vera", "POST", "/studies", files={"file": file}).status_code == 403


def test_only_owner_and_administrators_grant(world: World) -> None:
    world.grant({"mallory": "planner"})
    assert world.grant({"mallory": "planner", "ann": "planner"}, who="mallory").status_code == 403
    assert world.grant({"ann": "viewer"}, who="adam").json() == {"owner": "paul", "grants": {"ann": "viewer"}}
    assert world.ask("paul", "GET", f"/studies/{world.study}/rights").json()["grants"] == {"ann": "viewer"}
    assert world.grant({"ann": "admin"}).status_code == 422
    assert world.grant({"../ann": "viewer"}).status_code == 422
    kept = json.loads((world.data / "studies" / world.study / "rights.json").read_text())
    assert kept == {"ann": "viewer"}


def test_the_audit_log_tells_who_did_what_and_names_no_patient(world: World, study_path: Path) -> None:
    told = world.audit()
    for event, actor, session in (
        ("login", "paul", None),
        ("opened", "paul", None),
        ("opened", "paul", world.session),
        ("changed", "paul", world.session),
        ("exported", "mallory", world.session),
        ("rights changed", "paul", None),
    ):
        assert any((one["event"], one["actor"], one.get("session")) == (event, actor, session) for one in told), event
    text = (world.data / "audit.jsonl").read_text()
    assert study_path.name not in text and "lesion" not in text
    assert (world.data / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_deleting_is_for_owner_and_administrators_and_spares_files_elsewhere(world: World, study_path: Path) -> None:
    opened = []  # uploads: a path that is opened again is the same study
    for _ in range(3):
        with study_path.open("rb") as file:
            opened.append(world.ask("paul", "POST", "/studies", files={"file": (study_path.name, file)}).json()["id"])
    sessions = [world.ask("paul", "POST", "/sessions", json={"study": one}).json()["id"] for one in opened]
    assert world.ask("ann", "DELETE", f"/studies/{opened[0]}").status_code == 404
    for who, study, session in zip(("paul", "adam", "token"), opened, sessions, strict=True):
        assert world.ask(who, "DELETE", f"/studies/{study}").status_code == 204
        for path in (f"/studies/{study}", f"/sessions/{session}"):
            assert world.ask("paul", "GET", path).status_code == 404
        assert not (world.data / "studies" / study).exists() and not (world.data / "sessions" / session).exists()
    assert study_path.exists()
    assert [one["actor"] for one in world.audit() if one["event"] == "deleted"][-3:] == ["paul", "adam", "token"]


def test_without_accounts_an_identifier_opens_and_lists_show_one_s_own(settings: Settings, study_path: Path) -> None:
    with serving(settings) as address, Client(address) as client:
        session = client.open_session(client.open_study(study_path.name)).identifier
    with serving(settings, token=TOKEN) as address, Client(address, token=TOKEN) as client:
        assert client.sessions() == [] and client.studies() == []
        client.continue_session(session)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        refused = httpx.delete(f"{address}/api/v1/sessions/{session}", headers=headers)
        assert refused.status_code == 403


def test_grants_that_cannot_be_read_let_nobody_in(settings: Settings, study_path: Path) -> None:
    from medsam_planner.errors import OutputError

    with serving(settings) as address, Client(address) as client:
        study = client.open_study(study_path.name).id
    (settings.out / "studies" / study / "rights.json").write_text('{"ann": "emperor"}')
    with pytest.raises(OutputError, match="Mend or delete"), serving(settings):
        pass
