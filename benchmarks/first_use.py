"""A new user's first case: a trunk CT from upload to three reviewed structures and an accepted needle plan.

A hand with real mouse and key events does in Debian's Chromium what a person does who has not read the README. Every
click, drag, turn of the wheel and key is counted, every step timed and photographed. Where a person looks for a
structure, the hand looks into the reference masks of the case; each structure gets one loose box on its middle slice
and one click in its middle. Run: ``python -m benchmarks.first_use [STUDY] --out DIR``, STUDY being a folder with
``image.nii.gz``, ``labels.nii.gz`` and ``meta.json`` as in the shared data (a quarter of an hour on two busy cores).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

from benchmarks.server import running
from benchmarks.ui import browser, on_screen
from medsam_planner.io import load_volume
from medsam_planner.service.display import Plane, SliceDisplay, display_for
from medsam_planner.volumes import StudyVolume

CASE = Path(__file__).resolve().parents[2] / "shared/data/cases/ct_trunk_totalseg_siemens"
NAMES = ("liver", "inferior vena cava", "aorta")
AVOIDED = NAMES[1:]
BOX_LOOSE_PX = 3
SKIN_HU = -300
SETTLED = """() => document.querySelector('.mv-busy').hidden
  && document.querySelector('[data-state]')?.dataset.state === 'ready'"""
AT_REST = """() => document.querySelector('.mv-busy').hidden
  && ['idle', 'stopped', 'failed', 'off'].includes(document.querySelector('[data-live]')?.dataset.live)
  && document.querySelector('[data-state]')?.dataset.state === 'ready'"""
SAYS = "words => document.querySelector('#notice')?.textContent.includes(words)"


@dataclass
class Step:
    """What a step of the way cost."""

    name: str
    clicks: int = 0
    drags: int = 0
    wheels: int = 0
    keys: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class Person:
    """An open page, the hand on it, and what that did.

    Parameters
    ----------
    page : playwright.sync_api.Page
    out : Path
        Folder of the pictures.
    """

    def __init__(self, page: Any, out: Path) -> None:
        self.page, self.out = page, out
        self.steps: list[Step] = []
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count and time a step, and take a picture at its end."""
        step = Step(name)
        self.steps.append(step)
        start = time.perf_counter()
        try:
            yield
        finally:
            step.seconds = time.perf_counter() - start
            self.picture(name)

    def picture(self, name: str) -> None:
        """Photograph the screen as it is."""
        number = len(list(self.out.glob("*.png"))) + 1
        self.page.screenshot(path=self.out / f"{number:02d}-{name.replace(' ', '-')}.png")

    def wait(self, condition: str, arg: object = None) -> None:
        """Wait for the page."""
        start = time.perf_counter()
        self.page.wait_for_function(condition, arg=arg)
        self.steps[-1].waited += time.perf_counter() - start

    # ---- the hand -----------------------------------------------------------------------------------------------
    def press(self, found: Any) -> None:
        """Click a control; it has to be on the screen, or the wheel brings it there."""
        place = found.first
        place.wait_for()
        if not self._is_on_screen(place):
            self.steps[-1].wheels += 1
            place.scroll_into_view_if_needed()
        self.steps[-1].clicks += 1
        place.click()

    def _is_on_screen(self, place: Any) -> bool:
        box, size = place.bounding_box(), self.page.viewport_size
        return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= size["height"]

    def button(self, name: str) -> None:
        """Press a button by its words."""
        self.press(self.page.get_by_role("button", name=name, exact=True))

    def tab(self, name: str) -> None:
        """Open a tab."""
        self.press(self.page.get_by_role("tab", name=name))

    def choose(self, found: Any, value: str) -> None:
        """Choose in a list: one click opens it, one chooses."""
        self.press(found)
        self.page.keyboard.press("Escape")
        self.steps[-1].clicks += 1
        found.first.select_option(value)

    def write(self, text: str, *, then: str = "") -> None:
        """Type where the caret is."""
        self.page.keyboard.type(text)
        self.steps[-1].keys += len(text)
        if then:
            self.key(then)

    def key(self, name: str) -> None:
        """Press a key."""
        self.page.keyboard.press(name)
        self.steps[-1].keys += 1

    def click(self, place: tuple[float, float], button: str = "left") -> None:
        """Click on a slice."""
        self.steps[-1].clicks += 1
        self.page.mouse.click(*place, button=button)

    def drag(self, first: tuple[float, float], last: tuple[float, float]) -> None:
        """Drag from one place to another."""
        self.steps[-1].drags += 1
        self.page.mouse.move(*first)
        self.page.mouse.down()
        self.page.mouse.move(*last, steps=8)
        self.page.mouse.up()

    # ---- the slices ---------------------------------------------------------------------------------------------
    def scroll_to(self, number: int) -> None:
        """Turn the wheel over the axial slice, notch by notch, until a slice is there."""
        bounds = self.page.locator("[data-pane=axial] canvas").bounding_box()
        self.page.mouse.move(bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2)
        while (now := self._slice()) != number:
            self.page.mouse.wheel(0, 100 if now < number else -100)
            self.steps[-1].wheels += 1
            self.wait("was => document.querySelector('[data-text=slice]').textContent !== was", self._slice_words())
            self.wait(SETTLED)

    def _slice_words(self) -> str:
        words: str = self.page.locator("[data-text=slice]").inner_text()
        return words

    def _slice(self) -> int:
        return int(self._slice_words().split()[1]) - 1


@dataclass(frozen=True)
class Seen:
    """What a person sees in the study: structures of the reference, on axial slices as the page shows them."""

    study: StudyVolume
    display: SliceDisplay
    labels: NDArray[np.integer]
    numbers: dict[str, int]

    @classmethod
    def of(cls, case: Path) -> Seen:
        """Read a case of the shared data."""
        study, labels = load_volume(case / "image.nii.gz"), load_volume(case / "labels.nii.gz")
        numbers = json.loads((case / "meta.json").read_text(encoding="utf-8"))["label_names"]
        named = {name.replace("_", " "): int(number) for number, name in numbers.items()}
        display = display_for(study, Plane.AXIAL)
        return cls(study, display, np.rint(labels.array).astype(np.int32), named)

    def plane(self, name: str, number: int) -> NDArray[np.bool_]:
        """A structure on a slice, (rows, columns) as on the screen."""
        return self.display.picture(self.labels == self.numbers[name], number)

    def middle_slice(self, name: str) -> int:
        """The middle one of the slices on which a structure is."""
        axes = tuple(axis for axis in range(3) if axis != self.display.axis)
        return int(np.median(np.nonzero((self.labels == self.numbers[name]).any(axis=axes))[0]))

    def box(self, name: str, number: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Corners (column, row) of a loose box."""
        rows, columns = np.nonzero(self.plane(name, number))
        low = columns.min() - BOX_LOOSE_PX, rows.min() - BOX_LOOSE_PX
        return low, (columns.max() + BOX_LOOSE_PX, rows.max() + BOX_LOOSE_PX)

    def inside(self, name: str, number: int) -> tuple[float, float]:
        """The (column, row) that lies deepest in a structure."""
        depth = distance_transform_edt(self.plane(name, number))
        row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
        return float(column), float(row)

    def skin_beside(self, place: tuple[float, float], number: int) -> tuple[float, float]:
        """Where the skin of the trunk is on the left of the screen, in the row of a place; arms are no way in."""
        parts, _ = label(self.display.picture(np.asarray(self.study.array), number) > SKIN_HU)
        trunk = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
        return float(np.flatnonzero(trunk[round(place[1])])[0]), place[1]


def journey(person: Person, case: Path, seen: Seen, address: str) -> None:
    """Go the whole way."""
    page = person.page
    with person.step("open the page"):
        page.goto(address)
        page.wait_for_selector("#viewer canvas")
        person.wait("() => document.querySelector('#open')?.disabled === false")
    with person.step("upload"):
        upload = page.locator("#upload button").first
        with page.expect_file_chooser() as chooser:
            person.press(upload)
        person.steps[-1].clicks += 2  # the file, and “Open”
        chooser.value.set_files(case / "image.nii.gz")
        person.wait("() => document.querySelector('[data-text=slice]')?.textContent.includes(' of ')")
        person.wait(SETTLED)
    for place, name in enumerate(NAMES):
        annotate(person, seen, name, is_first=place == 0)
    with person.step("roles"):
        for name in AVOIDED:
            person.choose(page.get_by_label(f"Role of {name} in the plan"), "avoid")
        person.wait(SETTLED)
    with person.step("wait for the uncertainty"):
        person.wait(AT_REST)
    plan(person, seen)
    review(person, seen)
    with person.step("export"):
        person.tab("Export")
        person.button("Prepare download")
        person.wait("() => document.querySelector('#download a')")
        with page.expect_download() as download:
            person.press(page.locator("#download a"))
        download.value.save_as(person.out / "export.zip")
    with person.step("reload and find it again"):
        page.reload()
        person.steps[-1].keys += 1
        person.wait(SAYS, "was restored")
        person.wait(SETTLED)
        person.tab("Review")
        person.wait("() => document.querySelector('[data-rv=decision]')?.textContent.includes('Accepted')")


def annotate(person: Person, seen: Seen, name: str, *, is_first: bool) -> None:
    """Box, click and 3D mask of one structure."""
    page, number = person.page, seen.middle_slice(name)
    with person.step(f"{name} box"):
        if not is_first:
            person.press(page.locator("#new-name input"))
            person.write(name, then="Enter")
            person.wait(SAYS, "Now prompting")
        person.scroll_to(number)
        first, last = seen.box(name, number)
        person.drag(on_screen(page, first), on_screen(page, last))
        person.wait(SAYS, "dashed outline")
        person.wait(SETTLED)
    with person.step(f"{name} click"):
        person.click(on_screen(page, seen.inside(name, number)))
        page.wait_for_timeout(300)
        person.wait(SETTLED)
    if is_first:
        with person.step(f"{name} name"):
            person.steps[-1].clicks += 2
            page.locator(".mv-active-row button.mv-name").dblclick()
            page.wait_for_selector(".mv-structures input.mv-name")
            person.write(name, then="Enter")
            person.wait("name => document.querySelector('.mv-active-row button.mv-name')?.textContent === name", name)
    with person.step(f"{name} 3D"):
        person.wait(
            "name => [...document.querySelectorAll('.mv-structures > li')].some("
            "one => one.textContent.includes(name) && one.textContent.includes(' ml'))",
            name,
        )
        person.wait(SETTLED)


def plan(person: Person, seen: Seen) -> None:
    """Target, entry, preset and paths."""
    page, number = person.page, seen.middle_slice("liver")
    target = seen.inside("liver", number)
    with person.step("target and entry"):
        person.tab("Plan")
        person.scroll_to(number)
        person.button("Set target")
        person.click(on_screen(page, target))
        person.wait(SAYS, "Target set")
        person.wait(SETTLED)
        person.click(on_screen(page, seen.skin_beside(target, number)))
        person.wait(SAYS, "Entry set")
        person.wait(SETTLED)
    with person.step("preset"):
        person.press(page.locator("#procedure input"))
        person.press(page.get_by_role("option", name="liver needle"))
        person.wait(SAYS, "were entered")
    with person.step("find paths"):
        person.button("Find paths")
        person.wait("() => document.querySelector('#alternatives, #plan-summary .mv-verdict, #notice .mv-error')")
        person.wait(SETTLED)


def review(person: Person, seen: Seen) -> None:
    """Read, move one end, decide."""
    page = person.page
    read = "() => /certified/.test(document.querySelector('[data-rv=reading]:not(.rv-stale)')?.textContent)"
    with person.step("review"):
        person.tab("Review")
        person.wait(read)
        person.wait(SETTLED)
    with person.step("drag the entry"):
        last = page.locator("[data-rv=entry]").input_value()
        x, y = entry_on_screen(page, seen)
        person.drag((x, y), (x - 2, y - 8))
        person.wait("last => document.querySelector('[data-rv=entry]').value !== last", last)
        person.wait(SAYS, "placed by hand")
        person.wait(read)
        person.wait(SETTLED)
    if page.locator("[data-rv=reading].rv-breach").count():
        with person.step("take the move back"):
            person.button("Undo move")
            person.wait("() => !document.querySelector('[data-rv=reading]').matches('.rv-breach')")
            person.wait(SETTLED)
    with person.step("accept"):
        person.press(page.locator("[data-rv=name]"))
        person.write("Ada Lovelace")
        person.button("Accept the shown path")
        person.wait("() => document.querySelector('[data-rv=decision]')?.textContent.startsWith('Accepted')")
        person.wait(SETTLED)


def entry_on_screen(page: Any, seen: Seen) -> tuple[float, float]:
    """Where the entry of the shown path is on the axial slice in the browser."""
    entry = [float(value) for value in page.locator("[data-rv=entry]").input_value().split()]
    column, row, _ = seen.display.screen_from_lps(np.array(entry))
    return on_screen(page, (float(column), float(row)))


def table(steps: list[Step], told: Callable[[str], None] = print) -> None:
    """Print what each step cost."""
    told(f"{'step':28}{'clicks':>8}{'drags':>7}{'wheel':>7}{'keys':>6}{'seconds':>9}{'waited':>8}")
    for one in [*steps, total(steps)]:
        row = f"{one.name:28}{one.clicks:8}{one.drags:7}{one.wheels:7}{one.keys:6}{one.seconds:9.1f}{one.waited:8.1f}"
        told(row)


def total(steps: list[Step]) -> Step:
    """The sum of all."""
    whole = Step("together")
    for name in ("clicks", "drags", "wheels", "keys", "seconds", "waited"):
        setattr(whole, name, sum(getattr(one, name) for one in steps))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, nargs="?", default=CASE, help="folder of a case with reference masks")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures; its old ones are removed")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for old in asked.out.glob("*.png"):
        old.unlink()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    seen = Seen.of(asked.study)
    with running(["ui"], asked.out / f"data-{time.time_ns()}") as server, browser() as opened:
        context = opened.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
        person = Person(context.new_page(), asked.out)
        person.page.set_default_timeout(600_000)
        try:
            journey(person, asked.study, seen, server.address)
        finally:
            person.picture("end")
            table(person.steps)
            print("complaints of the page:", person.complaints or "none")


if __name__ == "__main__":
    main()
