"""Brush, eraser and operations on the mask in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.service.display import Plane
from tests.medsam_planner.service.phantom import LESION_LPS_MM, LESION_RADIUS_MM
from tests.ui.browser import Bench, Server
from tests.ui.test_browser import LESION_MM, YELLOW

pytestmark = pytest.mark.browser

REACH = LESION_RADIUS_MM + 3


def volume(bench: Bench) -> int:
    hand = bench.workbench.structure.hand
    assert hand is not None and hand.is_exact
    return int(np.count_nonzero(hand.whole()))


def test_a_person_paints_erases_and_keeps_an_island(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve())
    page = bench.page
    bench.path.fill(str(study_path))
    page.locator("#open").click()
    bench.is_open()
    bench.says("Draw a box")
    bench.drag((LESION_MM[0] - REACH, LESION_MM[1] - REACH), (LESION_MM[0] + REACH, LESION_MM[1] + REACH))
    bench.says("dashed outline")
    page.locator("#samples input[type=number]").fill("0")
    page.locator("#samples input[type=number]").press("Enter")
    page.locator("#run").click()
    page.wait_for_function("document.querySelector('#result')?.textContent.includes(' ml')")
    bench.settled()
    lesion = int(np.count_nonzero(bench.workbench.structure.result.mask.array))

    bench.canvas().focus()
    page.keyboard.press("d")
    page.wait_for_selector("[data-bar=brush]:not([hidden])")
    page.keyboard.press("]")
    page.keyboard.press("]")
    assert float(page.locator("[data-control=brush-radius]").input_value()) == pytest.approx(7.2)
    before = bench.count(YELLOW)
    bench.drag((LESION_MM[0] + 40, LESION_MM[1] + 20), (LESION_MM[0] + 60, LESION_MM[1] + 40))
    bench.says("Only what you painted changed")
    bench.settled()
    assert bench.count(YELLOW) > before + 100  # its outline
    painted = volume(bench)
    # a stadium: two half discs and a rectangle, in pixels of 1.5 mm
    expected = (np.pi * 7.2**2 + 2 * 7.2 * np.hypot(20, 20)) / 1.5**2
    assert painted - lesion == pytest.approx(expected, rel=0.05)

    column, row, _ = bench.workbench.snapshot.displays[Plane.CORONAL].screen_from_lps(LESION_LPS_MM)
    page.keyboard.press("v")
    page.mouse.click(*bench.on_canvas(*LESION_MM))  # the other planes go through the lesion
    bench.settled()
    page.keyboard.press("x")
    page.mouse.click(*bench.pixel("coronal", column, row))
    page.wait_for_function("document.querySelector('.mv-busy').hidden")
    bench.settled()
    erased = volume(bench)
    assert erased < painted
    page.keyboard.press("Control+z")
    page.wait_for_function("!document.querySelector('#redo').disabled")
    bench.settled()
    assert volume(bench) == painted

    page.locator("[data-tool=island]").click()
    page.mouse.click(*bench.on_canvas(LESION_MM[0] + 50, LESION_MM[1] + 30))
    bench.says(f"{lesion} voxels changed")
    assert volume(bench) == painted - lesion
    page.locator("#undo").click()
    page.wait_for_function("!document.querySelector('#redo').disabled")
    bench.settled()
    page.locator("#edit-mask button").first.click()
    page.locator("#operate").click()
    bench.says("voxels changed")
    assert volume(bench) == lesion
    assert not bench.complaints and not bench.foreign
