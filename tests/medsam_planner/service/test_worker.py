"""A worker is a cache that may die: what is asked of it is answered, stopped or refused, and the next request works."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medsam_planner.errors import OperationCancelledError, PromptError, ServiceError, WorkerDiedError
from medsam_planner.progress import Progress, track
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.requests import Request
from medsam_planner.service.core.worker import Worker
from medsam_planner.service.core.worker_memory import WorkerMemory


@dataclass(frozen=True)
class Short:
    """Gives the process that did it."""

    session: str = "short"

    def may_interrupt(self, running: Request) -> bool:
        return running.session != self.session

    def run(self, memory: WorkerMemory, progress: Progress) -> int:
        return os.getpid()


@dataclass(frozen=True)
class Long:
    """Takes steps until it is stopped, or a file is there."""

    until: Path
    session: str = "long"

    def may_interrupt(self, running: Request) -> bool:
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> int:
        for step in track(range(10_000), "steps", progress):
            time.sleep(0.01)
            if self.until.exists():
                return step
        return -1


@dataclass(frozen=True)
class Deaf(Long):
    """One step that nothing stops."""

    def run(self, memory: WorkerMemory, progress: Progress) -> int:
        time.sleep(60)
        return 0


@dataclass(frozen=True)
class Dies(Long):
    """Ends its process, as often as there are no files in a folder."""

    times: int = 1

    def run(self, memory: WorkerMemory, progress: Progress) -> int:
        died = len(list(self.until.iterdir()))
        if died < self.times:
            (self.until / str(died)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return died


@dataclass(frozen=True)
class Refused(Short):
    """An error of the kind that is named."""

    kind: str = ""

    def run(self, memory: WorkerMemory, progress: Progress) -> int:
        raise {"prompt": PromptError("Expected a box."), "fault": ZeroDivisionError("secret"), "": MemoryError()}[
            self.kind
        ]


@dataclass(frozen=True)
class Draws(Long):
    """Draws of torch's generator, with others served between them."""

    def run(self, memory: WorkerMemory, progress: Progress) -> list[float]:
        import torch

        torch.manual_seed(0)
        drawn = []
        for _ in track(range(200), "draws", progress):
            drawn.append(float(torch.rand(1)))
            time.sleep(0.01)
        return drawn


@dataclass(frozen=True)
class Disturbs(Short):
    """Draws of its own."""

    def run(self, memory: WorkerMemory, progress: Progress) -> int:
        import torch

        torch.manual_seed(7)
        return int(torch.randint(10, (1,)))


class Wish:
    """Progress that can be cancelled, and tells when it has moved."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.moved = threading.Event()

    def update(self, stage: str, done: int, total: int) -> None:
        self.moved.set()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with closing(Worker("test", Limits())) as worker:
        worker.ask(Short())
        yield worker


def in_thread(worker: Worker, request: Any, wish: Wish | None = None) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(worker.ask(request, wish))
        except Exception as error:  # noqa: BLE001  (the test looks at it)
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, found


def test_a_request_is_done_in_another_process_which_stays(worker: Worker) -> None:
    assert worker.ask(Short()) == worker.ask(Short()) == worker.pid != os.getpid()


def test_an_error_crosses_with_its_kind_and_a_fault_without_its_words(worker: Worker) -> None:
    with pytest.raises(PromptError, match="Expected a box"):
        worker.ask(Refused(kind="prompt"))
    with pytest.raises(ServiceError, match="A fault of the program") as fault:
        worker.ask(Refused(kind="fault"))
    assert "secret" not in str(fault.value)
    with pytest.raises(ServiceError, match="not enough memory"):
        worker.ask(Refused())
    assert worker.ask(Short()) == worker.pid


def test_a_short_request_is_done_between_the_steps_of_a_long_one_of_another_session(
    worker: Worker, tmp_path: Path
) -> None:
    wish = Wish()
    thread, found = in_thread(worker, Long(tmp_path / "end"), wish)
    assert wish.moved.wait(20)
    assert worker.ask(Short()) == worker.pid
    assert found == []
    of_the_same, done = in_thread(worker, Short("long"))
    of_the_same.join(0.5)
    assert done == []  # a session does one thing at a time
    (tmp_path / "end").touch()
    thread.join(20)
    of_the_same.join(20)
    assert found[0] >= 0
    assert done == [worker.pid]


def test_what_is_done_between_its_steps_leaves_the_draws_of_a_request_as_they_are(
    worker: Worker, tmp_path: Path
) -> None:
    undisturbed = worker.ask(Draws(tmp_path))
    wish = Wish()
    thread, found = in_thread(worker, Draws(tmp_path), wish)
    assert wish.moved.wait(20)
    while thread.is_alive():
        worker.ask(Disturbs())
    assert found == [undisturbed]


def test_a_stopped_request_ends_between_two_steps_and_its_process_stays(worker: Worker, tmp_path: Path) -> None:
    before, wish = worker.pid, Wish()
    thread, found = in_thread(worker, Long(tmp_path / "end"), wish)
    assert wish.moved.wait(20)
    wish.is_cancelled = True
    thread.join(1.0)
    assert isinstance(found[0], OperationCancelledError)
    assert worker.ask(Short()) == before


def test_a_request_that_does_not_stop_is_ended_with_its_process_within_a_second(worker: Worker, tmp_path: Path) -> None:
    before, wish = worker.pid, Wish()
    thread, found = in_thread(worker, Deaf(tmp_path), wish)
    other, waiting = in_thread(worker, Short())  # it waits, and must not suffer
    time.sleep(0.2)
    began_s = time.monotonic()
    wish.is_cancelled = True
    thread.join(10)
    assert time.monotonic() - began_s < 1.0
    assert isinstance(found[0], OperationCancelledError)
    other.join(60)
    assert waiting == [worker.pid]
    assert worker.pid != before


def test_a_request_that_waits_is_given_up_at_once_and_nobody_elses_is_ended(worker: Worker, tmp_path: Path) -> None:
    before, wish = worker.pid, Wish()
    thread, found = in_thread(worker, Long(tmp_path / "end"))
    time.sleep(0.1)
    waits, given_up = in_thread(worker, Long(tmp_path / "never"), wish)
    wish.is_cancelled = True
    waits.join(1.0)
    assert isinstance(given_up[0], OperationCancelledError)
    (tmp_path / "end").touch()
    thread.join(20)
    assert found[0] >= 0
    assert worker.ask(Short()) == before


def test_a_request_whose_process_dies_is_tried_once_more(worker: Worker, tmp_path: Path) -> None:
    before = worker.pid
    assert worker.ask(Dies(tmp_path)) == 1
    assert worker.ask(Short()) == worker.pid != before


def test_a_request_whose_process_dies_twice_is_refused_and_the_next_one_works(worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(WorkerDiedError, match="has ended twice"):
        worker.ask(Dies(tmp_path, times=2))
    assert worker.ask(Short()) == worker.pid


def test_a_closed_worker_leaves_no_process_and_refuses(tmp_path: Path) -> None:
    worker = Worker("closed", Limits())
    pid = worker.ask(Short())
    thread, found = in_thread(worker, Deaf(tmp_path))
    time.sleep(0.2)
    worker.close()
    thread.join(10)
    assert isinstance(found[0], WorkerDiedError)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(WorkerDiedError, match="ending"):
        worker.ask(Short())
