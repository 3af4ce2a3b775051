"""In a browser: a prompt and its 3D mask in the background, another answer that supersedes it, the next best click."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.medsam_planner.service.phantom import LESION_LPS_MM, LESION_RADIUS_MM
from tests.ui.browser import ARGUMENTS, Bench, Server

pytestmark = pytest.mark.browser

X, Y = LESION_LPS_MM[:2].tolist()
REACH = LESION_RADIUS_MM + 3
RESULT = "document.querySelector('#result')?.textContent"
STRIP = "[data-part=strip]"
OTHER = "[data-part=answers] [data-answer='2'][aria-pressed=true]"


@pytest.fixture
def browser_arguments() -> list[str]:
    """With WebGL 2 in software."""
    return [*ARGUMENTS, "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


def follows(bench: Bench, state: str) -> None:
    bench.page.wait_for_function("state => document.querySelector('[data-live]')?.dataset.live === state", arg=state)


def says_of_the_mask(bench: Bench, words: str) -> None:
    bench.page.wait_for_function(
        "words => document.querySelector('[data-text=live]').textContent.includes(words)", arg=words
    )


def set_passes(bench: Bench, count: int) -> None:
    field = bench.page.locator("#samples input[type=number]")
    field.fill(str(count))
    field.press("Enter")
    until = time.monotonic() + 60
    while time.monotonic() < until:
        live = bench.workbench.require_work().state.page.get("live") or {}
        if live.get("samples") == count:
            return
        bench.page.wait_for_timeout(50)
    raise AssertionError(f"{count} passes were not set")


def test_the_3d_mask_follows_a_prompt_another_answer_and_a_reload(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = bench.page
    bench.is_open()
    bench.says("Draw a box")
    bench.settled()
    set_passes(bench, 32)
    bench.drag((X - REACH, Y - REACH), (X + REACH, Y + REACH))
    bench.says("dashed outline")
    page.wait_for_function("document.querySelectorAll('[data-part=answers]:not([hidden]) button').length === 2")

    # Nobody presses "Segment in 3D": the mask comes, then its uncertainty.
    says_of_the_mask(bench, "uncertainty of ‘structure 1’")
    page.wait_for_function(r"/: \d+ of \d+ slices/.test(document.querySelector('[data-text=live]').textContent)")
    assert page.locator(STRIP).get_attribute("aria-label").startswith("Mask on slices")

    # Another answer supersedes what is computed of the first; only what belongs to it stays.
    set_passes(bench, 4)
    bench.canvas().focus()
    page.keyboard.press("o")
    page.wait_for_selector(OTHER)
    page.wait_for_function(f"{RESULT}.includes('4 stochastic passes')")
    follows(bench, "idle")
    assert not bench.workbench.structure.is_stale
    page.wait_for_function("document.querySelector('[data-part=over]').dataset.surfaces === '1'")
    assert "dashed outline" in page.locator("#notice").inner_text()  # the message that is being read stays

    strip = page.locator(STRIP).bounding_box()
    page.mouse.move(strip["x"] + 2, strip["y"] + 12)
    assert page.locator("[data-part=strip-tip]").inner_text() == "Slice 1 · outside the mask"
    page.mouse.click(strip["x"] + 2, strip["y"] + 12)
    page.wait_for_function("document.querySelector('[data-text=slice]').textContent === 'slice 1 of 40'")
    page.keyboard.press("n")
    page.wait_for_function("document.querySelector('[data-text=next]').textContent.startsWith('1 of ')")
    page.wait_for_function("document.querySelector('[data-text=slice]').textContent !== 'slice 1 of 40'")

    page.reload()
    bench.says("was restored")
    page.wait_for_selector(OTHER, state="attached")
    page.wait_for_function(f"{RESULT}.includes('4 stochastic passes')")
    page.wait_for_function("document.querySelector('[data-part=over]').dataset.surfaces === '1'")
    follows(bench, "idle")

    page.locator("[data-control=live]").click()  # switched off
    follows(bench, "off")
    bench.drag((X - REACH, Y - REACH), (X + REACH, Y + REACH))
    bench.has_prompts(2)
    page.wait_for_timeout(1000)
    assert bench.workbench.structure.is_stale
    assert bench.foreign == []
    assert bench.complaints == []
