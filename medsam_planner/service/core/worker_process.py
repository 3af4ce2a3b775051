"""The process that computes: one thread does what it is asked, in order; short requests are done between the steps of
long ones.

A second thread only reads what arrives, so that a wish to stop is seen between two steps, and the end of the server at
once. Only the first thread computes: torch's generator and thread counts belong to a whole process.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias

from medsam_planner.errors import AtCapacityError, MedsamPlannerError, OperationCancelledError, code_of
from medsam_planner.io.fault_log import log_fault
from medsam_planner.service.core.requests import Request
from medsam_planner.service.core.worker_memory import WorkerMemory, private_bytes

__all__ = ["Answer", "Begun", "Done", "Failed", "Moved", "Stop", "fault_text", "run_worker"]

_LEAST_BETWEEN_MOVES_S = 0.02


@dataclass(frozen=True, slots=True)
class Stop:
    """To the worker: give a request up."""

    number: int


@dataclass(frozen=True, slots=True)
class Begun:
    """From the worker: a request is being done; `is_outermost` unless it interrupts another."""

    number: int
    is_outermost: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """From the worker: how far a request is."""

    number: int
    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Done:
    """From the worker: what a request gave, and the memory that the worker holds."""

    number: int
    value: Any
    held_bytes: int


@dataclass(frozen=True, slots=True)
class Failed:
    """From the worker: the error of a request."""

    number: int
    code: str
    detail: str


Answer: TypeAlias = Begun | Moved | Done | Failed


def run_worker(connection: Connection, most_bytes: int, most_session_bytes: int, embeddings: Path | None) -> None:
    """Do what arrives until the server closes the connection or ends; the main function of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which ends its workers
    inbox = _Inbox(connection)
    worker = _Worker(connection, inbox, WorkerMemory(most_bytes, most_session_bytes, embeddings))
    while True:
        worker.do(*inbox.next())


def fault_text(error: BaseException) -> str:
    """Log a fault of the program; what a client is told names no place of the server."""
    log = log_fault(error)
    where = "its log could not be written" if log is None else f"its log is {log.name}"
    return f"A fault of the program ({type(error).__name__}); {where}. Tell the administrator of the server."


class _Inbox:
    """Requests that wait, and the numbers of those to be given up."""

    def __init__(self, connection: Connection) -> None:
        self.stopped: set[int] = set()
        self._connection = connection
        self._waiting: deque[tuple[int, Request]] = deque()
        self._arrived = threading.Condition()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> tuple[int, Request]:
        """The oldest request, once there is one."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting)
            return self._waiting.popleft()

    def take_interrupting(self, running: Request) -> tuple[int, Request] | None:
        """The oldest request that may be done between two steps of a running one."""
        if not self._waiting:
            return None
        with self._arrived:
            for entry in self._waiting:
                if entry[1].may_interrupt(running):
                    self._waiting.remove(entry)
                    return entry
        return None

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(0)  # the server has ended, however it did; nothing is lost with this process
            if isinstance(message, Stop):
                self.stopped.add(message.number)
                continue
            with self._arrived:
                self._waiting.append(message)
                self._arrived.notify()


class _Worker:
    def __init__(self, connection: Connection, inbox: _Inbox, memory: WorkerMemory) -> None:
        self._connection, self._inbox, self._memory = connection, inbox, memory

    def do(self, number: int, request: Request, *, is_outermost: bool = True) -> None:
        """Do a request and send what comes of it."""
        self._send(Begun(number, is_outermost))
        before_bytes = private_bytes()
        answer: Answer
        try:
            if number in self._inbox.stopped:
                raise OperationCancelledError("Stopped on request.")
            value = request.run(self._memory, _Steps(self, self._inbox, number, request, is_outermost))
            answer = Done(number, value, 0)
        except MedsamPlannerError as error:
            answer = Failed(number, code_of(error), str(error))
        except MemoryError:
            needed = "The server has not enough memory for this. Use fewer samples, or a smaller study."
            answer = Failed(number, code_of(AtCapacityError()), needed)
        except Exception as error:  # noqa: BLE001  (the worker outlives any one request)
            answer = Failed(number, "fault", fault_text(error))
        if is_outermost:
            self._memory.shrink(request.session, private_bytes() - before_bytes)
        if isinstance(answer, Done):
            answer = Done(number, answer.value, self._memory.held_bytes)
        self._inbox.stopped.discard(number)
        self._send(answer)

    def moved(self, *values: Any) -> None:
        """Tell how far a request is."""
        self._send(Moved(*values))

    def _send(self, answer: Answer) -> None:
        try:
            self._connection.send(answer)
        except OSError:
            os._exit(0)  # the server has ended


class _Steps:
    """Progress of a request; between its steps, others have their turn."""

    def __init__(self, worker: _Worker, inbox: _Inbox, number: int, request: Request, is_outermost: bool) -> None:
        self._worker, self._inbox = worker, inbox
        self._number, self._request, self._is_outermost = number, request, is_outermost
        self._moved_s = 0.0

    @property
    def is_cancelled(self) -> bool:
        """Whether the server wants it stopped."""
        return self._number in self._inbox.stopped

    def update(self, stage: str, done: int, total: int) -> None:
        """Tell it, then do short requests that wait."""
        now_s = time.monotonic()
        if now_s - self._moved_s > _LEAST_BETWEEN_MOVES_S or done in (0, total):
            self._moved_s = now_s
            self._worker.moved(self._number, stage, done, total)
        while self._is_outermost and not self.is_cancelled:
            entry = self._inbox.take_interrupting(self._request)
            if entry is None:
                return
            with _same_draws():
                self._worker.do(*entry, is_outermost=False)


def _same_draws() -> Any:
    """A block after which torch's generator is as before; the running request draws as if nothing had been between."""
    import sys

    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.random.fork_rng(devices=[])
