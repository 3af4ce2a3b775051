"""The routes beside the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from medsam_planner.cli.app import run
from medsam_planner.service.sessions import Sessions
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from ui import study_handlers
from ui.app import build_app


@pytest.fixture(scope="module")
def client(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    settings = Settings(out=tmp_path_factory.mktemp("runs"), model=model, roots=(study_path.parent,))
    return TestClient(build_app(settings), base_url="http://127.0.0.1")


@pytest.fixture
def workbench(client: TestClient, study_path: Path) -> Workbench:
    sessions: Sessions = client.app.state.sessions  # type: ignore[attr-defined]
    begun = sessions.begin("page")
    study_handlers.open_study(begun, str(study_path))
    return begun


def test_a_view_is_answered_to_whoever_holds_the_token(client: TestClient, workbench: Workbench) -> None:
    query = {"plane": "axial", "index": 20, "centre": 40, "width": 400}
    answer = client.get(f"/views/{workbench.token}", params=query)
    assert answer.status_code == 200
    assert answer.json()["letters"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert client.get("/views/guessed", params=query).status_code == 404
    assert client.get(f"/views/{workbench.token}", params={**query, "plane": "oblique"}).status_code == 422


@pytest.mark.parametrize("name", ["report.html", "run.zip", "prompts.json", "..%2Fprompts.json", "%2Fetc%2Fpasswd"])
def test_no_file_can_be_had_that_was_not_offered(client: TestClient, workbench: Workbench, name: str) -> None:
    workbench.save()
    assert client.get(f"/files/{workbench.token}/{name}").status_code in (404, 405)


def test_another_host_name_is_not_answered_on_loopback(client: TestClient) -> None:
    """A page from elsewhere whose name was pointed at 127.0.0.1 must not reach the workbench."""
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


def test_the_page_names_no_other_server_and_asks_for_no_analytics(client: TestClient) -> None:
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert all("googleapis" not in sheet for sheet in config["stylesheets"])


def test_the_command_refuses_a_study_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ui", str(tmp_path / "absent"), "--out", str(tmp_path)]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_the_page_that_was_idle_longest_gives_way(settings: Settings) -> None:
    sessions = Sessions(replace(settings, study=None))
    first = sessions.begin("first")
    for number in range(16):
        sessions.begin(f"page {number}")
    assert first.token not in sessions._by_token
