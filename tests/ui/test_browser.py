"""The page in a real browser: what a person does, from the path of a study to the opened report."""

from __future__ import annotations

import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medsam_planner.service.core.actors import Actor
from medsam_planner.service.pages import Pages
from medsam_planner.service.workbench import Workbench
from prompts import Click
from tests.medsam_planner.service.phantom import LESION_LPS_MM, LESION_RADIUS_MM
from tests.ui.browser import PATIENCE_MS, Bench, Server
from tests.ui.test_calibrated_margins import calibration_file

pytestmark = pytest.mark.browser

CONTRAST = """button => {
  const light = (text) => {
    const parts = text.match(/[0-9.]+/g).slice(0, 3).map((part) => part / 255);
    const [r, g, b] = parts.map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const style = getComputedStyle(button);
  const [low, high] = [light(style.backgroundColor), light(style.color)].sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
}"""  # WCAG 2.2, 1.4.3
YELLOW = (240, 228, 66)  # the first structure's colour
RED = (214, 58, 58)  # a negative click
LESION_MM = (float(LESION_LPS_MM[0]), float(LESION_LPS_MM[1]))
VESSEL_MM = (-62.0, -24.0)
PATH = (125, 255, 154)  # the tool


def test_a_person_segments_corrects_and_reads_the_maps(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve())
    page = bench.page
    assert "Research use only" in page.locator("#head").inner_text()
    bench.path.fill(str(study_path.with_name("absent.nii.gz")))
    page.locator("#open").click()
    bench.says("does not exist")
    bench.path.fill(str(study_path))
    page.locator("#open").click()
    bench.is_open()
    bench.says("Draw a box")
    bench.settled()
    before = bench.count(YELLOW)

    reach = LESION_RADIUS_MM + 3
    bench.drag((LESION_MM[0] - reach, LESION_MM[1] - reach), (LESION_MM[0] + reach, LESION_MM[1] + reach))
    bench.says("dashed outline")
    bench.settled()
    assert bench.count(YELLOW) > before + 100  # the outline of the preview

    page.mouse.click(*bench.on_canvas(LESION_MM[0] - 30, LESION_MM[1]), button="right")
    page.wait_for_function("!document.querySelector('#undo').disabled")
    bench.page.wait_for_function("document.querySelector('.mv-busy').hidden")
    bench.settled()
    assert bench.count(RED) > 30
    page.locator("#undo").click()
    page.wait_for_function("!document.querySelector('#redo').disabled")
    bench.settled()
    assert bench.count(RED) < 10

    page.locator("#samples input[type=number]").fill("4")
    page.locator("#samples input[type=number]").press("Enter")
    assert not page.locator("#saliency input").is_checked()
    page.locator("#saliency input").check()
    page.locator("#run").click()
    page.wait_for_function("document.querySelector('#result')?.textContent.includes(' ml')")
    assert "stopped at slice" in page.locator("#result").inner_text()
    bench.settled()
    for overlay in ("fill", "probability", "uncertainty", "boundary_spread_mm", "saliency"):
        picture = bench.canvas().screenshot()
        page.locator("[data-control=overlay]").select_option(overlay)
        bench.settled()
        assert bench.canvas().screenshot() != picture, overlay
    for plane in ("coronal", "sagittal", "axial"):
        page.locator(f"[data-plane={plane}]").click()
        bench.settled()
        assert (
            page.locator("[data-text=slice]")
            .inner_text()
            .endswith({"axial": "40"}.get(plane, "8" if plane == "coronal" else "0"))
        )
    bench.canvas().focus()
    shown = page.locator("[data-text=slice]").inner_text()
    page.keyboard.press("ArrowDown")
    page.wait_for_function("shown => document.querySelector('[data-text=slice]').textContent !== shown", arg=shown)
    bench.settled()
    assert bench.foreign == []
    assert bench.complaints == []


def test_a_person_chooses_what_the_uncertainty_comes_from(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = bench.page
    bench.is_open()
    bench.says("Draw a box")
    reach = LESION_RADIUS_MM + 3
    bench.drag((LESION_MM[0] - reach, LESION_MM[1] - reach), (LESION_MM[0] + reach, LESION_MM[1] + reach))
    bench.says("dashed outline")
    sources, planes = page.locator("#sources"), page.locator("#sources label", has_text="planes")
    assert planes.count() == 0
    page.locator("#triplanar input").check()
    planes.click()
    sources.locator("label", has_text="jitter").click()
    page.locator("#triplanar input").uncheck()
    planes.wait_for(state="detached")  # and its tick went with it
    page.locator("#samples input[type=number]").fill("0")
    page.locator("#samples input[type=number]").press("Enter")
    page.wait_for_function("document.querySelector('#sources input').disabled")
    page.locator("#samples input[type=number]").fill("2")
    page.locator("#samples input[type=number]").press("Enter")
    page.wait_for_function("!document.querySelector('#sources input').disabled")
    page.locator("#run").click()
    bench.says(" ml")
    assert "2 stochastic passes: model (dropout) and prompt (jitter)." in page.locator("#result").inner_text()
    result = bench.workbench.structure.result
    assert result is not None and result.provenance.uncertainty == "dropout+jitter"
    for name in ("jitter", "dropout"):
        sources.locator("label", has_text=name).click()
    page.locator("#run").click()
    bench.says("Tick at least one source")
    assert bench.complaints == []


def test_what_is_typed_and_pressed_before_the_page_is_ready_is_not_lost(
    serve: Callable[..., Server],
    open_bench: Callable[[Server], Bench],
    study_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_begin = threading.Event()
    begin = Pages.begin

    def begin_when_allowed(pages: Pages, page: str, actor: Actor) -> Workbench:
        may_begin.wait(PATIENCE_MS / 1000)
        return begin(pages, page, actor)

    monkeypatch.setattr(Pages, "begin", begin_when_allowed)
    bench = open_bench(serve())
    page = bench.page
    # The doors are shut and look it: whoever types or presses now, sees that nothing is taken.
    assert page.locator("#open").is_disabled()
    assert not bench.path.is_editable()
    assert page.locator("#resume button").first.is_disabled()
    page.locator("#open").click(force=True)
    # Another way in says that the page is not ready, and not that its work is gone.
    page.get_by_role("tab", name="Segment").click()
    page.locator("#new-name input, #new-name textarea").first.fill("vessel")
    page.keyboard.press("Enter")
    bench.says("still being opened")
    page.get_by_role("tab", name="Study").click()
    threading.Timer(2.0, may_begin.set).start()
    bench.path.fill(str(study_path))  # waits, as a person must, until the field can be typed in
    page.locator("#open").click()
    bench.is_open()
    bench.says("Draw a box")
    assert bench.path.input_value() == str(study_path)
    bench.settled()
    assert bench.complaints == []


def test_work_is_found_after_a_reload_a_restart_and_when_it_was_put_aside(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    server = serve(study=study_path)
    bench = open_bench(server)
    page = bench.page
    bench.is_open()
    bench.says("Draw a box")
    x, y = bench.on_canvas(40, 40)
    for number in range(12):
        page.mouse.click(x + 8 * number, y, button="right")
        time.sleep(0.04)
    bench.says("where the structure is not")
    bench.has_prompts(12)
    places = [prompt.position_lps_mm for prompt in bench.workbench.structure.prompts]
    assert places == sorted(places)  # in the order of the hand
    assert len({y for _, y, _ in places}) == 1  # and the picture did not move under it

    page.get_by_role("tab", name="Plan").click()
    page.locator("#max-angle-deg input").fill("45")
    page.route("**/alive/**", lambda route: route.abort())
    page.wait_for_selector("[data-bar=lost]:not([hidden])")
    page.unroute("**/alive/**")
    page.wait_for_selector("[data-bar=lost]", state="hidden")
    page.wait_for_timeout(6000)
    bench.says("where the structure is not")  # nothing was missed: nothing was restored over what it says
    assert page.locator("#find").is_visible()  # the page is as the person left it
    assert page.locator("#max-angle-deg input").input_value() == "45"
    bench.has_prompts(12)

    page.reload()
    bench.says("was restored")
    bench.has_prompts(12)
    assert page.locator("#undo").is_enabled()

    shown = page.locator("[data-text=slice]").inner_text()
    server.stop()
    page.wait_for_selector("[data-bar=lost]:not([hidden])")
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(3000)
    assert page.locator("[data-bar=lost]").is_visible()
    assert page.locator("[data-text=slice]").inner_text() == shown  # the picture did not change either
    bench.server = server.again()
    page.wait_for_selector("[data-bar=lost]", state="hidden")
    bench.has_prompts(12)
    bench.settled()

    bench.server.pages._forget(bench.workbench.token)
    bench.has_prompts(12)  # the page comes back by itself
    bench.settled()
    page.mouse.click(x, y + 40, button="right")
    bench.has_prompts(13)

    other = page.context.new_page()
    other.goto(server.address)
    other.locator("#earlier input").first.click()
    other.wait_for_function("document.querySelector('#notice')?.textContent.includes('was restored')")
    page.wait_for_selector("[data-bar=elsewhere]:not([hidden])")
    other.wait_for_timeout(2000)  # the study of the command line, which was being opened, does not come over it
    assert "was restored" in other.locator("#notice").inner_text()
    assert other.locator("#undo").is_enabled()


def test_a_trembling_hand_clicks_and_a_drag_of_the_right_button_means_nothing(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = bench.page
    bench.is_open()
    bench.says("Draw a box")
    page.locator("#stop").click()
    bench.says("No computation is running")
    x, y = bench.on_canvas(*LESION_MM)
    page.mouse.move(x, y)
    page.mouse.down(button="right")
    page.mouse.move(x + 60, y, steps=3)
    page.mouse.up(button="right")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 5, y, steps=3)
    page.mouse.up()
    bench.has_prompts(1)
    (prompt,) = bench.workbench.structure.prompts
    assert isinstance(prompt, Click) and prompt.positive
    page.set_viewport_size({"width": 1280, "height": 500})
    page.evaluate("window.scrollTo(0, 300)")
    top, bottom = page.locator(".mv-research").evaluate(
        "one => { const at = one.getBoundingClientRect(); return [at.top, at.bottom]; }"
    )
    assert page.evaluate("window.scrollY") > 0
    assert 0 <= top < bottom <= 500
    for tab, name in (("Plan", "#find"), ("Segment", "#run"), ("Segment", "#stop"), ("Segment", "#undo")):
        page.get_by_role("tab", name=tab).click()
        assert page.locator(name).evaluate(CONTRAST) >= 4.5, name


def test_two_people_do_not_see_each_others_prompts(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path
) -> None:
    server = serve(study=study_path)
    one, other = open_bench(server), open_bench(server)
    for bench in (one, other):
        bench.is_open()
        bench.says("Draw a box")
        bench.settled()
    one.page.mouse.click(*one.on_canvas(*LESION_MM), button="right")
    one.says("where the structure is not")
    one.settled()
    assert one.count(RED) > 30
    assert other.count(RED) < 10
    assert other.page.locator("#undo").is_disabled()


def test_a_plan_is_found_and_its_report_opened(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path, tmp_path: Path
) -> None:
    bench = open_bench(serve(study=study_path))
    page = bench.page
    bench.is_open()
    bench.says("Draw a box")
    page.locator("#new-name input, #new-name textarea").first.fill("vessel")
    page.keyboard.press("Enter")
    bench.says("Now prompting")
    bench.settled()
    x, y = VESSEL_MM
    bench.drag((x - 8, y - 8), (x + 8, y + 8))
    bench.says("dashed outline")
    page.locator("#samples input[type=number]").fill("2")
    page.locator("#samples input[type=number]").press("Enter")
    page.locator("#run").click()
    bench.says(" ml")
    page.get_by_label("Role of vessel in the plan").select_option("avoid")
    page.wait_for_function("document.querySelector('.mv-busy').hidden")

    page.get_by_role("tab", name="Plan").click()
    page.locator("[data-tool=target]").click()
    page.mouse.click(*bench.on_canvas(*LESION_MM))
    bench.says("Target set")
    bench.settled()
    page.mouse.click(*bench.on_canvas(-105, -4))  # the page has turned to "Set entry" by itself
    bench.says("Entry set")
    page.locator("#find").click()
    bench.says("path(s) found")
    bench.settled()
    assert "vessel" in page.locator("#alternatives").inner_text()
    assert bench.count(PATH, reach=120) > 50
    assert "rule of thumb" in page.locator("#margins").inner_text()
    with page.context.expect_page(timeout=120_000) as opened:
        page.locator("#links a", has_text="Open the report").click()
    report = opened.value
    report.wait_for_load_state()
    assert "Research use only" in report.inner_text("body")
    assert "Feasible" in report.inner_text("body")
    page.get_by_role("tab", name="Export").click()
    page.locator("#contents label", has_text="label map").click()
    page.locator("#export").click()
    page.wait_for_selector("#download a")
    with page.expect_download() as download:
        page.locator("#download a").click()
    download.value.save_as(tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert {"plan.json", "report.html", "prompts.json", "labels.nii.gz"} <= set(archive.namelist())
    page.get_by_role("tab", name="Plan").click()
    page.locator("#calibration input[type=file]").set_input_files(calibration_file(tmp_path, weights_sha256="other"))
    page.wait_for_function("document.querySelector('#calibration').textContent.includes('json')")
    page.locator("#find").click()
    bench.says("the weights the calibration was made with")
    page.locator("#max-angle-deg input").fill("45")
    page.locator("#avoid-bone input").uncheck()
    page.locator("#find").click()
    bench.says("the weights the calibration was made with")
    page.wait_for_function("document.querySelector('.mv-busy').hidden")
    page.reload()  # and what was asked for is there again
    bench.says("was restored")
    page.get_by_role("tab", name="Plan").click()
    page.wait_for_function("document.querySelector('#max-angle-deg input').value === '45'")
    assert not page.locator("#avoid-bone input").is_checked()
    page.wait_for_function("document.querySelector('#calibration').textContent.includes('json')")
    assert bench.foreign == []
    assert bench.complaints == []
