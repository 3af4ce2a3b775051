"""The page as a person feels it, in Debian's Chromium: from the hand's event to what it shows, on a server of its own.

Studies are those of :mod:`benchmarks.large_study`, of 20 and of 400 slices of 512 × 512 voxels. Times are taken inside
the browser, from the event to the moment at which what it asked for is drawn. Each stands beside the bare round trip of
the same run, a request for ``/healthz`` from the page. The 3D mask follows a prompt after the hand has rested for 0.4 s
(``ui/viewer/live.js``), which its times include. The dragged path is that of :mod:`benchmarks.review`. Run:
``python -m benchmarks.ui`` or ``make bench-ui`` (a quarter of an hour on two cores; ``--quick`` a few minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.large_study import write_study
from benchmarks.review import planned
from benchmarks.server import running, told
from medsam_planner.service import reviewing, studies
from medsam_planner.service.core.service import Service
from medsam_planner.service.display import Plane
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench

_WATCH = """() => {
  const root = document.querySelector('[data-state]'), bench = window.bench = { at: 0, version: 0, drawn: 0 };
  const begin = () => Object.assign(bench, { at: performance.now(), version: Number(root.dataset.version), drawn: 0 });
  for (const type of ['wheel', 'pointerup']) document.addEventListener(type, begin, true);
  new MutationObserver(() => {
    if (root.dataset.state === 'ready' && !bench.drawn) bench.drawn = performance.now();
    if (root.dataset.state !== 'ready') bench.drawn = 0;
  }).observe(root, { attributes: true, attributeFilter: ['data-state', 'data-version'] });
}"""
_BARE = """async count => {
  const times = [];
  for (let n = 0; n < count; n++) {
    const at = performance.now();
    await (await fetch('healthz', { cache: 'no-store' })).text();
    times.push((performance.now() - at) / 1000);
  }
  return times;
}"""
_READY = "document.querySelector('[data-state]')?.dataset.state === 'ready'"
_FOLLOWED = """() => {
  const root = document.querySelector('[data-live]'), words = document.querySelector('[data-text=live]');
  const bench = Object.assign(window.bench, { mask: 0, passes: 0, began: {} });
  bench.watcher?.disconnect();
  bench.watcher = new MutationObserver(() => {
    const now = performance.now(), isAtWork = ['waiting', 'running'].includes(root.dataset.live);
    const task = isAtWork ? words.textContent.split(' ')[0] : '';
    bench.began[task] = true;
    if (bench.began['3D'] && !bench.mask && task !== '3D') bench.mask = now;
    if (bench.began.uncertainty && !bench.passes && task !== 'uncertainty') bench.passes = now;
  });
  const all = { subtree: true, attributes: true, characterData: true, childList: true, attributeFilter: ['data-live'] };
  bench.watcher.observe(root, all);
}"""
_IDLE = "document.querySelector('[data-live]')?.dataset.live === 'idle'"
_MASKED = "() => bench.passes && [bench.at, bench.mask, bench.passes]"
_READ = """() => {
  const reading = document.querySelector('[data-rv=reading]'), { bench } = window;
  document.addEventListener('pointermove', () => { bench.moved = bench.moved || performance.now(); }, true);
  new MutationObserver(() => {
    if (bench.moved && !bench.read && !reading.classList.contains('rv-stale')) bench.read = performance.now();
  }).observe(reading, { subtree: true, childList: true, characterData: true, attributes: true });
}"""
_SHOWN = "document.querySelector('[data-rv=reading]:not(.rv-stale)')?.textContent.includes('limited by')"
_IS_KEPT = f"{_SHOWN} && !document.querySelector('[data-rv=reading]').textContent.includes('being computed')"
_SCROLLED = "() => bench.drawn > bench.at && bench.drawn"
_OUTLINED = """() => Number(document.querySelector('[data-state]').dataset.version) > bench.version
  && document.querySelector('.mv-busy').hidden && bench.drawn > bench.at && bench.drawn"""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often each thing is measured."""

    loads: int = 5
    round_trips: int = 200
    wheels: int = 60
    clicks: int = 20
    masks: int = 5
    moves: int = 30


QUICK = Repeats(loads=2, round_trips=50, wheels=20, clicks=6, masks=2, moves=10)


Pixel = tuple[float, float]
"""Column and row of a pixel of a slice as it is shown."""


def on_screen(page: Any, pixel: Pixel) -> tuple[float, float]:
    """Where a pixel of the axial slice that is shown is in the browser."""
    canvas = page.locator("[data-pane=axial] canvas")
    bounds = canvas.bounding_box()
    x0, y0, across, down = json.loads(canvas.get_attribute("data-place"))
    return bounds["x"] + x0 + (pixel[0] + 0.5) * across, bounds["y"] + y0 + (pixel[1] + 0.5) * down


@contextmanager
def browser() -> Iterator[Any]:
    """Debian's Chromium, or Chrome."""
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        sys.exit("Expected a browser: install Debian's chromium.")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Person:
    """An open page and the hand on it."""

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        self.page.set_default_timeout(600_000)
        self.page.goto(address)
        self.page.wait_for_function(_READY)
        self.first_load_s = float(self.page.evaluate("performance.now()")) / 1000
        self.page.evaluate(_WATCH)
        bounds = self.page.locator("[data-pane=axial] canvas").bounding_box()
        self._middle = (bounds["x"] + bounds["width"] / 2, bounds["y"] + bounds["height"] / 2)

    def bare(self, count: int) -> list[float]:
        """Seconds of requests that do nothing."""
        times: list[float] = self.page.evaluate(_BARE, count)
        return times

    def wheel(self) -> float:
        """Scroll one slice; seconds until it is drawn in its plane."""
        self.page.mouse.move(*self._middle)
        self.page.mouse.wheel(0, 100)
        return self._seconds(_SCROLLED)

    def click(self, right_px: float, down_px: float) -> float:
        """Click inside the organ; seconds until its outline is drawn."""
        self.page.mouse.click(self._middle[0] + right_px, self._middle[1] + down_px)
        return self._seconds(_OUTLINED)

    def followed(self, right_px: float, down_px: float) -> tuple[float, float]:
        """Click inside the organ; seconds until its 3D mask is there, and until its uncertainty is."""
        self.page.wait_for_function(_IDLE)
        self.page.evaluate(_FOLLOWED)
        self.page.mouse.click(self._middle[0] + right_px, self._middle[1] + down_px)
        at, mask, passes = self.page.wait_for_function(_MASKED, polling=20).json_value()
        return (mask - at) / 1000, (passes - at) / 1000

    def hold(self, end: Pixel) -> tuple[float, float]:
        """Take an end of the shown path in the hand, in the review; its place in the browser."""
        self.page.get_by_role("tab", name="Review").click()
        self.page.wait_for_function(_IS_KEPT)
        place = on_screen(self.page, end)
        self.page.mouse.move(*place)
        self.page.mouse.down()
        self.page.mouse.move(place[0] + 6, place[1] + 2, steps=3)  # beyond a tremor
        self.page.evaluate(_READ)
        return place

    def move(self, x: float, y: float) -> float:
        """Move what is in the hand; seconds until the path is read there."""
        self.page.wait_for_function(_SHOWN)
        self.page.evaluate("() => Object.assign(bench, { moved: 0, read: 0 })")
        self.page.mouse.move(x, y)
        self.page.wait_for_function("() => bench.read", polling=5)
        return float(self.page.evaluate("bench.read - bench.moved")) / 1000

    def _seconds(self, condition: str) -> float:
        drawn = self.page.wait_for_function(condition, polling=5).json_value()
        return float(drawn - self.page.evaluate("bench.at")) / 1000


def measure(slices: int, repeats: Repeats, folder: Path) -> None:
    """Print the table of a study of so many slices."""
    study = folder / f"ct-{slices}.nii"
    write_study(study, slices=slices)
    print(f"\n512 × 512 × {slices} voxels, {512 * 512 * slices * 4 / 2**20:.0f} MiB as float32")
    print(f"{'':46}{'n':>6}{'median s':>11}{'p95 s':>11}{'beyond bare':>13}")
    with running(["ui", str(study)], folder / f"data-{slices}") as server, browser() as opened:
        people = [Person(opened, server.address) for _ in range(repeats.loads)]
        person = people[-1]
        bare = person.bare(repeats.round_trips)
        told("bare round trip", bare, median(bare))
        told("first load with its study", [one.first_load_s for one in people], median(bare))
        told("wheel → slice", times(person.wheel, repeats.wheels), median(bare))
        random = np.random.default_rng(0)
        person.page.keyboard.press("p")
        clicks = times(lambda: person.click(*random.uniform(-8, 8, 2)), repeats.clicks)
        told("first click → outline", clicks[:1], median(bare))
        told("click → outline", clicks[1:], median(bare))
        masks = [person.followed(*random.uniform(-8, 8, 2)) for _ in range(repeats.masks)]
        told("click → 3D mask", [mask for mask, _ in masks], median(bare))
        told("click → 3D mask with its uncertainty", [passes for _, passes in masks], median(bare))
        person.page.close()
    key, entry = reviewed(study, folder / f"review-{slices}")
    with running(["ui"], folder / f"review-{slices}") as server, browser() as opened:
        person = Person(opened, f"{server.address}/#{key}")
        x, y = person.hold(entry)
        moves = random.uniform(-6, 6, (repeats.moves, 2))
        told("drag → clearance", [person.move(x + right, y + down) for right, down in moves], median(bare))


def reviewed(study: Path, data: Path) -> tuple[str, Pixel]:
    """Make a plan in a data folder; its session, and where its path enters on the axial slice."""
    service = Service(Settings(out=data, roots=(study.parent,)))
    try:
        workbench = Workbench(service)
        studies.open_study(workbench, str(study))
        _, entry = planned(workbench)
        reviewing.plan_at_once(workbench, {})
        workbench.give_back()
        column, row, _ = workbench.snapshot.displays[Plane.AXIAL].screen_from_lps(entry)
        return workbench.require_work().identifier, (float(column), float(row))
    finally:
        service.close()


def times(work: Callable[[], float], count: int) -> list[float]:
    """Call it so often."""
    return [work() for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--slices", type=int, nargs="+", default=[20, 400])
    asked = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        for slices in asked.slices:
            measure(slices, QUICK if asked.quick else Repeats(), Path(folder))


if __name__ == "__main__":
    main()
