"""Find the paths, write the run's folder with its report, pack it for download."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from medsam_planner.errors import PlanningError
from medsam_planner.io.files import whole_file
from medsam_planner.mesh import Surface
from medsam_planner.progress import Progress
from medsam_planner.workflow.review import review_plan
from medsam_planner.workflow.run_folder import open_run_folder, write_segmentations
from medsam_planner.workflow.segment import surfaces_of
from ui.planning import check_plan, inputs_of
from ui.workbench import Workbench

__all__ = ["archive_path", "find_paths", "pack", "report_path", "results_folder"]


def results_folder(workbench: Workbench) -> Path:
    """Where the results lie; replaced whole each time they are written."""
    return workbench.run_folder() / "run"


def report_path(workbench: Workbench) -> Path:
    """Of the last plan."""
    return results_folder(workbench) / "report.html"


def archive_path(workbench: Workbench) -> Path:
    """Of the last download."""
    return workbench.run_folder() / "run.zip"


def find_paths(workbench: Workbench, *, progress: Progress | None = None) -> None:
    """Plan, and write the run's folder with ``plan.json`` and ``report.html``.

    Raises
    ------
    PlanningError, EmptyStructureError
        If the plan is asked for wrongly. That no path exists is an answer.
    """
    check_plan(workbench)  # an older plan is kept where this one is asked for wrongly
    surfaces = write_results(workbench, progress=progress)
    inputs = inputs_of(workbench, surfaces, progress=progress)
    reviewed = review_plan(inputs, results_folder(workbench), progress=progress)
    workbench.plan, workbench.chosen = reviewed.plan, 0
    workbench.margin_statements = reviewed.margin_statements
    workbench.assessment = reviewed.assessment
    workbench.has_report, workbench.has_archive = True, False


def write_results(workbench: Workbench, *, progress: Progress | None = None) -> dict[str, Surface]:
    """Write masks, maps, meshes and prompts of every structure that was run to 3D; gives the meshes.

    An older plan in the folder goes with it: it may not be of these masks.
    """
    results = {one.name: one.result for one in workbench.structures.values() if one.result is not None}
    if not results:
        raise PlanningError("Nothing was run to 3D yet, so there is nothing to write.")
    surfaces = surfaces_of(results, progress=progress)
    folder = results_folder(workbench)
    workbench.has_report = workbench.has_archive = False
    shutil.rmtree(folder, ignore_errors=True)
    session = workbench.require_session()
    write_segmentations(open_run_folder(folder), results, session.logs, study=session.volume, surfaces=surfaces)
    return surfaces


def pack(workbench: Workbench, *, progress: Progress | None = None) -> Path:
    """The results as a zip; they are written first where no plan wrote them."""
    if not workbench.has_report:
        write_results(workbench, progress=progress)
    path, folder = archive_path(workbench), results_folder(workbench)
    with whole_file(path) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    workbench.has_archive = True
    return path
