"""The page in a real browser: it asks for nothing, its switches work without scripts, and it prints."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.report import PlanReport, write_report

# Not checkVisibility(), which calls SVG groups without display visible.
IS_DISPLAYED = "element => getComputedStyle(element).display !== 'none'"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def opened(make_report: Callable[..., PlanReport], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install -e .[dev])")
    browser_path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if browser_path is None:
        pytest.skip("needs Chromium: install it or set CHROMIUM to its path")
    path = write_report(make_report(), tmp_path_factory.mktemp("page") / "report.html")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1240, "height": 900})
        page.set_default_timeout(300_000)  # a busy machine may take minutes to draw what takes a second
        page.requested, page.complaints = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.goto(path.as_uri())
        yield page
        browser.close()


def test_nothing_is_requested_and_nothing_complains(opened: Any) -> None:
    assert [url for url in opened.requested if not url.startswith(("file:", "data:"))] == []
    assert opened.complaints == []
    broken = "Array.from(document.images).filter(image => !image.complete || !image.naturalWidth).length"
    assert opened.evaluate(broken) == 0


def test_one_overlay_shows_at_a_time_with_its_own_colour_bar(opened: Any) -> None:
    shown = """key => [
        Array.from(document.querySelectorAll('image.layer-' + key)).filter(DISPLAYED).length,
        Array.from(document.querySelectorAll('.for-' + key)).filter(DISPLAYED).length]""".replace(
        "DISPLAYED", IS_DISPLAYED
    )
    for chosen in ("saliency-0", "uncertainty"):
        opened.check(f"#show-{chosen}")
        for key in ("uncertainty", "saliency-0", "saliency-1"):
            layers, bars = opened.evaluate(shown, key)
            assert (layers > 3, bars) == ((True, 1) if key == chosen else (False, 0)), (chosen, key)
    opened.check("#show-nothing")
    assert opened.evaluate(shown, "uncertainty") == [0, 0]


def test_outlines_margins_and_tool_can_be_taken_away(opened: Any) -> None:
    for kind in ("mask", "margin", "tool"):
        count = f"Array.from(document.querySelectorAll('.lines-{kind}')).filter({IS_DISPLAYED}).length"
        assert opened.evaluate(count) > 0
        opened.uncheck(f"#lines-{kind}")
        assert opened.evaluate(count) == 0
        opened.check(f"#lines-{kind}")


def test_slices_are_shown_with_square_pixels(opened: Any) -> None:
    ratios = opened.evaluate(
        """Array.from(document.querySelectorAll('figure svg')).map(svg => {
            const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
            return (box.width / view.width) / (box.height / view.height); })"""
    )
    assert len(ratios) >= 19
    assert max(abs(ratio - 1) for ratio in ratios) < 0.01


def test_the_page_fits_a_narrow_window_and_prints(opened: Any, tmp_path: Path) -> None:
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    opened.set_viewport_size({"width": 1240, "height": 900})
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 703, "height": 1000})  # A4 less 12 mm on each side
    columns = "getComputedStyle(document.querySelector('.panels.three')).gridTemplateColumns.split(' ').length"
    assert opened.evaluate(columns) == 3
    assert opened.evaluate("getComputedStyle(document.querySelector('.switches')).display") == "none"
    assert opened.evaluate("document.documentElement.scrollWidth") <= 703
    widest = "Math.max(...Array.from(document.querySelectorAll('table')).map(t => t.getBoundingClientRect().right))"
    assert opened.evaluate(widest) <= 703
    printed = tmp_path / "report.pdf"
    opened.pdf(path=str(printed), format="A4", print_background=True)
    assert printed.read_bytes().startswith(b"%PDF")
