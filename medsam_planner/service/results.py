"""Results of a workbench on disk: plan with report, masks, and the archive for download."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

from medsam_planner.errors import PlanningError
from medsam_planner.io.files import whole_file
from medsam_planner.mesh import Surface
from medsam_planner.progress import Progress
from medsam_planner.service.plan_inputs import inputs_of
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.run_folder import open_run_folder, write_segmentations
from medsam_planner.workflow.segment import surfaces_of
from medsam_planner.workflow.written_plan import write_plan

__all__ = ["archive_path", "find_paths", "pack", "report_path", "results_folder"]


def results_folder(workbench: Workbench) -> Path:
    """Folder of the results; replaced as a whole each time they are written."""
    return workbench.run_folder() / "run"


def report_path(workbench: Workbench) -> Path:
    """Report of the last plan."""
    return results_folder(workbench) / "report.html"


def archive_path(workbench: Workbench) -> Path:
    """Archive of the last download."""
    return workbench.run_folder() / "run.zip"


def find_paths(workbench: Workbench, *, progress: Progress | None = None) -> None:
    """Search for paths, and write the results with ``plan.json`` and ``report.html``.

    Parameters
    ----------
    workbench : Workbench
    progress : Progress, optional

    Raises
    ------
    PlanningError, EmptyStructureError
        If the plan request cannot be resolved. That no path exists is a result and no error.
    """
    inputs = inputs_of(workbench)  # first, so that a request in error leaves the older plan in place
    surfaces, notes = write_results(workbench, progress=progress)
    written = write_plan(replace(inputs, surfaces=surfaces), results_folder(workbench), progress=progress)
    workbench.publish(
        plan=written.plan,
        chosen=0,
        margin_statements=written.margin_statements,
        assessment=written.assessment,
        notes=(*notes, *written.notes),
        has_report=True,
        has_archive=False,
    )


def write_results(
    workbench: Workbench, *, progress: Progress | None = None
) -> tuple[dict[str, Surface], tuple[str, ...]]:
    """Write masks, maps, meshes and prompts of every structure that was segmented in 3D.

    An older plan in the folder is deleted: it may have been made from other masks.

    Parameters
    ----------
    workbench : Workbench
    progress : Progress, optional

    Returns
    -------
    dict, tuple of str
        Meshes by structure, and for each DICOM object or mesh that could not be made the reason.
    """
    results = {one.name: one.result for one in workbench.structures.values() if one.result is not None}
    if not results:
        raise PlanningError("Nothing was segmented in 3D yet, so there is nothing to write.")
    surfaces = surfaces_of(results, progress=progress)
    folder = results_folder(workbench)
    workbench.publish(has_report=False, has_archive=False)
    shutil.rmtree(folder, ignore_errors=True)
    session = workbench.require_session()
    notes = write_segmentations(open_run_folder(folder), results, session.logs, study=session.volume, surfaces=surfaces)
    return surfaces, notes


def pack(workbench: Workbench, *, progress: Progress | None = None) -> Path:
    """Pack the results into a zip; without a plan they are written first.

    Parameters
    ----------
    workbench : Workbench
    progress : Progress, optional
    """
    if not workbench.snapshot.has_report:
        workbench.publish(notes=write_results(workbench, progress=progress)[1])
    path, folder = archive_path(workbench), results_folder(workbench)
    with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    workbench.publish(has_archive=True)
    return path
