"""The routes beside the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from medsam_planner.cli.app import run
from medsam_planner.service.core.service import Service
from medsam_planner.service.pages import EvictedError, Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from tests.ui.serving import page_app
from tests.ui.test_handlers import lesion_box
from ui import canvas, segment_handlers, study_handlers


@pytest.fixture(scope="module")
def client(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = Settings(out=tmp_path_factory.mktemp("runs"), model=model, roots=(study_path.parent,))
    with page_app(settings) as app:
        yield TestClient(app, base_url="http://127.0.0.1")


@pytest.fixture
def workbench(client: TestClient, study_path: Path) -> Workbench:
    pages: Pages = client.app.state.pages  # type: ignore[attr-defined]
    begun = pages.begin("page")
    study_handlers.open_study(begun, str(study_path))
    return begun


def test_a_view_is_answered_to_whoever_holds_the_token(client: TestClient, workbench: Workbench) -> None:
    query = {"plane": "axial", "index": 20}
    answer = client.get(f"/views/{workbench.token}", params=query)
    assert answer.status_code == 200
    assert answer.json()["index"] == 20
    values = client.get(f"/slices/{workbench.token}", params=query)
    assert values.headers["x-value-type"] == "float32"  # the phantom's noise is no whole HU
    stored = workbench.require_work().study
    assert len(values.content) == 4 * stored.shape[1] * stored.shape[2]
    planes = canvas.scene(workbench)["planes"]
    assert planes["axial"]["letters"] == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert client.get("/slices/guessed", params=query).status_code == 404
    assert client.get("/views/guessed", params=query).status_code == 404
    assert client.get(f"/views/{workbench.token}", params={**query, "plane": "oblique"}).status_code == 422


@pytest.mark.parametrize("name", ["report.html", "export.zip", "prompts.json", "..%2Fprompts.json", "%2Fetc%2Fpasswd"])
def test_no_file_can_be_had_that_was_not_offered(client: TestClient, workbench: Workbench, name: str) -> None:
    workbench.change_steps("prompt", {"kind": "clear"})
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


def test_the_page_that_was_idle_longest_gives_way(service: Service) -> None:
    pages = Pages(service)
    first = pages.begin("first")
    for number in range(256):
        pages.begin(f"page {number}")
    with pytest.raises(EvictedError):
        pages.find(first.token)


def test_page_and_programs_are_one_application(client: TestClient, workbench: Workbench) -> None:
    """A session that was begun on the page is the one that programs see, and the other way round."""
    segment_handlers.on_viewer(workbench, lesion_box(workbench))
    address = f"/api/v1/sessions/{workbench.key}"
    (structure,) = client.get(address).json()["structures"]
    assert [one["kind"] for one in structure["prompts"]] == ["box"]
    assert client.get("/healthz").json() == {"ok": True}
    documented = client.get("/api/v1/openapi.json").json()["paths"]
    assert not any(path.startswith(("/views", "/alive", "/files", "/uploads")) for path in documented)

    held = client.post(f"{address}/lease", json={"take_over": True}).json()
    said = client.get(f"/alive/{workbench.token}")
    assert said.status_code == 409 and "another window" in said.json()["detail"]
    headers = {"Lease": held["lease"]}
    click = {"kind": "click", "position_lps_mm": [0.0, 0.0, 1.25], "positive": True}
    asked = {"structure": "vessel", "prompt": click}
    assert client.post(f"{address}/prompts", json=asked, headers=headers).status_code == 201
    assert client.delete(f"{address}/lease", headers=headers).status_code == 204

    assert client.get(f"/alive/{workbench.token}").json()["version"] > workbench.snapshot.version
    workbench.refresh()
    assert list(workbench.snapshot.structures) == ["structure 1", "vessel"]
    assert workbench.snapshot.structures["vessel"].previews
