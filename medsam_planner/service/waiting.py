"""Wait for a job in a thread, with the progress and the Stop button of whoever waits."""

from __future__ import annotations

import time

from medsam_planner.errors import ERROR_BY_CODE, MedsamPlannerError, OperationCancelledError
from medsam_planner.progress import Progress
from medsam_planner.service.core.job import Job, JobState
from medsam_planner.service.core.jobs import Jobs

__all__ = ["require_done", "wait_for"]

_LOOK_S = 0.05
_WAITING = "waiting for other computations"


def wait_for(jobs: Jobs, identifier: str, progress: Progress | None) -> Job:
    """The job once it has ended; it is cancelled where the progress is."""
    while not (job := jobs.find(identifier)).state.is_final:
        if progress is not None:
            progress.update(job.stage or _WAITING, job.done, job.total)
            if progress.is_cancelled:
                jobs.cancel(identifier)
        time.sleep(_LOOK_S)
    return job


def require_done(job: Job) -> None:
    """Raise what a job has failed with.

    Raises
    ------
    OperationCancelledError
        If it was stopped.
    MedsamPlannerError
        If it failed.
    """
    if job.state is JobState.CANCELLED:
        raise OperationCancelledError("The computation was stopped.")
    if job.problem is not None:
        raise ERROR_BY_CODE.get(job.problem["code"], MedsamPlannerError)(job.problem["detail"])
