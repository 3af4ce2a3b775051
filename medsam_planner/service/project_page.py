"""The annotation project on a workbench: open a study of it, and record what the session holds."""

from __future__ import annotations

from medsam_planner.lab.project.records import Study
from medsam_planner.progress import Progress
from medsam_planner.service import live
from medsam_planner.service.core.on_behalf_project import ProjectOnBehalf
from medsam_planner.service.workbench import Workbench

__all__ = ["open_from_project", "project_of", "save_to_project"]


def project_of(workbench: Workbench) -> ProjectOnBehalf:
    """The project as the person of a page may use it."""
    return ProjectOnBehalf(workbench.service, workbench.own.actor)


def open_from_project(workbench: Workbench, name: str, *, progress: Progress | None = None) -> None:
    """Show a study of the project: the person's own session on it, or a new one from the project's masks.

    Raises
    ------
    LeaseHeldError
        If somebody has it open; the message says who.
    NotThereError, ConfigError, StudyError, AtCapacityError
        As :meth:`ProjectOnBehalf.read` and :meth:`ProjectOnBehalf.begin_on`.
    """
    project = project_of(workbench)
    study, stored = project.read(name, progress=progress)
    workbench.give_back()  # first, so that a server with room for one more has it
    workbench.refresh(project.begin_on(study, stored, take_over=True), progress=progress)


def save_to_project(
    workbench: Workbench, *, is_reviewed: bool, progress: Progress | None = None
) -> tuple[Study, tuple[str, ...]]:
    """Record the 3D masks of the session, once those that follow the prompts are there.

    Raises
    ------
    StaleError, LeaseHeldError, ConfigError
        As :meth:`ProjectOnBehalf.save`.
    """
    work = workbench.require_work()
    live.wait(workbench, progress)
    return project_of(workbench).save(work, is_reviewed=is_reviewed)
