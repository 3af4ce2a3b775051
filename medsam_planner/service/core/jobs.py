"""Long computations: one at a time in each lane, with progress and a way to stop.

A lane does the most urgent job first, and jobs of one urgency in the order they were asked for. A running job gives
way to a more urgent one and begins again after it.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from medsam_planner.errors import (
    AtCapacityError,
    MedsamPlannerError,
    NotThereError,
    OperationCancelledError,
    ServiceError,
    code_of,
)
from medsam_planner.service.core.job import NO_JOB, Job, JobState, Task

__all__ = ["Jobs"]

_MOST_WAITING = 16
"""Most jobs of one session that may wait; one more is refused."""
_PATIENCE_S = 20.0
_REMEMBERED = 10_000
"""Finished jobs that are remembered."""

_Entry: TypeAlias = "tuple[int, int, str, Task | None]"
"""Urgency, place in the order of asking, identifier, and computation; None ends the lane."""
_ENDS_LANE = -1


class _Running:
    """Progress of one job, and the wish to stop it, for good or until a more urgent one is done."""

    def __init__(self, jobs: Jobs, identifier: str) -> None:
        self._jobs = jobs
        self._identifier = identifier
        self.is_stopped = False
        self.gives_way = False

    @property
    def is_cancelled(self) -> bool:
        return self.is_stopped or self.gives_way

    def update(self, stage: str, done: int, total: int) -> None:
        self._jobs._change(self._identifier, stage=stage, done=done, total=total)


class Jobs:
    """The queues, one for each lane, and a thread for each that waits for the computation of a job.

    Parameters
    ----------
    on_progress : callable
        Told the session, whenever a job of it moves.
    on_end : callable
        Told the job once it has ended, before anybody else can see that it has; what it raises fails the job.
    on_fault : callable
        Told an error that is a fault of the program; gives what may be said of it.
    """

    def __init__(
        self,
        *,
        on_progress: Callable[[str], None],
        on_end: Callable[[Job], None],
        on_fault: Callable[[Exception], str],
    ) -> None:
        self._on_progress, self._on_end, self._on_fault = on_progress, on_end, on_fault
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running: dict[str, _Running] = {}
        self._watching: dict[str, tuple[Callable[[], None], ...]] = {}
        self._lanes: dict[str, queue.PriorityQueue[_Entry]] = {}
        self._at_work: dict[str, str] = {}
        """By lane: the job that runs in it."""
        self._places = itertools.count()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_closing = False

    def require_room(self, session: str) -> None:
        """Refuse one more job of a session that has many waiting.

        Raises
        ------
        AtCapacityError
        """
        with self._lock:
            waiting = sum(one.session == session and not one.state.is_final for one in self._jobs.values())
        if waiting >= _MOST_WAITING:
            raise AtCapacityError(f"{waiting} jobs of session {session} wait already. Wait for them, or cancel some.")

    def submit(self, job: Job, task: Task, *, lane: str = "") -> None:
        """Put a job into the queue of a lane; jobs of different lanes do not wait for each other."""
        with self._lock:
            self._running[job.identifier] = _Running(self, job.identifier)
            self._remember(job)
            if lane not in self._lanes:
                self._lanes[lane] = queue.PriorityQueue()
                thread = threading.Thread(target=self._work, args=(lane,), name="jobs", daemon=True)
                self._threads.append(thread)
                thread.start()
            self._put(lane, job, task)
            before = self._at_work.get(lane, "")
            if before in self._running and self._jobs[before].urgency > job.urgency:
                self._running[before].gives_way = True

    def _put(self, lane: str, job: Job, task: Task) -> None:
        self._lanes[lane].put((job.urgency, next(self._places), job.identifier, task))

    @contextmanager
    def watching(self, identifier: str, on_move: Callable[[], None]) -> Iterator[None]:
        """A block in which `on_move` is called, from any thread, whenever a job has moved."""
        with self._lock:
            self._watching[identifier] = (*self._watching.get(identifier, ()), on_move)
        try:
            yield
        finally:
            with self._lock:
                rest = tuple(one for one in self._watching[identifier] if one is not on_move)
                self._watching[identifier] = rest
                if not rest:
                    del self._watching[identifier]

    def recall(self, job: Job) -> None:
        """Remember a job that ended before the server was started."""
        with self._lock:
            self._remember(job)

    def find(self, identifier: str) -> Job:
        """A job as it is now.

        Raises
        ------
        NotThereError
        """
        job = self._jobs.get(identifier)  # one lookup needs no lock, so an event loop may ask
        if job is None:
            raise NotThereError(NO_JOB)
        return job

    def of_session(self, session: str) -> tuple[Job, ...]:
        """The jobs of a session that are remembered, the oldest first."""
        with self._lock:
            return tuple(one for one in self._jobs.values() if one.session == session)

    def rename(self, session: str, structure: str, name: str) -> None:
        """Tell the jobs of a structure, those under way too, by its new name."""
        with self._lock:
            for identifier, job in self._jobs.items():
                if (job.session, job.structure) == (session, structure):
                    self._jobs[identifier] = replace(job, structure=name)

    def cancel(self, identifier: str) -> Job:
        """Ask a job to stop. One that waits is stopped at once, one that runs within a second."""
        job = self.find(identifier)
        with self._lock:
            running = self._running.get(identifier)
            if running is not None:
                running.is_stopped = True
        if job.state is JobState.QUEUED:
            self._end(identifier, state=JobState.CANCELLED)
        return self.find(identifier)

    def end_all_of(self, session: str) -> None:
        """Stop the jobs of a session, wait until they have, and forget them.

        Raises
        ------
        ServiceError
            If one does not stop.
        """
        until = time.monotonic() + _PATIENCE_S
        while waiting := [job for job in self.of_session(session) if not job.state.is_final]:
            for job in waiting:  # also what one that was done has begun
                self.cancel(job.identifier)
            if time.monotonic() > until:
                raise ServiceError("A job of the session has not stopped yet. Try again in a moment.")
            time.sleep(0.05)
        with self._lock:
            self._jobs = OrderedDict((name, job) for name, job in self._jobs.items() if job.session != session)

    def stop(self) -> None:
        """Stop all jobs; that the server ended them is told when it starts again."""
        with self._lock:
            self._is_closing = True
            for running in self._running.values():
                running.is_stopped = True

    def close(self) -> None:
        """Stop all jobs and end the threads."""
        self.stop()
        with self._lock:
            for lane in self._lanes.values():
                lane.put((_ENDS_LANE, next(self._places), "", None))
        for thread in self._threads:
            thread.join(10)

    def _work(self, lane: str) -> None:
        while True:
            *_, identifier, task = self._lanes[lane].get()
            if task is None:
                return
            with self._lock:
                running = self._running.get(identifier)
                if running is None:  # cancelled while it waited, and perhaps forgotten since
                    continue
                if not running.is_cancelled:
                    self._jobs[identifier] = replace(self._jobs[identifier], state=JobState.RUNNING)
                self._at_work[lane] = identifier
            self._tell(identifier)
            self._run(identifier, running, task, lane)

    def _run(self, identifier: str, running: _Running, task: Task, lane: str) -> None:
        try:
            if running.is_cancelled:
                raise OperationCancelledError("Stopped on request.")
            result = task(running)
        except OperationCancelledError:
            if not self._waits_again(identifier, running, task, lane):
                self._end(identifier, state=JobState.CANCELLED)
        except Exception as error:  # noqa: BLE001  (the queue outlives any one job)
            self._end(identifier, state=JobState.FAILED, problem=self._problem(error))
        else:
            self._end(identifier, state=JobState.DONE, result=result)

    def _waits_again(self, identifier: str, running: _Running, task: Task, lane: str) -> bool:
        """Whether a job was stopped only to give way; it is then in the queue again."""
        with self._lock:
            if running.is_stopped or not running.gives_way:
                return False
            running.gives_way = False
            job = replace(self._jobs[identifier], state=JobState.QUEUED, stage="", done=0, total=0)
            self._jobs[identifier] = job
            self._put(lane, job, task)
        self._tell(identifier)
        return True

    def _change(self, identifier: str, **changes: Any) -> None:
        with self._lock:
            job = self._jobs[identifier] = replace(self._jobs[identifier], **changes)
        self._on_progress(job.session)
        self._tell(identifier)

    def _end(self, identifier: str, **changes: Any) -> None:
        with self._lock:
            if self._running.pop(identifier, None) is None:
                return  # ended meanwhile
            ended = replace(self._jobs[identifier], **changes)
        try:
            if not (self._is_closing and ended.state is JobState.CANCELLED):
                self._on_end(ended)
        except Exception as error:  # noqa: BLE001  (the queue outlives any one job)
            ended = replace(ended, state=JobState.FAILED, result=None, problem=self._problem(error))
        with self._lock:
            self._jobs[identifier] = ended
        self._on_progress(ended.session)
        self._tell(identifier)

    def _problem(self, error: Exception) -> dict[str, Any]:
        if isinstance(error, MedsamPlannerError):
            return {"code": code_of(error), "detail": str(error)}
        return {"code": "fault", "detail": self._on_fault(error)}

    def _tell(self, identifier: str) -> None:
        for on_move in self._watching.get(identifier, ()):
            on_move()

    def _remember(self, job: Job) -> None:
        self._jobs[job.identifier] = job
        if len(self._jobs) > _REMEMBERED:
            old = next((name for name, one in self._jobs.items() if one.state.is_final), None)
            if old is not None:
                del self._jobs[old]
