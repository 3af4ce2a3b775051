"""The viewer in a real browser: left is left in every plane, the planes are linked, the hand and the keys work."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from prompts import Box, Click, Scribble
from tests.medsam_planner.io.dicom_series import write_ct_series
from tests.ui.browser import Bench, Server

pytestmark = pytest.mark.browser

SIDES = {"L": (30.0, 0.0, 0.0), "P": (0.0, 24.0, 0.0), "S": (0.0, 0.0, 18.0)}
"""Where a ball lies, LPS mm."""
HU = {"L": 200, "P": 400, "S": 600}
BESIDE = {"axial": ("L", "P"), "coronal": ("L", "S"), "sagittal": ("P", "S")}
"""Balls that a slice through the middle shows: one right or left of the middle, one above or below."""


def asymmetric(path: Path, orientation: str) -> Path:
    """Balls of their own HU to the left, to the back and to the head in a block; slices of 3 mm, pixels of 2 mm."""
    x, y, z = np.meshgrid(np.arange(-60, 61, 2.0), np.arange(-60, 61, 2.0), np.arange(-36, 37, 3.0), indexing="ij")
    hu = np.where(np.maximum(abs(x), abs(y)) < 50, 0, -1000)
    for side, centre in SIDES.items():
        hu[np.linalg.norm(np.stack([x, y, z], axis=-1) - centre, axis=-1) < 8] = HU[side]
    to_ras = np.diag([-2.0, -2.0, 3.0, 1.0])
    to_ras[:3, 3] = (60, 60, -36)
    image = nibabel.Nifti1Image(hu.astype(np.int16), to_ras)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(to_ras), nibabel.orientations.axcodes2ornt(tuple(orientation))
    )
    nibabel.save(image.as_reoriented(turn), path)
    return path


def value_under_mouse(bench: Bench) -> tuple[dict[str, float], int]:
    """What the page says of the place under the mouse: the mm by side, and the HU."""
    said = bench.page.locator("[data-text=cursor]").inner_text()
    found = re.findall(r"([LRAPSI]) (\d+\.\d)", said)
    return {side: float(mm) for side, mm in found}, int(re.findall(r"(-?\d+) HU", said)[0])


def opened(bench: Bench) -> Any:
    bench.is_open()
    bench.says("Draw a box")
    bench.settled()
    return bench.page


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SAL", "PIR"])
def test_left_is_left_in_every_plane_however_the_file_stores_it(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], tmp_path: Path, orientation: str
) -> None:
    bench = open_bench(serve(study=asymmetric(tmp_path / f"{orientation}.nii.gz", orientation)))
    page = opened(bench)
    for plane, balls in BESIDE.items():
        bounds = bench.canvas(plane).bounding_box()
        middle = (bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2)
        place = bench.canvas(plane).evaluate("one => JSON.parse(one.dataset.place)")
        spacing = (2.0, 2.0 if plane == "axial" else 3.0)
        per_mm = [step / mm for step, mm in zip(place[2:], spacing, strict=True)]
        assert per_mm[0] == pytest.approx(per_mm[1])  # drawn to scale
        for ball in balls:
            along = {"L": (30, 0), "P": (24, 0) if plane == "sagittal" else (0, 24), "S": (0, -18)}[ball]
            page.mouse.move(middle[0] + along[0] * per_mm[0], middle[1] + along[1] * per_mm[1])
            mm, hu = value_under_mouse(bench)
            assert hu == HU[ball], (plane, ball)
            assert mm[ball] == pytest.approx(max(SIDES[ball]), abs=3)

    page.keyboard.press("v")
    bench.page.mouse.click(*_at_ball(bench, "axial", (30, 0)))
    bench.settled()
    titles = {plane: page.locator(f"[data-pane={plane}] header span").inner_text() for plane in BESIDE}
    assert re.search(r"L (29|30|31)\.\d mm", titles["sagittal"]), titles  # the crosshair took the plane along
    page.keyboard.press("p")
    bench.page.mouse.click(*_at_ball(bench, "axial", (30, 0)))
    bench.has_prompts(1)
    (click,) = bench.workbench.structure.prompts
    assert isinstance(click, Click) and click.position_lps_mm[0] == pytest.approx(30, abs=2)
    assert bench.complaints == [] and bench.foreign == []


def _at_ball(bench: Bench, plane: str, along_mm: tuple[float, float]) -> tuple[float, float]:
    bounds = bench.canvas(plane).bounding_box()
    across = bench.canvas(plane).evaluate("one => JSON.parse(one.dataset.place)[2]") / 2.0
    return (
        bounds["x"] + bounds["width"] / 2 + along_mm[0] * across,
        bounds["y"] + bounds["height"] / 2 + along_mm[1] * across,
    )


def test_the_hand_and_the_keys_do_what_a_reading_room_expects(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = opened(bench)
    slice_text = page.locator("[data-text=slice]")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    x, y = bench.on_canvas(0, 0)
    page.mouse.move(x, y)

    picture = bench.canvas().screenshot()
    page.mouse.down(button="right")
    page.mouse.move(x + 40, y + 60, steps=4)
    page.mouse.up(button="right")
    assert page.locator("[data-control=window]").input_value() == "own"
    assert bench.canvas().screenshot() != picture
    assert not [url for url in asked if "/views/" in url or "/slices/" in url]  # the window is the browser's own
    page.keyboard.press("2")
    assert page.locator("[data-control=centre]").input_value() == "-600"
    page.keyboard.press("1")
    bench.canvas().blur()
    page.mouse.move(x, y)
    assert bench.canvas().screenshot() == picture

    before = bench.canvas().get_attribute("data-place")
    page.mouse.down(button="middle")
    page.mouse.move(x + 30, y, steps=3)
    page.mouse.up(button="middle")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    assert bench.canvas().get_attribute("data-place") != before
    page.locator("[data-control=body]").click()
    assert bench.canvas().get_attribute("data-place") == before

    assert slice_text.inner_text() == "slice 21 of 40"
    page.mouse.move(x, y)
    page.mouse.wheel(0, 100)
    page.wait_for_function("document.querySelector('[data-text=slice]').textContent === 'slice 22 of 40'")
    for key, number in (("PageUp", 12), ("End", 40), ("Home", 1), ("ArrowDown", 2), ("PageDown", 12)):
        page.keyboard.press(key)
        page.wait_for_function(
            "words => document.querySelector('[data-text=slice]').textContent === words", arg=f"slice {number} of 40"
        )

    page.get_by_role("tab", name="Plan").click()  # the focus is elsewhere
    page.keyboard.press("r")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y, steps=4)
    page.mouse.up()
    assert bench.count((255, 210, 74)) > 30
    page.keyboard.press("Delete")
    assert bench.count((255, 210, 74)) < 10
    page.locator("#max-angle-deg input").fill("4")
    page.keyboard.press("r")  # a text field keeps its keys
    page.keyboard.press("s")
    assert page.locator("[data-tool=ruler]").get_attribute("aria-pressed") == "true"

    page.locator("[data-pane=sagittal] header").dblclick()
    assert page.locator("[data-pane=axial]").is_hidden()
    page.locator("[data-pane=sagittal] header").dblclick()
    assert page.locator("[data-pane=axial]").is_visible()
    page.keyboard.press("?")
    page.get_by_role("dialog").get_by_text("Shift + arrows").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("dialog").is_hidden()
    assert bench.complaints == [] and bench.foreign == []


def test_prompts_are_placed_by_the_keyboard_alone_and_drawn_as_scribbles(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = opened(bench)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Enter")
    bench.has_prompts(1)
    page.keyboard.press("Alt+Enter")
    bench.has_prompts(2)
    first, second = bench.workbench.structure.prompts
    assert isinstance(first, Click) and first.positive and first.position_lps_mm[0] == pytest.approx(2.25)
    assert isinstance(second, Click) and not second.positive
    page.keyboard.press("Control+z")
    bench.has_prompts(1)
    page.keyboard.press("Control+y")
    bench.has_prompts(2)
    page.keyboard.press("s")
    bench.drag((-40, -10), (-20, -10))
    bench.has_prompts(3)
    page.keyboard.press("b")
    page.keyboard.down("Alt")
    page.mouse.click(*bench.on_canvas(30, 30))
    page.keyboard.up("Alt")
    bench.has_prompts(4)
    bench.drag((-50, -30), (-10, 10))
    bench.has_prompts(5)
    page.mouse.move(*bench.on_canvas(-50, -30))
    page.mouse.down()
    page.mouse.move(*bench.on_canvas(-20, 0), steps=4)
    page.keyboard.press("Escape")  # the box is given up while the button is held
    page.mouse.up()
    page.wait_for_timeout(500)
    bench.has_prompts(5)
    *_, line, outside, box = bench.workbench.structure.prompts
    assert isinstance(line, Scribble) and line.positive and len(line.positions_lps_mm) > 3
    assert isinstance(outside, Click) and not outside.positive
    assert isinstance(box, Box)
    assert bench.complaints == []


def test_the_banner_says_whom_a_dicom_study_is_of_until_it_is_hidden(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], tmp_path: Path
) -> None:
    hu = np.full((12, 40, 40), -1000, dtype=np.float32)
    hu[:, 8:32, 8:32] = 40
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 3, 2, 2, 1
    named = {"PatientName": "Roe^Jane", "PatientID": "0815", "StudyDate": "20240131", "SeriesDescription": "Abdomen"}
    write_ct_series(tmp_path / "study", hu, affine, **named)
    bench = open_bench(serve(study=tmp_path / "study"))
    page = opened(bench)
    banner = page.locator("[data-text=banner]")
    assert banner.inner_text() == "Roe, Jane · 0815 · 2024-01-31 · Abdomen"
    page.get_by_role("button", name="Hide patient").click()
    assert banner.inner_text() == "Patient hidden"
    page.reload()
    bench.says("was restored")
    assert banner.inner_text() == "Patient hidden"
    assert "Roe" not in page.locator(".mv-stage").inner_text()
