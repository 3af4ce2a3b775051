"""Workers as the server sees them: a process for each model, begun when it is needed and again when it has died."""

from __future__ import annotations

import itertools
import multiprocessing
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from medsam_planner.errors import ERROR_BY_CODE, OperationCancelledError, ServiceError, WorkerDiedError
from medsam_planner.progress import Progress
from medsam_planner.service.core.options import Limits
from medsam_planner.service.core.requests import Forget, Request
from medsam_planner.service.core.worker_process import Answer, Begun, Done, Failed, Moved, Stop, run_worker

__all__ = ["STOPPED_WITHIN_S", "UNASKED_STOPPED_WITHIN_S", "Worker", "Workers"]

STOPPED_WITHIN_S = 0.75
"""A request that was told to stop, and is still running after so long, is ended with its process."""
UNASKED_STOPPED_WITHIN_S = 4.0
"""The same for one that nobody waits for: to begin the process again takes longer than nearly all of its steps."""
_LOOK_S = 0.05
_ENDED_WITHIN_S = 2.0


class _EndedError(Exception):
    """The process has ended before it answered."""

    def __init__(self, is_wanted: bool) -> None:
        super().__init__()
        self.is_wanted = is_wanted
        """Whether the server ended it."""


class Worker:
    """A worker process and its successors.

    Parameters
    ----------
    name : str
    limits : Limits
    embeddings : Path, optional
        Folder of embeddings, for all workers.
    """

    def __init__(self, name: str, limits: Limits, embeddings: Path | None = None) -> None:
        self.name = name
        self.held_bytes = 0
        """Private memory of the process beyond that of an empty one, after its last answer."""
        self._limits, self._embeddings = limits, embeddings
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """Of the process, where one runs."""
        process = self._process
        return None if process is None else process.pid

    def ask(
        self, request: Request, progress: Progress | None = None, *, stopped_within_s: float = STOPPED_WITHIN_S
    ) -> Any:
        """Have a request done, and wait for it.

        A process that dies is begun again and asked once more.

        Parameters
        ----------
        request : Request
        progress : Progress, optional
            Told its steps. Where it is cancelled, this returns soon: a request that waits is given up, and a long one
            that does not stop between two steps is ended with its process.
        stopped_within_s : float
            How long such a step may take.

        Raises
        ------
        OperationCancelledError
        WorkerDiedError
            If the process died twice.
        MedsamPlannerError
            What the request raised.
        """
        deaths = 0
        while True:
            try:
                return self._asked(request, progress, stopped_within_s)
            except _EndedError as ended:
                if progress is not None and progress.is_cancelled:
                    raise OperationCancelledError("Stopped on request.") from None
                deaths += not ended.is_wanted
                if self._is_closed:
                    raise WorkerDiedError("The server is ending.") from None
                if deaths == 2:
                    raise WorkerDiedError(
                        "The process that computed this has ended twice, perhaps for want of memory. Ask again; use "
                        "fewer samples or a smaller study where it happens again."
                    ) from None

    def begin(self, request: Request) -> None:
        """Have a request done, and do not wait for it; nobody is told whether it failed."""
        with suppress(_EndedError):
            self._running().ask(request)

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._is_closed = True
            process, self._process = self._process, None
        if process is not None:
            process.close()

    def _running(self) -> _Process:
        with self._lock:
            if self._is_closed:
                raise _EndedError(is_wanted=True)
            if self._process is None or self._process.has_ended:
                self._process = _Process(self.name, self._limits, self._embeddings)
            return self._process

    def _asked(self, request: Request, progress: Progress | None, stopped_within_s: float) -> Any:
        process = self._running()
        number, answers = process.ask(request)
        is_running_alone, told_s = False, None
        while True:
            if progress is not None and progress.is_cancelled:
                if told_s is None:
                    process.stop(number)
                    told_s = time.monotonic()
                if not is_running_alone:  # it waits, or is short: its end need not be waited for
                    process.abandon(number)
                    raise OperationCancelledError("Stopped on request.")
                if time.monotonic() - told_s > stopped_within_s:
                    process.kill()
                    self._running()  # so that the next request waits less
                    raise OperationCancelledError("Stopped on request.")
            try:
                answer = answers.get(timeout=None if progress is None else _LOOK_S)
            except queue.Empty:
                continue
            match answer:
                case None:
                    raise _EndedError(process.is_end_wanted)
                case Begun(is_outermost=is_outermost):
                    is_running_alone = is_outermost
                case Moved(stage=stage, done=done, total=total) if progress is not None:
                    progress.update(stage, done, total)
                case Done(value=value, held_bytes=held_bytes):
                    self.held_bytes = held_bytes
                    return value
                case Failed(code=code, detail=detail):
                    raise ERROR_BY_CODE.get(code, ServiceError)(detail)


class _Process:
    """One process, and those who wait for its answers."""

    def __init__(self, name: str, limits: Limits, embeddings: Path | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        arguments = (theirs, limits.loaded_bytes, limits.session_bytes, embeddings)
        self._process = context.Process(
            target=run_worker,
            args=arguments,
            name=name,
            daemon=True,
        )
        self._process.start()
        theirs.close()
        self.is_end_wanted = False
        self.has_ended = False
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Answer | None]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, args=(self._connection,), name=f"answers of {name}", daemon=True).start()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def ask(self, request: Request) -> tuple[int, queue.SimpleQueue[Answer | None]]:
        """Send a request; its answers come into the queue, None where the process ends."""
        answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        with self._lock:
            number = next(self._numbers)
            if self.has_ended:
                answers.put(None)
            else:
                self._waiting[number] = answers
                self._send((number, request))
        return number, answers

    def stop(self, number: int) -> None:
        with self._lock:
            self._send(Stop(number))

    def abandon(self, number: int) -> None:
        """Wait for the answer no longer."""
        with self._lock:
            self._waiting.pop(number, None)

    def kill(self) -> None:
        self.is_end_wanted = True
        self.has_ended = True
        self._process.kill()

    def close(self) -> None:
        """End it: it ends by itself when its connection is closed, and is killed where it does not."""
        self.is_end_wanted = True
        self._process.terminate()
        self._process.join(_ENDED_WITHIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_ENDED_WITHIN_S)

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # it has ended, which its reader tells everybody
            self._connection.send(message)

    def _read(self, connection: Connection) -> None:
        while True:
            try:
                answer: Answer = connection.recv()
            except (EOFError, OSError):
                break
            with self._lock:
                is_last = isinstance(answer, Done | Failed)
                answers = self._waiting.pop(answer.number, None) if is_last else self._waiting.get(answer.number)
            if answers is not None:
                answers.put(answer)
        with self._lock:
            self.has_ended = True
            waiting, self._waiting = self._waiting, {}
        for answers in waiting.values():
            answers.put(None)
        self._process.join()
        connection.close()


class Workers:
    """One worker for each model, one for plans, and one for the order of an annotation project.

    Parameters
    ----------
    limits : Limits
    embeddings : Path, optional
        As :class:`Worker`'s.
    """

    PLANNING = "planning"
    ORDERING = "ordering"

    def __init__(self, limits: Limits, embeddings: Path | None = None) -> None:
        self._limits, self._embeddings = limits, embeddings
        self._by_name: Mapping[str, Worker] = {}
        self._lock = threading.Lock()

    def worker(self, name: str) -> Worker:
        """The worker of a model, of plans (:data:`PLANNING`), or of an order (:data:`ORDERING`)."""
        with self._lock:
            if name not in self._by_name:
                self._by_name = {**self._by_name, name: Worker(name, self._limits, self._embeddings)}
            return self._by_name[name]

    @property
    def held_bytes(self) -> int:
        """Private memory of all workers beyond that of empty ones."""
        return sum(worker.held_bytes for worker in self._by_name.values())

    def forget(self, session: str) -> None:
        """Free what the workers hold of a session."""
        for worker in self._by_name.values():
            if worker.pid is not None:
                worker.begin(Forget(session))

    def close(self) -> None:
        """End all of them."""
        for worker in self._by_name.values():
            worker.close()
