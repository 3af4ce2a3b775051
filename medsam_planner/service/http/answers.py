"""Sessions, studies and jobs as they are answered."""

from __future__ import annotations

from typing import Any

from medsam_planner.service.core.job import Job
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.core.work import Work
from medsam_planner.service.core.work_state import WorkState
from medsam_planner.service.http.models import (
    DeletedAnswer,
    JobAnswer,
    ProgressAnswer,
    SessionAnswer,
    SessionSummary,
    StructureAnswer,
    StudyAnswer,
)
from medsam_planner.service.redaction import without_folders

__all__ = ["job_answer", "redacted", "session_answer", "session_summary", "study_answer"]


def study_answer(study: StoredStudy) -> StudyAnswer:
    """A study; where it lies on the server is not told."""
    return StudyAnswer(
        id=study.identifier,
        name=study.name,
        modality=study.modality,
        shape=list(study.shape),
        affine_lps_mm=study.affine.tolist(),
        sha256=study.sha256,
    )


def session_summary(service: Service, work: Work) -> SessionSummary:
    """One line of the list of sessions."""
    return SessionSummary(
        id=work.identifier,
        study=work.study.identifier,
        name=work.study.name,
        changed_at=work.state.at,
        is_held=service.leases.is_held(work.identifier),
        structures=list(work.state.listed),
    )


def session_answer(service: Service, work: Work) -> SessionAnswer:
    """A whole session."""
    state = work.state
    return SessionAnswer(
        id=work.identifier,
        study=work.study.identifier,
        model=without_folders(state.model, service.settings),
        seed=state.seed,
        n=state.n,
        changed_at=state.at,
        is_held=service.leases.is_held(work.identifier),
        read_only_because=work.damage,
        structures=[_structure(state, name) for name in state.listed],
        deleted=[DeletedAnswer(n=one.n, name=one.name) for one in state.deleted],
        jobs=[job_answer(service, job) for job in service.jobs.of_session(work.identifier)],
    )


def job_answer(service: Service, job: Job) -> JobAnswer:
    """A job as it is now."""
    return JobAnswer(
        id=job.identifier,
        session=job.session,
        task=job.task,
        structure=job.structure,
        state=job.state.value,
        progress=ProgressAnswer(stage=job.stage, done=job.done, total=job.total),
        result=None if job.result is None else redacted(dict(job.result), service),
        problem=None if job.problem is None else redacted(dict(job.problem), service),
    )


def redacted(value: Any, service: Service) -> Any:
    """Plain JSON values without the server's folders."""
    if isinstance(value, str):
        return without_folders(value, service.settings)
    if isinstance(value, dict):
        return {key: redacted(one, service) for key, one in value.items()}
    return [redacted(one, service) for one in value] if isinstance(value, list) else value


def _structure(state: WorkState, name: str) -> StructureAnswer:
    steps, result, listed = state.require(name), state.results.get(name), state.listed[name]
    return StructureAnswer(
        name=name,
        state=state.condition(name),
        role=listed.role.value,
        colour=listed.colour,
        hidden=listed.is_hidden,
        anatomy=listed.anatomy,
        prompts=steps.stated,
        numbers=list(steps.numbers),
        can_undo=steps.applied > 0,
        can_redo=steps.applied < len(steps.entries),
        result=None if result is None else {"job": result.job, **result.summary},
    )
