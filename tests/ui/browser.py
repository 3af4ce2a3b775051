"""The workbench in a real browser: servers, open pages, and what a hand does on them."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.service import Service
from medsam_planner.service.pages import Pages
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from tests.free_port import free_port
from tests.medsam_planner.service.phantom import SHAPE

__all__ = ["ARGUMENTS", "PATIENCE_MS", "Bench", "Server", "browser_arguments", "chromium", "open_bench", "serve"]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE_MS = 300_000
"""Nothing waits longer than it must; a busy machine may take minutes over what takes seconds."""


@pytest.fixture(scope="module")
def chromium() -> str:
    """Debian's Chromium, or Chrome."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("needs Chromium (apt install chromium)")


@dataclass(frozen=True)
class Server:
    """Where the workbench listens, and the workbenches of its pages."""

    address: str
    pages: Pages
    stop: Callable[[], None]
    again: Callable[[], Server]
    """Start another one at the same address, on the same folder of results."""


@pytest.fixture(scope="module")
def serve(model: str, study_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Start the workbench on a free port."""
    import uvicorn

    from ui.app import make_app

    running: list[Callable[[], None]] = []

    def start(port: int = 0, **changes: Any) -> Server:
        port = port or free_port()
        settings = Settings(
            **{"out": tmp_path_factory.mktemp("runs"), "model": model, "roots": (study_path.parent,), **changes}
        )
        service = Service(settings)
        app = make_app(service)
        server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        until = time.monotonic() + PATIENCE_MS / 1000
        while not server.started and time.monotonic() < until:
            time.sleep(0.05)

        def stop() -> None:
            if not server.should_exit:
                server.should_exit = True
                thread.join(10)
                service.close()

        running.append(stop)
        again = partial(start, port, **{**changes, "out": settings.out})
        return Server(f"http://127.0.0.1:{port}/", app.state.pages, stop, again)

    yield start
    for stop in running:
        stop()


@dataclass
class Bench:
    """The open page, and what it asked for and complained of."""

    page: Any
    server: Server
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _token: str = ""

    def watch(self) -> None:
        self.page.on("request", lambda request: self._note(request.url))
        self.page.on("pageerror", self._note_error)
        self.page.on("console", self._note_message)

    def _note_message(self, message: Any) -> None:
        if message.type == "error":
            self._note_error(f"{message.text} {message.location.get('url', '')}")

    def _note_error(self, error: Any) -> None:
        """Keep an error; a request of Gradio's that leaving the page aborts is none."""
        text = str(error)
        if "AbortError" not in text and "errored out" not in text:
            self.complaints.append(text)

    def _note(self, url: str) -> None:
        if not url.startswith((self.server.address, "data:", "blob:")):
            self.foreign.append(url)
        if "/views/" in url:
            self._token = url.split("/views/")[1].split("?")[0]

    @property
    def workbench(self) -> Workbench:
        """This page's, on the server; a study must be open."""
        return self.server.pages.find(self._token)

    @property
    def path(self) -> Any:
        """Where the path of a study is typed."""
        return self.page.locator("#path textarea, #path input").first

    def canvas(self, plane: str = "axial") -> Any:
        """The canvas of a plane."""
        return self.page.locator(f"[data-pane={plane}] canvas")

    def pixel(self, plane: str, column: float, row: float) -> tuple[float, float]:
        """Browser position of a pixel of the slice that is shown."""
        bounds = self.canvas(plane).bounding_box()
        x0, y0, across, down = json.loads(self.canvas(plane).get_attribute("data-place"))
        return bounds["x"] + x0 + (column + 0.5) * across, bounds["y"] + y0 + (row + 0.5) * down

    def on_canvas(self, right_mm: float, down_mm: float) -> tuple[float, float]:
        """Browser position of a place on the axial slice of the phantom, in mm from its middle."""
        return self.pixel("axial", (SHAPE[2] - 1) / 2 + right_mm / 1.5, (SHAPE[1] - 1) / 2 + down_mm / 1.5)

    def drag(self, first_mm: tuple[float, float], last_mm: tuple[float, float]) -> None:
        self.page.mouse.move(*self.on_canvas(*first_mm))
        self.page.mouse.down()
        self.page.mouse.move(*self.on_canvas(*last_mm), steps=6)
        self.page.mouse.up()

    def says(self, words: str) -> None:
        self.page.wait_for_function(
            "words => document.querySelector('#notice')?.textContent.includes(words)", arg=words
        )

    def is_open(self) -> None:
        self.page.wait_for_function("document.querySelector('[data-text=slice]')?.textContent.includes(' of ')")

    def has_prompts(self, count: int) -> None:
        """Wait until so many prompts hold."""
        found, until = -1, time.monotonic() + 60
        while found != count and time.monotonic() < until:
            self.page.wait_for_timeout(50)  # not time.sleep: what the page asks for is noted only meanwhile
            with suppress(MedsamPlannerError):  # the page has not come back yet
                found = len(self.workbench.structure.prompts)
        assert found == count

    def settled(self) -> None:
        """The last answer of the server is on the screen, and no picture is on its way."""
        self.page.wait_for_function(
            """version => {
              const shown = document.querySelector('[data-state]')?.dataset;
              return document.querySelector('.mv-busy').hidden && shown?.state === 'ready' && shown.version === version;
            }""",
            arg=str(self.workbench.snapshot.version),
        )

    def count(self, colour: tuple[int, int, int], reach: int = 40) -> int:
        """Pixels of the canvas near a colour."""
        return self.page.evaluate(
            """([r, g, b, reach]) => {
              const canvas = document.querySelector('[data-pane=axial] canvas');
              const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
              let count = 0;
              for (let n = 0; n < data.length; n += 4)
                if (Math.abs(data[n] - r) + Math.abs(data[n + 1] - g) + Math.abs(data[n + 2] - b) < reach) count++;
              return count;
            }""",
            [*colour, reach],
        )


@pytest.fixture
def browser_arguments() -> list[str]:
    """Of Chromium; a module that needs others has a fixture of its own with this name."""
    return ARGUMENTS


@pytest.fixture
def open_bench(chromium: str, browser_arguments: list[str]) -> Iterator[Callable[[Server], Bench]]:
    """Open pages in browsers of their own; closed afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=browser_arguments)

        def start(server: Server) -> Bench:
            page = browser.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True).new_page()
            page.set_default_timeout(PATIENCE_MS)
            bench = Bench(page, server)
            bench.watch()
            page.goto(server.address)
            page.wait_for_selector("#viewer canvas")
            return bench

        yield start
        browser.close()
