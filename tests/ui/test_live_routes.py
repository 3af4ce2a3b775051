"""Routes of what follows a prompt: for the page that has the secret name, and for nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from medsam_planner.service import studies
from medsam_planner.service.core.options import Limits
from medsam_planner.service.settings import Settings
from tests.ui.serving import page_app, served


@pytest.fixture
def page(study_path: Path, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Address of a server and token of a page with the phantom open, on which nothing is prompted."""
    settings = Settings(out=tmp_path / "data", model="compact", roots=(study_path.parent,))
    with page_app(settings, Limits()) as app, served(app) as address:
        workbench = app.state.pages.begin("page")
        studies.open_study(workbench, str(study_path))
        yield address, workbench.token


def test_a_page_follows_is_switched_and_refuses_what_makes_no_sense(page: tuple[str, str]) -> None:
    address, token = page
    here = f"{address}/live/{token}"
    own = {"Origin": address}

    def ask(method: str, path: str = "", **options: object) -> httpx.Response:
        return httpx.request(method, here + path, headers=own, timeout=30, **options)  # type: ignore[arg-type]

    assert ask("POST").json()["state"] == "idle"
    assert ask("PUT", "?is_on=false").json()["state"] == "off"
    assert ask("GET").json()["state"] == "off"
    assert ask("PUT", "?is_on=true").json()["state"] == "idle"
    assert ask("DELETE").json()["state"] == "idle"
    assert ask("PUT", "?is_on=perhaps").status_code == 422
    assert ask("GET", "/strip?plane=axial").json()["filled"] == []
    assert ask("GET", "/strip?plane=oblique").status_code == 422
    assert ask("GET", "/answers").json() == {"is_pending": False, "structure": "structure 1", "answers": []}
    refused = ask("GET", "/next-clicks")
    assert refused.status_code == 200  # and not 404, which a page takes for its own end
    assert "not there yet" in refused.json()["detail"]


def test_other_names_and_other_sites_are_refused(page: tuple[str, str]) -> None:
    address, token = page
    for method, path in (
        ("GET", ""), ("POST", ""), ("PUT", "?is_on=false"), ("DELETE", ""),
        ("GET", "/strip?plane=axial"), ("GET", "/next-clicks"), ("GET", "/answers"),
    ):  # fmt: skip
        own, foreign = {"Origin": address}, {"Origin": "https://evil.example"}
        assert httpx.request(method, f"{address}/live/guessed{path}", headers=own).status_code == 404
        assert httpx.request(method, f"{address}/live/{token}{path}", headers=foreign).status_code == 403
    assert httpx.get(f"{address}/live/{token}", headers={"Origin": address}).json()["state"] == "idle"
