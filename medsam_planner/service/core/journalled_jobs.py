"""Jobs of sessions: how each begins and ends is in the journal of its session, so that a restart knows of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.jobs import Job, Jobs, JobState, Task
from medsam_planner.service.core.study_store import new_identifier
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.worker_process import fault_text

__all__ = ["JournalledJobs"]


class JournalledJobs(Jobs):
    """Jobs that are journalled.

    Parameters
    ----------
    session : callable
        Gives a session by its identifier.
    on_progress : callable
        Told the session, whenever a job of it moves.
    """

    def __init__(self, session: Callable[[str], Work], *, on_progress: Callable[[str], None]) -> None:
        super().__init__(on_progress=on_progress, on_end=self._record_end, on_fault=fault_text)
        self._session = session

    def begin(
        self,
        work: Work,
        task: str,
        lane: str,
        run: Callable[[str], Task],
        actor: str,
        event: str | None,
        **entries: Any,
    ) -> str:
        """Journal and queue a job.

        Parameters
        ----------
        work : Work
        task : str
            ``"segment"`` or ``"plan"``.
        lane : str
            See :meth:`submit`.
        run : callable
            Makes the computation from the identifier of the job.
        actor : str
            Name of who asks.
        event : str, optional
            The client's identifier of the request: the same one again gives the same job.
        **entries
            Plain JSON values that the journal keeps of it.

        Returns
        -------
        str
            Identifier of the job.

        Raises
        ------
        AtCapacityError, OutputError, ConfigError
        """
        asked = {name: value for name, value in entries.items() if name != "digest"}  # prompts may have changed since
        if (known := work.state.repeated(event, "job", task=task, **asked)) is not None:
            return str(known["job"])
        self.require_room(work.identifier)
        identifier = new_identifier()
        work.record("job", actor=actor, event=event, job=identifier, task=task, **entries)
        self.submit(Job(identifier, work.identifier, task, entries.get("structure")), run(identifier), lane=lane)
        return identifier

    def stop_outdated(self, work: Work, structure: str) -> None:
        """Stop the segmentation of prompts that have just changed: its result would be stale when it comes."""
        for job in self.of_session(work.identifier):
            is_of_it = work.state.jobs[job.identifier].get("structure") == structure  # it may have been renamed since
            if job.task == "segment" and is_of_it and not job.state.is_final:
                self.cancel(job.identifier)

    def recall_of(self, work: Work) -> None:
        """Jobs of an earlier process; one that had not ended was interrupted."""
        for identifier, begun in work.state.jobs.items():
            job = Job(identifier, work.identifier, begun["task"], begun.get("structure"))
            ended = work.state.ends.get(identifier)
            if ended is None:
                problem = {"code": "interrupted", "detail": "The server ended during this job. Ask for it again."}
                job = replace(job, state=JobState.FAILED, problem=problem)
                with suppress(MedsamPlannerError):  # a damaged journal, or a full disk: it is interrupted all the same
                    self._record_end(job)
            else:
                job = replace(
                    job, state=JobState(ended["state"]), result=ended.get("result"), problem=ended.get("problem")
                )
            self.recall(job)

    def _record_end(self, job: Job) -> None:
        told: dict[str, Any] = {"job": job.identifier, "state": job.state.value}
        if job.result is not None:
            told["result"] = dict(job.result)
        if job.problem is not None:
            told["problem"] = dict(job.problem)
        self._session(job.session).record("job-ended", **told)
