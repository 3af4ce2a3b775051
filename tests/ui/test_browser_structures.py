"""The list of structures, lasso, 3D box and a mask to begin from, in a real browser."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from medsam_planner.io import save_nifti
from prompts import Box, InitialMask
from tests.ui.browser import Bench, Server
from tests.ui.test_structure_list import ball

LESION_MM = (-30.0, -10.0)


def test_structures_are_named_prompted_and_kept_over_a_reload(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path, tmp_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = bench.page
    bench.is_open()
    bench.says("Draw a box")
    new = page.locator("#new-name input")
    new.fill("lesion")
    new.press("Enter")
    bench.says("Now prompting")
    bench.settled()

    page.keyboard.press("Escape")
    page.locator("[data-tool=lasso]").click()
    x, y = bench.on_canvas(*LESION_MM)
    page.mouse.move(x + 60, y)
    page.mouse.down()
    for part in range(1, 13):
        page.mouse.move(x + 60 * math.cos(part * math.pi / 6), y + 60 * math.sin(part * math.pi / 6))
    page.mouse.up()
    bench.has_prompts(1)
    bench.settled()

    page.locator("[data-tool=box3d]").click()
    bench.drag((-50, -30), (-10, 10))
    page.wait_for_selector("[data-bar=box3d]:not([hidden])")
    page.keyboard.press("Enter")
    bench.has_prompts(2)
    bench.settled()
    assert [isinstance(one, Box) for one in bench.workbench.structure.prompts] == [True, True]
    assert "3D box" in page.locator(".mv-prompts").inner_text()
    page.keyboard.press("End")  # away from the prompts
    page.locator(".mv-prompts button", has_text="2D box").click()
    page.wait_for_function("document.querySelector('[data-pane=axial] header').textContent.includes('21 / 40')")
    page.get_by_label("Remove + 2D box · axial slice 21").click()
    bench.has_prompts(1)
    bench.settled()

    page.locator("#begin-from button").first.click()
    save_nifti(ball(), tmp_path / "ball.nii.gz")
    page.locator("#mask-upload input[type=file]").set_input_files(tmp_path / "ball.nii.gz")
    bench.says("begins from the mask")
    bench.settled()
    assert isinstance(bench.workbench.structure.prompts[0], InitialMask)

    name = page.locator("#structures button.mv-name", has_text="lesion")
    name.press("F2")
    page.keyboard.type("target")
    page.keyboard.press("Enter")
    bench.says("Renamed")
    bench.settled()
    page.get_by_label("Anatomy of target").fill("liver tumor")
    page.evaluate("document.querySelector('#structures .mv-eye').click()")  # its answer arrives while that is typed
    until = time.monotonic() + 60
    while not bench.workbench.structure.listed.is_hidden and time.monotonic() < until:
        page.wait_for_timeout(50)
    bench.settled()
    assert page.get_by_label("Anatomy of target").input_value() == "liver tumor"
    page.get_by_label("Anatomy of target").press("Enter")
    page.wait_for_function("document.querySelector('#structures').textContent.includes('Neoplasm')")
    page.get_by_label("Role of target in the plan").select_option("avoid")
    new.fill("second")
    new.press("Enter")
    bench.says("‘second’")
    bench.settled()
    page.locator("#structures button.mv-name", has_text="second").press("Alt+ArrowUp")
    page.wait_for_function("document.querySelector('#structures button.mv-name').textContent === 'second'")
    assert page.locator("#structures .mv-hidden-row").count() == 1
    page.locator("#structures button.mv-name", has_text="second").press("Delete")
    bench.says("was deleted")
    bench.settled()

    page.reload()
    bench.says("was restored")
    page.wait_for_function("document.querySelectorAll('#structures button.mv-name').length === 1")
    page.locator("#structures button", has_text="Restore").click()
    page.wait_for_function("document.querySelectorAll('#structures button.mv-name').length === 2")
    listed = bench.workbench.require_work().state.listed
    assert list(listed) == ["second", "target"]
    assert (listed["target"].is_hidden, listed["target"].anatomy, listed["target"].role.value) == (
        True,
        "liver tumor",
        "avoid",
    )
    assert bench.foreign == []
    assert bench.complaints == []
