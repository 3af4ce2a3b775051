"""What the benchmarks of the service and of the page share: a server of its own, and rows of seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

__all__ = ["Server", "running", "seconds", "told"]


class Server:
    """A command that serves, in a process of its own.

    Parameters
    ----------
    command : sequence of str
        Words after ``medsam-planner``; port and data folder are added.
    data : Path
        Data folder.
    """

    def __init__(self, command: Sequence[str], data: Path) -> None:
        words = [*command, "--port", "0", "--data", str(data)]
        self._log = data.with_suffix(".log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from medsam_planner.cli import main; main({words!r})"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "COLUMNS": "400"},
            )
        self.address = self._address()

    def _address(self) -> str:
        while self._process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:\d+", self._log.read_text(encoding="utf-8"))
            if found:
                return found[0]
            time.sleep(0.02)
        raise RuntimeError(self._log.read_text(encoding="utf-8"))

    def private_mb(self) -> float:
        """Memory of the server and its workers, without mapped files; NaN where the system does not tell."""
        total, waiting = 0.0, [self._process.pid]
        try:
            while waiting:
                one = Path(f"/proc/{waiting.pop()}")
                _, resident, shared, *_ = (one / "statm").read_text().split()
                total += (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE") / 2**20
                for task in (one / "task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            return float("nan")
        return total

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(30)


@contextmanager
def running(command: Sequence[str], data: Path) -> Iterator[Server]:
    """A server for a block."""
    server = Server(command, data)
    try:
        yield server
    finally:
        server.end()


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Wall times of calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def told(name: str, times: list[float], bare_s: float) -> None:
    """Print one row."""
    middle, high = median(times), float(np.percentile(times, 95))
    print(f"{name:46}{len(times):6}{middle:11.4f}{high:11.4f}{middle - bare_s:13.4f}", flush=True)
