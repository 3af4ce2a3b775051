"""Results of a workbench on disk: plan with report, masks, and the archive for download."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from medsam_planner.errors import PlanningError
from medsam_planner.io.files import whole_file
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.service import live
from medsam_planner.service.plan_inputs import request_of
from medsam_planner.service.showing import results_digest
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.run_folder import PLAN_NAMES, open_run_folder, write_segmentations
from medsam_planner.workflow.segment import surfaces_of

__all__ = ["archive_path", "find_paths", "pack", "report_path"]


def report_path(workbench: Workbench) -> Path:
    """Report of the plan that is shown.

    Raises
    ------
    NotThereError
        If there is none.
    """
    return workbench.service.plan_folder(workbench.require_work(), workbench.snapshot.plan_job or "") / "report.html"


def archive_path(workbench: Workbench) -> Path:
    """Archive of the last download."""
    return workbench.require_work().folder / "download" / "run.zip"


def find_paths(workbench: Workbench, *, progress: Progress | None = None) -> None:
    """Search for paths, and write ``plan.json`` and ``report.html``; a request in error leaves the older plan in place.

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


def pack(workbench: Workbench, *, progress: Progress | None = None) -> Path:
    """Write masks, maps, meshes, prompts and the plan into one folder, and pack it into a zip.

    Parameters
    ----------
    workbench : Workbench
    progress : Progress, optional
    """
    work, now = workbench.require_work(), workbench.snapshot
    digest = results_digest(work.state)
    results = {one.name: one.result for one in now.structures.values() if one.result is not None}
    if not results:
        raise PlanningError("Nothing was segmented in 3D yet, so there is nothing to write.")
    path = archive_path(workbench)
    shutil.rmtree(path.parent, ignore_errors=True)
    folder = open_run_folder(path.parent) / "run"
    notes: list[str] = []
    surfaces = surfaces_of(results, notes=notes, progress=progress)
    logs = {name: work.log(name) for name in results}
    notes += write_segmentations(
        open_run_folder(folder), results, logs, study=workbench.service.loaded.volume(work.study), surfaces=surfaces
    )
    if now.plan is not None:
        for name in PLAN_NAMES:
            written = report_path(workbench).with_name(name)
            if written.exists():
                shutil.copyfile(written, folder / name)
    with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    workbench.record(download={"of": digest, "notes": notes})
    return path
