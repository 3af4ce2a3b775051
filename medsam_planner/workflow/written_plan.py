"""Plan, and write ``plan.json``, ``report.html`` and the DICOM objects of the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.io import load_volume
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.files import write_json
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.io.patient_identity import with_identity
from medsam_planner.mesh import Surface
from medsam_planner.mesh.open3d_mesh import require_open3d
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.multi_tool import JointPlan
from medsam_planner.planning.plan_file import read_plan_file
from medsam_planner.planning.plan_file_tables import PlanFile
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.report import PlanReport, write_report
from medsam_planner.report.assessment import Assessment
from medsam_planner.report.parts import ReportParts, report_parts
from medsam_planner.report.widened_surface import widened_surfaces
from medsam_planner.volumes import StudyVolume
from medsam_planner.workflow.mask_files import named_files, plan_file_evidence
from medsam_planner.workflow.mask_surfaces import drawn_surface
from medsam_planner.workflow.plan import Plan, TrueClearance, plan_inputs
from medsam_planner.workflow.plan_objects import write_pictures_and_tool, write_structured_report
from medsam_planner.workflow.plan_request import CheckedParts, PlanInputs, check_names, resolve
from medsam_planner.workflow.recorded_paths import without_folders
from medsam_planner.workflow.risk_surface import risk_surface_of
from medsam_planner.workflow.run_folder import PLAN_NAMES

if TYPE_CHECKING:
    from medsam_planner.segmentation.surface_explanation import WhyHere
    from medsam_planner.workflow.segment import Segmented

__all__ = [
    "WrittenPlan",
    "drawn_surfaces",
    "write_made_plan",
    "write_plan",
    "write_plan_from_file",
    "write_plan_from_segmentation",
    "write_plan_objects",
]

Explain: TypeAlias = "Callable[[str, NDArray[np.float64], Progress | None], WhyHere]"
"""Explains the surface of a segmented structure nearest to a position."""
Draw: TypeAlias = "Callable[[PlanReport], None]"
"""Uses the surfaces of a plan before its report is written."""


@dataclass(frozen=True, slots=True, eq=False)
class WrittenPlan:
    """A plan with the folder it was written to."""

    made: Plan
    folder: Path
    report_path: Path
    notes: tuple[str, ...] = ()
    """What could not be produced beside the plan, and why."""
    parts: ReportParts | None = None
    """What the report shows, for its other forms."""

    @property
    def feasible(self) -> bool:
        """Whether there is a plan, for every tool."""
        return self.made.feasible

    @property
    def joint(self) -> JointPlan:
        """Of all tools."""
        return self.made.joint

    @property
    def plan(self) -> PlanResult:
        """Of the first tool."""
        return self.made.report.plan

    @property
    def assessment(self) -> Assessment:
        """The verdict, and what must be known beside it."""
        return self.made.assessment

    @property
    def study(self) -> StudyVolume:
        """What was planned on."""
        return self.made.inputs.study

    @property
    def margin_statements(self) -> tuple[MarginStatement, ...]:
        """As they hold for the masks as they are."""
        return self.made.inputs.margin_statements


def write_plan_from_file(
    path: Path,
    out: Path,
    *,
    with_paths: bool = False,
    is_identified: bool | None = None,
    progress: Progress | None = None,
) -> WrittenPlan:
    """Plan from a plan file whose structures are all given as masks, and write the results.

    ``plan.json`` repeats the plan file, `with_paths` with the paths in it; reports name the patient if `is_identified`,
    or, where that is None, unless the study's files say that it was de-identified.

    Raises
    ------
    ConfigError
        If the file lacks a study or a mask, or anything in it is wrong.
    """
    require_open3d()
    plan_file = read_plan_file(path)
    if plan_file.study is None:
        raise ConfigError(f"{path}: study.path is missing; it names the images the plan is shown on.")
    request = plan_file.request()
    check_names(
        request, [*(table.name for table in plan_file.structures if table.mask is not None), *plan_file.end_masks()]
    )
    with OutputFolder(out, PLAN_NAMES, inputs=named_files(path, plan_file), replaces_all=False) as folder:
        study = load_volume(
            plan_file.study.path,
            series=plan_file.study.series,
            volume=plan_file.study.volume,
            resample_tilt=plan_file.study.resample_tilt,
            modality=plan_file.study.modality,
            progress=progress,
        )
        study = with_identity(study, is_identified)
        inputs = resolve(
            request, study, plan_file_evidence(plan_file, study), origin=_origin(plan_file, with_paths=with_paths)
        )
        return write_plan(inputs, folder, progress=progress)


def write_plan_from_segmentation(
    plan_file: PlanFile,
    segmented: Segmented,
    evidence: Mapping[str, StructureEvidence],
    out: OutputFolder,
    *,
    checked: CheckedParts | None = None,
    why_here: bool = False,
    with_paths: bool = False,
    progress: Progress | None = None,
) -> WrittenPlan:
    """Plan from a plan file on structures that were just segmented, and write the results but for DICOM objects.

    Parameters
    ----------
    plan_file : PlanFile
    segmented : Segmented
    evidence : mapping
        Of the masks that the file names; see :func:`medsam_planner.workflow.mask_files.plan_file_evidence`.
    out : OutputFolder
    checked : CheckedParts, optional
        From :func:`medsam_planner.workflow.plan_request.check_request` with the same evidence.
    why_here : bool
        Explain the surface at the tightest place too: some hundred forward passes for each tool.
    with_paths : bool
        Whether ``plan.json`` may state the paths of the plan file.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If the file names a structure that has neither a mask nor prompts.
    """
    inputs = resolve(
        plan_file.request(),
        segmented.study,
        {**segmented.evidence(), **evidence},
        surfaces=segmented.surfaces,
        origin=_origin(plan_file, with_paths=with_paths),
        checked=checked,
    )
    explain = segmented.why_here if why_here else None
    return write_plan(inputs, out, explain=explain, with_objects=False, progress=progress)


def _origin(plan_file: PlanFile, *, with_paths: bool) -> PlanOrigin:
    entries = plan_file.model_dump(mode="json")
    return PlanOrigin(plan_file=entries if with_paths else without_folders(entries))


def write_plan(
    inputs: PlanInputs,
    folder: OutputFolder | Path,
    *,
    explain: Explain | None = None,
    true_clearance_mm: TrueClearance | None = None,
    with_objects: bool = True,
    progress: Progress | None = None,
) -> WrittenPlan:
    """Search, then write ``plan.json``, ``report.html``, and DICOM objects where the study came from DICOM.

    Without `with_objects` they are left to :func:`write_plan_objects`, which can then refer to those of the
    segmentation. Optional results that could not be produced are notes in ``plan.json`` and in the returned value.
    """
    made = plan_inputs(inputs, true_clearance_mm=true_clearance_mm, progress=progress)
    return write_made_plan(made, folder, explain=explain, with_objects=with_objects, progress=progress)


def write_made_plan(
    made: Plan,
    folder: OutputFolder | Path,
    *,
    explain: Explain | None = None,
    draw: Draw | None = None,
    with_objects: bool = True,
    progress: Progress | None = None,
) -> WrittenPlan:
    """As :func:`write_plan`, of a plan that is there already; `draw` gets its surfaces as soon as they are there."""
    inputs = made.inputs
    report, notes = made.report, list(inputs.notes)
    plan_path = folder / "plan.json"
    write_json(plan_path, made.document(notes))  # before what may fail
    explained = attempted(notes, "The reasons of the surface", partial(_explained, report, explain, progress)) or {}
    surfaces = drawn_surfaces(inputs, notes, progress=progress)
    entered, risk_surface = surfaces.get(inputs.request.tools[0].entry.surface), None
    if len(report.tools) == 1 and entered is not None:
        risk = partial(risk_surface_of, inputs, entered, progress)
        risk_surface = attempted(notes, "The risk map of the entry", risk)
    report = replace(report, surfaces=surfaces, why_here=explained, risk_surface=risk_surface)
    widened = attempted(notes, "The surfaces of the margins", partial(widened_surfaces, report)) or {}
    report = replace(report, widened_surfaces=widened)
    if draw is not None:
        attempted(notes, "The surfaces of the plan for the 3D view", partial(draw, report))
    parts = report_parts(report, progress)
    report_path = write_report(report, folder / "report.html", progress, parts=parts)
    made = replace(made, report=report)
    write_json(plan_path, made.document(notes))
    written = WrittenPlan(made, report_path.parent, report_path, tuple(notes), parts)
    return write_plan_objects(written, folder) if with_objects else written


def write_plan_objects(written: WrittenPlan, folder: OutputFolder | Path) -> WrittenPlan:
    """Write the DICOM objects of a plan, where its study came from DICOM.

    Returns
    -------
    WrittenPlan
        With the reason of each object that is missing, which ``plan.json`` has too.
    """
    made, notes = written.made, list(written.notes)
    parts = written.parts or report_parts(made.report)
    write_pictures_and_tool(folder, made.document(notes), made.report, parts, notes)
    # The structured report comes last, because it carries the SHA-256 of plan.json with all notes.
    document = made.document(notes)
    if notes != list(written.notes):
        write_json(folder / "plan.json", document)
    before = len(notes)
    write_structured_report(folder, document, made.inputs.study, notes)
    if len(notes) > before:
        write_json(folder / "plan.json", made.document(notes))
    return replace(written, notes=tuple(notes))


def drawn_surfaces(inputs: PlanInputs, notes: list[str], *, progress: Progress | None = None) -> dict[str, Surface]:
    """Meshes of all structures of the request, existing ones first; `notes` gets the reason of each that is missing."""
    drawn = dict(inputs.surfaces)
    for name, known in inputs.evidence.items():
        if name not in drawn:
            made = attempted(notes, f"The surface of '{name}'", partial(drawn_surface, known.mask, progress=progress))
            if made is not None:
                drawn[name] = made
    return drawn


def _explained(report: PlanReport, explain: Explain | None, progress: Progress | None) -> dict[str, WhyHere]:
    """By tool, why the surface lies where it limits the best path; a structure that came as a mask has no reasons."""
    found: dict[str, WhyHere] = {}
    for tool in report.tools:
        if explain is None or not tool.plan.alternatives:
            continue
        best = tool.plan.alternatives[0]
        if best.limiting_structure in report.segmentations:
            place = np.array(best.limiting_point_lps_mm, dtype=np.float64)
            found[tool.name] = explain(best.limiting_structure, place, progress)
    return found
