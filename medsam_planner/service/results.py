"""Results of a workbench on disk: plan with report, masks, and the archive for download."""

from __future__ import annotations

from pathlib import Path

from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service import live
from medsam_planner.service.core.packing import ExportChoice
from medsam_planner.service.core.work import Work
from medsam_planner.service.page_state import PageState
from medsam_planner.service.plan_inputs import request_of
from medsam_planner.service.showing import results_digest
from medsam_planner.service.workbench import Workbench

__all__ = ["archive_path", "find_paths", "pack", "packed_path", "report_path"]


def report_path(workbench: Workbench) -> Path:
    """Report of the plan that is shown.

    Raises
    ------
    NotThereError
        If there is none.
    """
    return workbench.service.plan_folder(workbench.require_work(), workbench.snapshot.plan_job or "") / "report.html"


def archive_path(workbench: Workbench) -> Path:
    """Archive of the last export, which the audit log is told of.

    Raises
    ------
    NotThereError
        If there is none.
    """
    work = workbench.require_work()
    return workbench.own.archive(work, _last_export(work))


def packed_path(workbench: Workbench) -> Path:
    """Archive of the last export, for the server's own use.

    Raises
    ------
    NotThereError
        If there is none.
    """
    work = workbench.require_work()
    return workbench.service.archive(work, _last_export(work))


def find_paths(workbench: Workbench, *, progress: Progress | None = None) -> None:
    """Search for paths; surfaces and report follow in the background. A request in error leaves the older plan there.

    Where 3D masks follow the prompts, it waits for them first.

    Parameters
    ----------
    workbench : Workbench
    progress : Progress, optional

    Raises
    ------
    PlanningError, EmptyStructureError
        If the plan request cannot be resolved. That no path exists is a result and no error.
    """
    work, draft = workbench.require_work(), workbench.snapshot.draft
    if draft.target_lps_mm is not None and draft.entry_lps_mm is not None:  # else it is refused
        live.wait(workbench, progress)
    workbench.wait(workbench.own.plan(work, request_of(workbench), PlanOrigin(page=True)), progress=progress)


def pack(workbench: Workbench, choice: ExportChoice, *, progress: Progress | None = None) -> tuple[str, ...]:
    """Write an archive of what is chosen for download.

    Parameters
    ----------
    workbench : Workbench
    choice : ExportChoice
    progress : Progress, optional

    Returns
    -------
    tuple of str
        What could not be made, and why.

    Raises
    ------
    StaleError
        If nothing was segmented in 3D from its present prompts.
    ConfigError, OutputError
        If what is chosen cannot be written.
    """
    work = workbench.require_work()
    digest = results_digest(work.state)
    job = workbench.own.pack(work, choice)
    workbench.wait(job, progress=progress)
    notes = work.state.ends[job]["result"]["notes"]
    workbench.record(download={"of": digest, "job": job, "notes": notes})
    return tuple(notes)


def _last_export(work: Work) -> str:
    job: str = PageState.of(work.state).download.get("job", "")
    return job
