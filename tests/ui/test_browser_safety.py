"""The guarded page in a real browser: the secret, an upload, and a script that is not ours."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.service.access import Access
from medsam_planner.service.settings import Settings
from medsam_planner.service.uploads import UploadKind
from tests.ui.serving import page_app, served

pytestmark = pytest.mark.browser
TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of Debian's Chromium, or of Chrome."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs Chromium (apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        opened = browser.new_page()
        opened.set_default_timeout(120_000)
        yield opened
        browser.close()


def test_a_person_logs_in_uploads_a_study_and_no_foreign_script_runs(
    page: Any, model: str, study_path: Path, tmp_path: Path
) -> None:
    settings = Settings(out=tmp_path / "runs", model=model)
    complaints: list[str] = []
    with page_app(settings, access=Access(token=TOKEN)) as app, served(app) as address:
        page.goto(address)
        page.locator("#token").fill("a wrong one")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("not the token").wait_for()
        page.locator("#token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.wait_for_function("document.querySelector('#upload button')?.disabled === false")
        page.locator("#upload input").set_input_files(study_path)
        page.wait_for_function("document.querySelector('[data-text=slice]')?.textContent.includes(' of ')")
        assert page.locator("#path textarea, #path input").first.input_value() == f"uploaded/{study_path.name}"
        assert str(study_path.parent) not in page.content()
        assert complaints == []
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.foreign = 1\">')")
        page.wait_for_timeout(300)
        assert page.evaluate("window.foreign") is None
        (workbench,) = app.state.pages._by_token.values()
        assert workbench.uploads.find(UploadKind.STUDY) is not None
