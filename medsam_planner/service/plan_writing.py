"""How far surfaces and report of the plan that a page shows are: they are written after the plan, in the background."""

from __future__ import annotations

from typing import Any

from medsam_planner.service.core.drawn_surfaces import DRAWN_FOLDER, LIST_NAME
from medsam_planner.service.core.job import Job
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.work import Work
from medsam_planner.service.workbench import Workbench

__all__ = ["are_surfaces_drawn", "plan_writing", "unfinished_writing"]


def unfinished_writing(service: Service, work: Work) -> Job | None:
    """The job that writes surfaces and report of the plan that holds; None where none does."""
    job = None if work.state.plan is None else service.jobs.document_of(work, work.state.plan)
    return None if job is None or job.state.is_final else job


def are_surfaces_drawn(work: Work) -> bool:
    """Whether the surfaces of the plan that holds are there."""
    plan = work.state.plan
    return plan is not None and (work.folder / "plans" / plan / DRAWN_FOLDER / LIST_NAME).exists()


def plan_writing(workbench: Workbench) -> dict[str, Any] | None:
    """What a page is told while they are written, as plain JSON values.

    Parameters
    ----------
    workbench : Workbench

    Returns
    -------
    dict or None
        ``job``, ``stage``, ``done`` and ``total`` as of a job, and ``are_drawn``: whether the surfaces are there.
    """
    work = workbench.require_work()
    job = unfinished_writing(workbench.service, work)
    if job is None:
        return None
    told = {"job": job.identifier, "stage": job.stage, "done": job.done, "total": job.total}
    return told | {"are_drawn": are_surfaces_drawn(work)}
