"""The 3D view in a real browser: left is left, a click chooses a trajectory, the cut cuts; pictures without WebGL."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medsam_planner.service.workbench import Workbench
from tests.ui.browser import ARGUMENTS, PATIENCE_MS, Bench, Server
from tests.ui.given_results import give_ball
from tests.ui.test_planning import NUMBERS, aimed, with_vessel
from ui import plan_handlers

pytestmark = pytest.mark.browser

BALLS = {"L": (30.0, 0.0, 0.0), "A": (0.0, -24.0, 0.0), "S": (0.0, 0.0, 18.0)}
"""Where a marker lies, LPS mm: to the left, to the front, to the head."""
SEEN = {
    "A": ("+L", "+S"),
    "P": ("-L", "+S"),
    "L": ("-A", "+S"),
    "R": ("+A", "+S"),
    "H": ("-L", "+A"),
    "F": ("+L", "+A"),
}
"""Which side of the patient is right, and which is up, seen from each side."""
PLANES = {"axial": ("+L", "+A"), "coronal": ("+L", "+S"), "sagittal": ("-A", "+S")}
MM = {"L": 30.0, "A": 24.0, "S": 18.0}
LETTERS = {"A": "R L S I", "P": "L R S I", "L": "A P S I", "R": "P A S I", "H": "L R A P", "F": "R L A P"}


@pytest.fixture
def browser_arguments() -> list[str]:
    """With WebGL 2 in software."""
    return [*ARGUMENTS, "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


def study_of(path: Path, turn: NDArray[np.float64]) -> Path:
    """A block of one value in air around the origin, on a grid turned by `turn` (RAS), voxels of 2 × 2 × 3 mm."""
    shape = (61, 61, 25)
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[6:-6, 6:-6, 2:-2] = 0
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-2.0, 2.0, 3.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    nibabel.save(nibabel.Nifti1Image(hu, affine), path)
    return path


def rotation(*degrees: float) -> NDArray[np.float64]:
    """About x, y and z."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, other = (n for n in range(3) if n != axis)
        step = np.eye(3)
        step[[one, other], [one, other]] = np.cos(angle)
        step[one, other], step[other, one] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    return turn


def centroids(picture: bytes, colours: dict[str, str]) -> dict[str, NDArray[np.float64]]:
    """(x, y) of the pixels that have the hue of each colour, however they are lit."""
    rgb = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(np.float64)
    bright = rgb.max(axis=-1)
    unit = rgb / np.maximum(np.linalg.norm(rgb, axis=-1, keepdims=True), 1)
    found = {}
    for name, colour in colours.items():
        wanted = np.array([int(colour[n : n + 2], 16) for n in (1, 3, 5)], dtype=np.float64)
        like = (unit @ (wanted / np.linalg.norm(wanted)) > 0.995) & (bright > 90)
        y, x = np.nonzero(like)
        assert len(x) > 12, (name, len(x))
        found[name] = np.array([np.median(x), np.median(y)])
    return found


def along(side: str, name: str) -> float:
    """Millimetres of a marker along a direction such as ``"-L"``."""
    sign = 1.0 if side[0] == "+" else -1.0
    return sign * MM[name] if side[1] == name else 0.0


def changed(bench: Bench, change: Callable[[Workbench], None]) -> None:
    """Change the page's session on the server while the page is away, and come back."""
    bench.settled()
    workbench, address = bench.workbench, bench.page.url
    bench.page.goto("about:blank")
    bench.page.wait_for_timeout(500)
    change(workbench)
    workbench.give_back()
    bench.page.goto(address)
    bench.says("was restored")


def drawn(bench: Bench, surfaces: int) -> None:
    bench.page.wait_for_function(
        "count => Number(document.querySelector('[data-part=over]').dataset.surfaces) === count", arg=surfaces
    )
    bench.page.wait_for_timeout(400)  # one more frame


def pane(bench: Bench) -> Any:
    return bench.page.locator('[data-pane="3d"]')


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (9.0, -8.0, 11.0)], ids=["straight", "oblique"])
def test_left_is_left_in_every_plane_and_from_every_side_in_3d(
    serve: Callable[..., Server], open_bench: Callable[[Server], Bench], tmp_path: Path, degrees: tuple[float, ...]
) -> None:
    bench = open_bench(serve(study=study_of(tmp_path / "block.nii.gz", rotation(*degrees))))
    bench.is_open()

    def give(workbench: Workbench) -> None:
        give_ball(workbench, "L", BALLS["L"], 8)
        give_ball(workbench, "spare", (-30.0, 20.0, -18.0), 6)  # its colour is too like that of the crosshair
        for name in ("A", "S"):
            give_ball(workbench, name, BALLS[name], 8)

    changed(bench, give)
    drawn(bench, 4)
    colours = {one.name: one.colour for one in bench.workbench.snapshot.structures.values()}
    page = bench.page

    page.locator('[data-layout="4"]').click()
    page.locator("[data-tool=navigate]").click()
    for plane, (right, up) in PLANES.items():
        names = [side[1] for side in (right, up)]
        canvas = bench.canvas(plane)
        x, y = (json.loads(canvas.get_attribute("data-place"))[n] for n in (2, 3))
        bench.settled()
        found = centroids(_without_legend(canvas.screenshot()), {name: colours[name] for name in names})
        step = found[names[0]] - found[names[1]]
        wanted = np.array([along(right, names[0]) - along(right, names[1]), along(up, names[1]) - along(up, names[0])])
        assert (np.sign(step) == np.sign(wanted)).all(), (plane, step, wanted)
        if not any(degrees):
            spacing = (2.0, 2.0 if plane == "axial" else 3.0)
            assert step == pytest.approx(wanted * (x / spacing[0], y / spacing[1]), abs=6), plane

    page.locator('[data-plane="3d"]').click()
    page.locator('[data-layout="1"]').click()
    for side, (right, up) in SEEN.items():
        page.locator(f"[data-view={side}]").click()
        page.wait_for_function(
            "words => document.querySelector('[data-part=over]').dataset.letters === words", arg=LETTERS[side]
        )
        page.wait_for_timeout(300)
        found = centroids(pane(bench).locator("[data-part=stage]").screenshot(), colours)
        steps = np.array([found["L"] - found["A"], found["S"] - found["A"]])
        wanted = np.array(
            [[along(right, one) - along(right, "A"), along(up, "A") - along(up, one)] for one in ("L", "S")]
        )
        scale = float((steps * wanted).sum() / (wanted**2).sum())
        assert scale > 1, (side, steps, wanted)
        assert np.abs(steps / scale - wanted).max() < 2.5, (side, steps / scale, wanted)  # mm
    assert bench.complaints == [] and bench.foreign == []


def _without_legend(picture: bytes) -> bytes:
    """The legend of the large pane has the same colours."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.paste((0, 0, 0), (0, 0, 60, 100))
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


@pytest.fixture
def planned(serve: Callable[..., Server], open_bench: Callable[[Server], Bench], study_path: Path) -> Iterator[Bench]:
    """A page with a plan past the phantom's vessel."""
    bench = open_bench(serve(study=study_path))
    bench.is_open()
    assert "No surface yet: draw a box around a structure." in pane(bench).inner_text()

    def plan(workbench: Workbench) -> None:
        aimed(with_vessel(workbench))
        assert "path(s) found" in plan_handlers.find_paths(workbench, NUMBERS).notice

    changed(bench, plan)
    yield bench


def _drag_the_ends(bench: Bench) -> None:
    """In the review: the target moves parallel to the screen, the entry on the skin, and each is kept."""
    page, workbench = bench.page, bench.workbench
    page.get_by_role("tab", name="Review").click()
    over = page.locator("[data-part=over]")

    def drag(end: int, right: float, down: float) -> None:
        page.wait_for_function(
            "JSON.parse(document.querySelector('[data-part=over]').dataset.ends || '[]').length === 2"
        )
        page.wait_for_timeout(300)
        bounds, place = over.bounding_box(), json.loads(over.get_attribute("data-ends"))[end]
        x, y = bounds["x"] + place[0], bounds["y"] + place[1]
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + right, y + down, steps=5)

    def kept(than: object) -> dict[str, Any]:
        page.mouse.up()
        until = time.monotonic() + 120
        while time.monotonic() < until:
            page.wait_for_timeout(100)
            lines = list(workbench.snapshot.review.lines.values())
            if lines and lines[-1] != than:
                bench.settled()
                return dict(lines[-1])
        raise AssertionError("the path was not kept")

    plan = workbench.snapshot.plan
    assert plan is not None
    before = plan.alternatives[workbench.snapshot.chosen]
    page.locator("[data-view=H]").click()
    drag(1, 12, 0)
    first = kept(None)
    moved = np.array(first["target_lps_mm"]) - before.target_lps_mm
    assert moved[0] < -0.5 and np.abs(moved[1:]).max() < 0.2  # right on the screen is the right side

    page.locator("[data-view=R]").click()
    drag(0, 0, -14)
    x, y, z = map(float, page.locator("[data-rv=entry]").input_value().split())
    assert (x / 108) ** 2 + (y / 84) ** 2 == pytest.approx(1, abs=0.06)  # on the phantom's skin while it is dragged
    assert z > first["entry_lps_mm"][2] + 1
    second = kept(first)
    assert second["entry_lps_mm"][2] == pytest.approx(z, abs=3)


def test_a_plan_is_looked_at_in_3d(planned: Bench, tmp_path: Path) -> None:
    bench, page = planned, planned.page
    drawn(bench, 4)  # the vessel, its margin, the risk map, the rest of the skin
    page.locator("[data-part=enlarge]").last.click()
    page.wait_for_timeout(400)
    over, stage = page.locator("[data-part=over]"), pane(bench).locator("[data-part=stage]")

    page.locator("[data-view=H]").click()
    page.wait_for_timeout(300)
    lines = json.loads(over.get_attribute("data-lines"))
    assert len(lines) == len(bench.workbench.snapshot.plan.alternatives) > 1
    bounds = over.bounding_box()
    entries = np.array([entry[:2] for entry, _ in lines])
    number = int(np.argmax(np.linalg.norm(entries - entries[0], axis=1)))
    page.mouse.click(bounds["x"] + entries[number][0], bounds["y"] + entries[number][1])
    until = time.monotonic() + 60
    while bench.workbench.snapshot.chosen != number and time.monotonic() < until:
        page.wait_for_timeout(100)
    assert bench.workbench.snapshot.chosen == number
    bench.settled()

    page.locator("[data-view=R]").click()
    page.wait_for_timeout(300)
    whole = stage.screenshot()
    page.locator("[data-part=cut]").select_option("sagittal")
    page.wait_for_timeout(300)
    assert stage.screenshot() != whole
    page.locator("[data-part=cut]").select_option("off")
    page.wait_for_timeout(300)
    assert stage.screenshot() == whole
    page.mouse.move(bounds["x"] + 300, bounds["y"] + 200)
    page.mouse.down()
    page.mouse.move(bounds["x"] + 380, bounds["y"] + 240, steps=4)
    page.mouse.up()
    page.wait_for_function("document.querySelector('[data-part=over]').dataset.letters !== 'P A S I'")

    before = page.locator("[data-text=slice]").inner_text()
    page.locator("[data-view=R]").click()
    page.wait_for_timeout(300)
    page.mouse.click(bounds["x"] + bounds["width"] / 2, bounds["y"] + 0.8 * bounds["height"])
    page.wait_for_function("words => document.querySelector('[data-text=slice]').textContent !== words", arg=before)
    with page.expect_download() as download:
        page.locator("[data-part=glb]").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"glTF"
    _drag_the_ends(bench)
    over.dblclick(position={"x": 30, "y": 60})
    assert page.locator("[data-pane=axial]").is_visible()
    assert bench.complaints == [] and bench.foreign == []

    page.add_init_script(
        "const get = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...more) {"
        " return kind === 'webgl2' ? null : get.call(this, kind, ...more); };"
    )
    page.reload()
    page.wait_for_function(
        "document.querySelector('.mv-picture [data-text=told]')?.textContent === 'seen from A'", timeout=PATIENCE_MS
    )
    assert "no WebGL 2" in pane(bench).inner_text()
    assert pane(bench).locator("img").evaluate("one => one.naturalWidth") > 300
    assert bench.foreign == []
