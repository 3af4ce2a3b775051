"""The service as its clients feel it: seconds from a request to its answer over HTTP, on a real server of its own.

Studies are those of :mod:`benchmarks.large_study`, of 20 and of 400 slices of 512 × 512 voxels. A prompt is a box on a
slice that was not embedded yet; its slice mask is the PNG of its prediction. Each figure stands beside the bare round
trip of the same run: what is above it is the service's own. Resumed is the time from the start of a server on the same
data folder to the first slice mask of a session that it did not have in memory, the start of Python included. Memory is
the private memory of the server and its workers, without mapped files. Run: ``python -m benchmarks.service`` or
``make bench-service`` (half an hour on two cores; ``--quick`` a few minutes).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from benchmarks.large_study import PIXEL_MM, write_study
from benchmarks.server import Server, running, seconds, told

ANNOTATORS = 8
THINKING_S = 2.0
"""Between the slice mask that a simulated annotator got and the next prompt."""
LINES = (1, 1000)
TOOL = {"radius_mm": 1.0}
STRUCTURES = [{"name": "organ 0", "role": "avoid"}]


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often each thing is measured."""

    round_trips: int = 300
    prompts: int = 30
    volumes: int = 5
    clearances: int = 20
    resumes: int = 3
    by_annotator: int = 15


QUICK = Repeats(round_trips=100, prompts=8, volumes=2, clearances=5, resumes=1, by_annotator=4)


class Annotator:
    """A session of a client on a study."""

    def __init__(self, address: str, study: str, middle: int, *, session: str | None = None, seed: int = 0) -> None:
        self._http = httpx.Client(base_url=f"{address}/api/v1", timeout=600)
        self._middle, self._study = middle, study
        self._random = np.random.default_rng(seed)
        self.count = 0
        if session is None:
            held = self._post("/sessions", {"study": study})
        else:
            held = self._post(f"/sessions/{session}/lease", {})
        self.session = held["id"]
        self._http.headers["Lease"] = held["lease"]

    def prompt(self) -> str:
        """A box around the organ, never the same, on one of the slices in its middle; gives the structure's name."""
        name, self.count = f"organ {self.count}", self.count + 1
        column, row = self._random.uniform(-8, 8, 2)
        z = float(self._middle + self._random.integers(-8, 8))
        corners = [[(125 + column) * PIXEL_MM, (170 + row) * PIXEL_MM, z], [(275 + column) * PIXEL_MM, 232.0, z]]
        box = {"kind": "box", "corner_lps_mm": corners[0], "opposite_lps_mm": corners[1]}
        self._post(f"/sessions/{self.session}/prompts", {"structure": name, "prompt": box})
        self._slice = int(z)
        return name

    def slice_mask(self, structure: str) -> None:
        """The prediction on the prompted slice."""
        where = f"/sessions/{self.session}/structures/{structure}/preview/axial/{self._slice}.png"
        answer = self._http.get(where)
        answer.raise_for_status()

    def prompt_to_slice(self) -> None:
        """Prompt, and get the slice mask."""
        self.slice_mask(self.prompt())

    def prompt_to_volume(self, samples: int) -> None:
        """Prompt, and wait for the 3D result."""
        job = self._post(f"/sessions/{self.session}/segment", {"structure": self.prompt(), "samples": samples})["job"]
        with self._http.stream("GET", f"/jobs/{job}/events") as moves:
            last = [json.loads(line.removeprefix("data:")) for line in moves.iter_lines() if line.startswith("data:")]
        assert last[-1]["state"] == "done", last[-1]

    def clearance(self, lines: int) -> None:
        """Clearance of lines past the first structure, from entries a few mm apart: a needle that is moved."""
        target = np.array([200.0, 230.0, 0.0]) * PIXEL_MM + [0, 0, self._middle]
        entries = target + np.array([-90.0, -50.0, 0.0]) + self._random.uniform(-4, 4, (lines, 3))
        both = [[entry.tolist(), target.tolist()] for entry in entries]
        body = {"tool": TOOL, "structures": STRUCTURES, "lines_lps_mm": both}
        self._post(f"/sessions/{self.session}/clearance", body)

    def round_trip(self) -> None:
        """The least that a request takes."""
        self._http.get(self._http.base_url.copy_with(raw_path=b"/healthz")).raise_for_status()

    def _post(self, where: str, body: dict[str, Any]) -> Any:
        answer = self._http.post(where, json=body)
        assert answer.is_success, answer.text
        return answer.json()


def serve_command(studies: Path) -> list[str]:
    """The command line that serves the studies of a folder."""
    return ["serve", "--allow", str(studies), "--max-sessions", "64"]


def open_study(address: str, name: str) -> str:
    """Open a study by path."""
    answer = httpx.post(f"{address}/api/v1/studies", json={"path": name}, timeout=600)
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def measure(slices: int, repeats: Repeats, folder: Path) -> None:
    """Print the table of a study of so many slices."""
    studies, data, name = folder / "studies", folder / f"data-{slices}", f"ct-{slices}.nii"
    studies.mkdir(exist_ok=True)
    write_study(studies / name, slices=slices)
    print(f"\n512 × 512 × {slices} voxels, {512 * 512 * slices * 4 / 2**20:.0f} MiB as float32")
    print(f"{'':46}{'n':>6}{'median s':>11}{'p95 s':>11}{'beyond bare':>13}")
    with running(serve_command(studies), data) as server:
        opened: list[str] = []
        open_s = seconds(lambda: opened.append(open_study(server.address, name)), 1)
        (study,) = opened
        one = Annotator(server.address, study, slices // 2)
        bare = seconds(one.round_trip, repeats.round_trips)
        told("bare round trip", bare, median(bare))
        told("study opened (read, hashed, copied)", open_s, median(bare))
        told("first prompt → slice mask of a session", seconds(one.prompt_to_slice, 1), median(bare))
        alone = seconds(one.prompt_to_slice, repeats.prompts)
        told("prompt → slice mask", alone, median(bare))
        for samples in (0, 16):
            many = seconds(lambda samples=samples: one.prompt_to_volume(samples), repeats.volumes)
            told(f"prompt → 3D, {samples} passes", many, median(bare))
        one.count = 0
        one.prompt_to_volume(0)
        told("clearance of the first line", seconds(lambda: one.clearance(1), 1), median(bare))
        for lines in LINES:
            many = seconds(lambda lines=lines: one.clearance(lines), repeats.clearances)
            told(f"clearance of {lines:,} line{'s' * (lines > 1)}", many, median(bare))
        report_sessions(server, study, slices // 2, repeats, bare=median(bare))
        session, count = one.session, one.count
    resumed = []
    for _ in range(repeats.resumes):
        start = time.perf_counter()
        with running(serve_command(studies), data) as server:
            again = Annotator(server.address, study, slices // 2, session=session, seed=1)
            again.count = count
            again.prompt_to_slice()
            resumed.append(time.perf_counter() - start)
            count = again.count
    told("resumed: server started → slice mask", resumed, median(bare))


def report_sessions(server: Server, study: str, middle: int, repeats: Repeats, *, bare: float) -> None:
    """Print what further sessions cost in memory, and what several annotators at once get."""
    before_mb = server.private_mb()
    several = [Annotator(server.address, study, middle, seed=2 + number) for number in range(ANNOTATORS)]
    for one in several:
        one.prompt_to_slice()
    prompted_mb = server.private_mb()
    several[0].prompt_to_volume(16)
    segmented_mb = server.private_mb()
    single = at_once(several[:1], repeats.by_annotator * 2)
    told(f"prompt → slice mask, 1 annotator, {THINKING_S:.0f} s apart", single, bare)
    all_of_them = at_once(several, repeats.by_annotator)
    told(f"prompt → slice mask, {ANNOTATORS} annotators at once", all_of_them, bare)
    ratio = float(np.percentile(all_of_them, 95) / np.percentile(single, 95))
    with busy(several[-1]):
        beside = at_once(several[:1], repeats.by_annotator)
    told("prompt → slice mask beside another's 3D", beside, bare)
    print(f"p95 of {ANNOTATORS} annotators at once, in multiples of that of one: {ratio:.1f}")
    print(
        f"private memory: {before_mb:.0f} MiB with one session, {(prompted_mb - before_mb) / ANNOTATORS:.0f} MiB more "
        f"for each session with a slice mask, {segmented_mb - prompted_mb:.0f} MiB more for a 3D result of 16 passes"
    )


def at_once(annotators: list[Annotator], prompts: int) -> list[float]:
    """Seconds from prompt to slice mask of annotators who prompt independently of each other."""
    times: list[float] = []

    def work(one: Annotator, wait_s: float) -> None:
        time.sleep(wait_s)
        for _ in range(prompts):
            times.extend(seconds(one.prompt_to_slice, 1))
            time.sleep(THINKING_S)

    threads = [
        threading.Thread(target=work, args=(one, number * THINKING_S / len(annotators)))
        for number, one in enumerate(annotators)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


@contextmanager
def busy(annotator: Annotator) -> Iterator[None]:
    """A block during which one 3D result after the other is computed."""
    is_over = threading.Event()

    def work() -> None:
        while not is_over.is_set():
            annotator.prompt_to_volume(16)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


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
