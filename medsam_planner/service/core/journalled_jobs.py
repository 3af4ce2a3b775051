"""Jobs of sessions: how each begins and ends is in the journal of its session, so that a restart knows of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from shutil import rmtree
from typing import Any

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.job import Job, JobState, Task, Urgency
from medsam_planner.service.core.jobs import Jobs
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.study_store import new_identifier
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.worker_process import fault_text

__all__ = ["JournalledJobs"]

_UNASKED_KEPT = 2
"""Results of one structure that nobody asked for; a page may still show the one before the last."""


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
        self._then: dict[str, Callable[[str], None]] = {}
        """By job: what follows once it is done."""

    def begin(
        self,
        work: Work,
        task: str,
        lane: str,
        run: Callable[[str], Task],
        actor: str | None,
        event: str | None,
        urgency: Urgency = Urgency.ASKED,
        then: Callable[[str], None] | None = None,
        **entries: Any,
    ) -> str:
        """Journal and queue a job.

        Parameters
        ----------
        work : Work
        task : str
            ``"segment"``, ``"plan"``, ``"document"`` or ``"export"``.
        lane : str
            See :meth:`submit`.
        run : callable
            Makes the computation from the identifier of the job.
        actor : str or None
            Name of who asks; None is the server itself.
        event : str, optional
            The client's identifier of the request: the same one again gives the same job.
        urgency : Urgency
        then : callable, optional
            Told the identifier once the job is done.
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
        told = entries if urgency is Urgency.ASKED else {**entries, "unasked": True}
        work.record("job", actor=actor, event=event, job=identifier, task=task, **told)
        job = Job(identifier, work.identifier, task, entries.get("structure"), urgency=urgency)
        if then is not None:
            self._then[identifier] = then
        self.submit(job, run(identifier), lane=lane)
        return identifier

    def stop_outdated(self, work: Work, structure: str, *, but: str | None = None) -> None:
        """Stop the segmentations of a structure whose results would be replaced at once.

        Parameters
        ----------
        work : Work
        structure : str
        but : str, optional
            The job that has just been begun: it takes the place of those that nobody asked for. Without it, prompts
            have changed, and the result of every job would be stale when it comes.
        """
        for job in self.of_session(work.identifier):
            is_replaced = but is None or (job.urgency is not Urgency.ASKED and job.identifier != but)
            if is_replaced and (job.task, job.structure) == ("segment", structure) and not job.state.is_final:
                self.cancel(job.identifier)

    def stop_unasked_documents(self, work: Work, *, but_of: str | None = None) -> None:
        """Stop the writing of reports that nobody asked for, but of one plan: another plan or report replaces them."""
        for job in self.of_session(work.identifier):
            if job.task != "document" or job.state.is_final:
                continue
            begun = work.state.jobs[job.identifier]
            if begun.get("unasked") and begun["plan"] != but_of:
                self.cancel(job.identifier)

    def document_of(self, work: Work, plan: str) -> Job | None:
        """The last job that writes the report of a plan, or has written it."""
        written = [job for job in self.of_session(work.identifier) if job.task == "document"]
        of_plan = [job for job in written if work.state.jobs[job.identifier]["plan"] == plan]
        return of_plan[-1] if of_plan else None

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
        work = self._session(job.session)
        work.record("job-ended", **told)
        then = self._then.pop(job.identifier, None)
        if then is not None and job.state is JobState.DONE:
            with suppress(MedsamPlannerError):  # the session has too many jobs: what follows can be asked for
                then(job.identifier)
        if job.urgency is not Urgency.ASKED and job.state is JobState.DONE:
            _delete_superseded(work, str(job.structure))


def _delete_superseded(work: Work, structure: str) -> None:
    """Delete 3D results that nobody asked for, but the last ones: every prompt makes one."""
    state = work.state
    unasked = [
        name
        for name, ended in state.ends.items()
        if ended["state"] == "done"
        and state.jobs[name].get("unasked")
        and state.jobs[name].get("structure") == structure
    ]
    for name in unasked[:-_UNASKED_KEPT]:
        rmtree(result_path(work, name).parent, ignore_errors=True)
