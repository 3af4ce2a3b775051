"""From planning problems to a reviewed plan: search, ``plan.json``, ``plan.dcm`` and ``report.html``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from scipy.spatial import cKDTree

from medsam_planner.case_masks import drawn_surface
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import spacing_mm, voxel_diagonal_mm
from medsam_planner.io import load_volume
from medsam_planner.io.covering import covering_map, is_on_grid
from medsam_planner.io.fault_log import attempted
from medsam_planner.io.files import write_json
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.io.plan_sr import save_plan_sr
from medsam_planner.mesh import Surface
from medsam_planner.mesh.open3d_mesh import require_open3d
from medsam_planner.pipeline import Segmented
from medsam_planner.plan_inputs import PlanInputs, ball_inside_study, case_files, check_case, inputs_of_case
from medsam_planner.plan_surroundings import with_surroundings
from medsam_planner.planning.case import read_case
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.mask_flaws import FlawKind, MaskFlaw, find_flaws
from medsam_planner.planning.plan_file import plan_document, several_document
from medsam_planner.planning.search import PlanResult, risk_map_mm, search
from medsam_planner.planning.several import SeveralPlans, search_together
from medsam_planner.planning.structures import Structure
from medsam_planner.planning.surroundings import UNSEGMENTED_BONE
from medsam_planner.progress import Progress
from medsam_planner.report import RESEARCH_USE_NOTICE, PlannedTool, PlanReport, write_report
from medsam_planner.report.assessment import Assessment, assess
from medsam_planner.report.model import RISK_NAME
from medsam_planner.run_folder import PLAN_NAMES
from medsam_planner.versions import versions
from medsam_planner.volumes import StudyVolume
from medsam_planner.why_here import WhyHere

__all__ = [
    "AssessedPlan",
    "PlanInputs",
    "ReviewedPlan",
    "assessed_plan",
    "ball_inside_study",
    "check_case",
    "margins_statement",
    "review_case",
    "review_plan",
    "review_segmented_case",
]


@dataclass(frozen=True, slots=True, eq=False)
class AssessedPlan:
    """A plan before anything of it is written."""

    inputs: PlanInputs
    """With what the image says of places nobody segmented."""
    report: PlanReport
    """Without the risk map."""
    assessment: Assessment
    document: dict[str, Any]
    """``plan.json``."""


@dataclass(frozen=True, slots=True, eq=False)
class ReviewedPlan:
    """What was planned, and where it was written."""

    plan: PlanResult
    """Of the only tool, or of the first."""
    folder: Path
    report_path: Path
    assessment: Assessment
    """The verdict, and what must be known beside it."""
    study: StudyVolume
    margin_statements: tuple[MarginStatement, ...] = ()
    """As they hold for the masks as they are."""
    several: SeveralPlans | None = None
    """All tools together, where there are several."""
    notes: tuple[str, ...] = ()
    """What could not be made beside the plan, and why."""

    @property
    def feasible(self) -> bool:
        """Whether there is a plan, for every tool."""
        return self.plan.feasible if self.several is None else self.several.feasible


def review_case(case_path: Path, out: Path, *, progress: Progress | None = None) -> ReviewedPlan:
    """Plan a case whose structures are all given as masks.

    Raises
    ------
    ConfigError
        If the case lacks a study or a mask, or anything in it is wrong.
    """
    require_open3d()
    case = read_case(case_path)
    if case.study is None:
        raise ConfigError(f"{case_path}: study.path is missing; it names the images the plan is shown on.")
    with OutputFolder(out, PLAN_NAMES, inputs=case_files(case_path, case), replaces_all=False) as folder:
        study = load_volume(
            case.study.path,
            series=case.study.series,
            resample_tilt=case.study.resample_tilt,
            modality=case.study.modality,
            progress=progress,
        )
        return review_plan(inputs_of_case(case, study, None, progress=progress), folder, progress=progress)


def review_segmented_case(
    case_path: Path,
    segmented: Segmented,
    out: OutputFolder,
    *,
    why_here: bool = False,
    progress: Progress | None = None,
) -> ReviewedPlan:
    """Plan a case on structures that were just segmented.

    Parameters
    ----------
    case_path : Path
    segmented : Segmented
    out : OutputFolder
    why_here : bool
        Explain the surface at the tightest place too: some hundred forward passes for each tool.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If the case names a structure that has neither a mask nor prompts.
    """
    inputs = inputs_of_case(read_case(case_path), segmented.study, segmented, progress=progress)
    if why_here:
        inputs = replace(inputs, why_here=segmented.why_here)
    return review_plan(inputs, out, progress=progress)


def review_plan(inputs: PlanInputs, folder: OutputFolder | Path, *, progress: Progress | None = None) -> ReviewedPlan:
    """Search, then write ``plan.json``, ``report.html``, and ``plan.dcm`` where the study came from DICOM.

    What the plan can do without and could not be made is a note in ``plan.json`` and in what is returned.
    """
    planned = assessed_plan(inputs, progress=progress)
    report, inputs, document = planned.report, planned.inputs, planned.document
    plans = {one.name: one.plan for one in report.tools()}
    notes = list(inputs.notes)
    document["notes"] = list(notes)
    write_json(folder / "plan.json", document)  # before what may fail
    sr_path = folder / "plan.dcm"
    sr_path.unlink(missing_ok=True)  # the report of an earlier plan does not stay beside one that has none
    explained = attempted(notes, "The reasons of the surface", partial(_explained, inputs, plans, progress)) or {}
    document["why_here"] = {
        tool: {"structure": why.structure, "place_lps_mm": list(why.place_lps_mm), "faithfulness": why.figures}
        for tool, why in explained.items()
    }
    risk_surface = None
    if report.several is None:
        risk_surface = attempted(notes, "The risk map of the entry", partial(_risk_surface, inputs, progress))
    report = replace(report, why_here=explained, risk_surface=risk_surface)
    report_path = write_report(report, folder / "report.html", progress)
    document["notes"] = list(notes)
    write_json(folder / "plan.json", document)
    attempted(notes, "plan.dcm", partial(_write_sr, document, sr_path, inputs.study, plans))
    if len(notes) > len(document["notes"]):
        document["notes"] = list(notes)
        write_json(folder / "plan.json", document)
    return ReviewedPlan(
        report.plan,
        report_path.parent,
        report_path,
        planned.assessment,
        inputs.study,
        inputs.margin_statements,
        report.several,
        tuple(notes),
    )


def assessed_plan(inputs: PlanInputs, *, progress: Progress | None = None) -> AssessedPlan:
    """Search, and say what the plan is worth; nothing is written."""
    inputs = with_surroundings(inputs)
    flaws = _flaws(inputs)
    statements = tuple(
        statement.doubted(_doubts(statement, flaws.get(statement.structure, ()), inputs))
        for statement in inputs.margin_statements
    )
    inputs = replace(inputs, margin_statements=statements)
    several = None
    if inputs.others:
        several = search_together(inputs.problems, min_gap_mm=inputs.min_tool_gap_mm, progress=progress)
        plans = dict(several.plans)
        document = several_document(several, inputs.problems)
    else:
        plans = {inputs.tool_name: search(inputs.problem, progress=progress)}
        document = plan_document(plans[inputs.tool_name], inputs.problem)
    truth = _truth(inputs, plans)
    if truth is not None:
        document["true_clearance_mm_by_structure"] = truth
    document["title"] = inputs.title
    document["notice"] = RESEARCH_USE_NOTICE
    document["margins_statement"] = margins_statement(inputs.problem.structures, inputs.margin_statements)
    document["margins"] = [statement.as_entry() for statement in inputs.margin_statements]
    document["why_here"] = {}
    document["provenance"] = {**inputs.provenance, "versions": versions()}
    first, *others = plans
    report = PlanReport(
        title=inputs.title,
        study=inputs.study,
        segmentations=inputs.segmentations,
        roles=inputs.roles,
        plan=plans[first],
        tool=inputs.problems[first].tool,
        margins_mm={one.name: _on_study(one.margin_mm, inputs.study) for one in inputs.problem.structures},
        surfaces=inputs.surfaces,
        prompts=inputs.prompts,
        provenance=document["provenance"],
        masks=inputs.masks,
        truth=truth,
        tool_name=first,
        other_tools=tuple(PlannedTool(name, plans[name], inputs.problems[name].tool) for name in others),
        several=several,
        margin_statements=inputs.margin_statements,
        surroundings=inputs.problem.surroundings,
        evidence=inputs.evidence,
        flaws=flaws,
    )
    assessment = assess(report)
    document["verdict"] = {"kind": assessment.verdict.kind, "headline": assessment.verdict.headline}
    document["cautions"] = [caution.as_entry() for caution in assessment.cautions]
    document["mask_flaws"] = {name: [flaw.text for flaw in found] for name, found in flaws.items()}
    return AssessedPlan(inputs, report, assessment, document)


def margins_statement(structures: tuple[Structure, ...], statements: tuple[MarginStatement, ...] = ()) -> str:
    """How wide the margins are, and what holds and what does not."""
    widths = []
    for structure in structures:
        margin = structure.margin_mm
        if isinstance(margin, highdicom.Volume):
            low, high = (float(bound) for bound in (margin.array.min(), margin.array.max()))
            widths.append(f"{structure.name} {low:.1f} to {high:.1f} mm")
        else:
            widths.append(f"{structure.name} {float(margin):.1f} mm")
    promised = [statement for statement in statements if statement.is_promised]
    rule = " ".join(statement.explanation for statement in statements if statement.is_promised or statement.voids)
    if len(promised) < sum(structure.name != UNSEGMENTED_BONE for structure in structures):
        others = " of the other structures" if promised else ""
        rule += (
            f" The margins{others} are a rule of thumb, wider where stochastic runs of the model disagree, and carry "
            "no coverage guarantee."
        )
    return (
        f"Margins: {'; '.join(widths) or 'none'}. {rule.strip()} The certified clearance holds for the given masks and "
        "margins, voxels and the stated tool error included."
    )


def _flaws(inputs: PlanInputs) -> dict[str, tuple[MaskFlaw, ...]]:
    """By structure that was segmented or came as a mask, what is wrong with its mask."""
    found = {}
    for structure in inputs.problem.structures:
        if structure.name == UNSEGMENTED_BONE:
            continue
        result, evidence = inputs.segmentations.get(structure.name), inputs.evidence.get(structure.name)
        known = result or evidence
        trace = None if known is None else known.trace
        found[structure.name] = find_flaws(
            structure.mask,
            boundary_spread_mm=None if known is None else known.boundary_spread_mm,
            prompted_slices=() if trace is None else trace.anchors(),
            axis=0 if trace is None else trace.axis,
        )
    return found


def _doubts(statement: MarginStatement, flaws: tuple[MaskFlaw, ...], inputs: PlanInputs) -> list[str]:
    """Why a margin cannot be taken at its word. One that was measured on patients does not lean on the runs' spread,
    unless it is itself finer than a voxel."""
    voxel = float(spacing_mm(inputs.study.affine).min())
    leans_on_runs = statement.facts.get("rule") != "conformal" or float(statement.facts["smallest_mm"]) < voxel
    return [f"the mask {flaw.text}" for flaw in flaws if leans_on_runs or flaw.kind is not FlawKind.SPREAD_BELOW_VOXEL]


def _truth(inputs: PlanInputs, plans: Mapping[str, PlanResult]) -> dict[str, float] | None:
    plan = plans[next(iter(plans))]
    if inputs.true_clearance_mm is None or not plan.alternatives:
        return None
    best = plan.alternatives[0]
    return inputs.true_clearance_mm(np.array([best.entry_lps_mm, best.target_lps_mm]))


def _explained(inputs: PlanInputs, plans: Mapping[str, PlanResult], progress: Progress | None) -> dict[str, WhyHere]:
    """By tool, why the surface lies where it limits the best line; a structure that came as a mask has no reasons."""
    found: dict[str, WhyHere] = {}
    for tool, plan in plans.items():
        if inputs.why_here is None or not plan.alternatives:
            continue
        best = plan.alternatives[0]
        if best.limiting_structure in inputs.segmentations:
            found[tool] = inputs.why_here(
                best.limiting_structure, np.array(best.limiting_point_lps_mm, dtype=np.float64), progress
            )
    return found


def _write_sr(document: Mapping[str, Any], path: Path, study: StudyVolume, plans: Mapping[str, PlanResult]) -> None:
    """The JSON file's twin."""
    source = study.source
    is_dicom = source is not None and source.format == "dicom" and source.is_referable
    if is_dicom and study.frame_of_reference_uid and any(plan.alternatives for plan in plans.values()):
        save_plan_sr(document, path, study)


def _on_study(margin_mm: highdicom.Volume | float, study: StudyVolume) -> highdicom.Volume | float:
    """The part of a margin that the pictures show; its grid may reach beyond the study."""
    if not isinstance(margin_mm, highdicom.Volume) or is_on_grid(margin_mm, study):
        return margin_mm
    return covering_map(margin_mm, study)


def _risk_surface(inputs: PlanInputs, progress: Progress | None) -> Surface | None:
    """The entered surface with the best certified clearance of each place of the entry region; NaN elsewhere."""
    problem, entry_mask = inputs.problem, inputs.entry_mask
    if entry_mask is None:
        return None
    surface = drawn_surface(entry_mask, progress=progress)
    if surface is None:
        return None
    entries = cKDTree(problem.entry.points_lps_mm)
    reach_mm = 2.0 * voxel_diagonal_mm(entry_mask.affine)
    enterable = np.isfinite(entries.query(surface.vertices_lps_mm, distance_upper_bound=reach_mm)[0])
    risk = np.full(len(surface.vertices_lps_mm), np.nan, dtype=np.float32)
    if enterable.any():
        risk[enterable] = risk_map_mm(problem, surface.vertices_lps_mm[enterable], progress=progress)
    return surface.with_values(RISK_NAME, risk)
