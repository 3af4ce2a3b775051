"""Plan from a request: search, verdict, cautions and the plan document. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.errors import PlanningError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.conservative_resampling import covering_map, is_on_grid
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.mask_flaws import FlawKind, MaskFlaw, find_flaws
from medsam_planner.planning.multi_tool import JointPlan, search_together
from medsam_planner.planning.plan_document import plan_document
from medsam_planner.planning.request import PlanRequest
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import Structure, StructureRole, bool_array
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanProvenance, versions
from medsam_planner.report import PlannedTool, PlanReport
from medsam_planner.report.assessment import Assessment, assess
from medsam_planner.volumes import StudyVolume, volume_like
from medsam_planner.workflow.mask_files import mask_evidence
from medsam_planner.workflow.plan_request import PlanInputs, resolve
from medsam_planner.workflow.unsegmented import with_surroundings
from prompts.names import UNSEGMENTED_BONE

if TYPE_CHECKING:
    from medsam_planner.report.decision import Decision
    from medsam_planner.segmentation.result import SegmentationResult

__all__ = ["Plan", "TrueClearance", "margins_statement", "plan", "plan_inputs", "plan_of_lines"]

TrueClearance: TypeAlias = Callable[[NDArray[np.float64]], dict[str, float]]
"""For phantoms: maps a trajectory (2, 3), LPS mm, to its clearance from each true structure in mm, tool radius
subtracted."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A plan in memory."""

    inputs: PlanInputs
    """With what the image shows where nothing was segmented."""
    joint: JointPlan
    report: PlanReport
    """Without the risk map."""
    assessment: Assessment
    """Verdict and cautions."""
    provenance: PlanProvenance

    @property
    def feasible(self) -> bool:
        """Whether every tool has a path, and all keep apart."""
        return self.joint.feasible

    def document(self, notes: Sequence[str] | None = None) -> dict[str, Any]:
        """The content of ``plan.json``, as plain JSON values.

        Parameters
        ----------
        notes : sequence of str, optional
            Limitations of the plan, and what could not be produced beside it; by default the limitations alone.
        """
        report, problem = self.report, self.inputs.problem
        document = plan_document(self.joint, self.inputs.problems)
        if report.true_clearance_mm is not None:
            document["true_clearance_mm_by_structure"] = report.true_clearance_mm
        return document | {
            "title": report.title,
            "notice": RESEARCH_USE_NOTICE,
            "margins_statement": margins_statement(problem.structures, report.margin_statements),
            "margins": [statement.as_entry() for statement in report.margin_statements],
            "why_here": {
                tool: {"structure": why.structure, "place_lps_mm": list(why.place_lps_mm), "faithfulness": why.metrics}
                for tool, why in report.why_here.items()
            },
            "provenance": self.provenance.as_json(),
            "verdict": {"kind": self.assessment.verdict.kind, "headline": self.assessment.verdict.headline},
            "cautions": [caution.as_entry() for caution in self.assessment.cautions],
            "decision": None if report.decision is None else report.decision.as_entry(),
            "mask_flaws": {name: [flaw.text for flaw in found] for name, found in report.flaws.items()},
            "notes": list(self.inputs.notes if notes is None else notes),
        }

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """Paths of the first tool, the best first; empty when there is none."""
        return self.report.plan.alternatives


def plan(
    request: PlanRequest,
    study: StudyVolume,
    masks: Mapping[str, highdicom.Volume | SegmentationResult | StructureEvidence],
    *,
    progress: Progress | None = None,
) -> Plan:
    """Plan straight tools past what must be avoided and inside what must hold them.

    Parameters
    ----------
    request : PlanRequest
    study : (K, J, I) StudyVolume
        From :func:`medsam_planner.load_volume`.
    masks : mapping
        By structure: a bool mask in the study's frame of reference, on its grid or another, or the result of
        segmenting it, whose uncertainty widens its margin.
    progress : Progress, optional

    Returns
    -------
    Plan
        Deterministic: the same request, study and masks give the same plan. That no path exists is an answer.

    Raises
    ------
    ConfigError, PlanningError, StudyError, GeometryError
        If the request names what is not there, or anything in it cannot be.
    """
    if not isinstance(request, PlanRequest):
        raise PlanningError(f"Expected a PlanRequest, got {type(request).__name__}.")
    if not isinstance(study, highdicom.Volume):
        raise PlanningError(f"Expected the study as load_volume() gives it, got {type(study).__name__}.")
    if not isinstance(study, StudyVolume):
        study = StudyVolume.from_volume(study, None)
    corridors = {one.name for one in request.structures if one.role is StructureRole.INSIDE}
    known = {name: _known(name, mask, study, is_corridor=name in corridors) for name, mask in masks.items()}
    return plan_inputs(resolve(request, study, known), progress=progress)


def _known(
    name: str,
    mask: highdicom.Volume | SegmentationResult | StructureEvidence,
    study: StudyVolume,
    *,
    is_corridor: bool,
) -> StructureEvidence:
    if isinstance(mask, StructureEvidence):
        return mask
    if not isinstance(mask, highdicom.Volume):
        if not hasattr(mask, "boundary_spread_mm"):
            raise PlanningError(
                f"Expected the mask of '{name}' as a highdicom.Volume or the result of segmenting it, got "
                f"{type(mask).__name__}; volume_like(study, array) makes a volume."
            )
        return StructureEvidence.of_result(mask)
    return mask_evidence(name, volume_like(mask, bool_array(mask, name)), study, is_corridor=is_corridor)


def plan_inputs(
    inputs: PlanInputs, *, true_clearance_mm: TrueClearance | None = None, progress: Progress | None = None
) -> Plan:
    """Search, then find verdict and cautions; nothing is written."""
    inputs = with_surroundings(inputs)
    joint = search_together(inputs.problems, min_gap_mm=inputs.request.min_tool_gap_mm, progress=progress)
    return plan_of_lines(inputs, joint, true_clearance_mm=true_clearance_mm)


def plan_of_lines(
    inputs: PlanInputs,
    joint: JointPlan,
    *,
    decision: Decision | None = None,
    true_clearance_mm: TrueClearance | None = None,
) -> Plan:
    """A plan of lines that were found or placed before, with verdict and cautions.

    Parameters
    ----------
    inputs : PlanInputs
        With its surroundings.
    joint : JointPlan
        The lines by tool; pictures, verdict and cautions are those of the first one.
    decision : Decision, optional
        What a person decided on it.
    true_clearance_mm : callable, optional
        For phantoms.
    """
    flaws = _flaws(inputs)
    statements = tuple(
        statement.with_mask_flaws(_flaw_texts(statement, flaws.get(statement.structure, ()), inputs))
        for statement in inputs.margin_statements
    )
    inputs = replace(inputs, margin_statements=statements)
    request, problems, study = inputs.request, inputs.problems, inputs.study
    tools = tuple(PlannedTool(name, found, problems[name].tool) for name, found in joint.plans.items())
    true_mm = _true_clearance_mm(true_clearance_mm, tools[0].plan)
    provenance = PlanProvenance(inputs.origin, request.as_entry(), request.search.seed, versions())
    results = {name: known.result for name, known in inputs.evidence.items() if known.result is not None}
    report = PlanReport(
        title=request.title,
        study=study,
        segmentations=results,
        roles=inputs.roles,
        tools=tools,
        joint=joint,
        margins_mm={one.name: _on_study(one.margin_mm, study) for one in inputs.problem.structures},
        surfaces=inputs.surfaces,
        prompts={name: known.log for name, known in inputs.evidence.items() if name in results and known.log},
        provenance=provenance,
        masks=inputs.masks,
        true_clearance_mm=true_mm,
        margin_statements=statements,
        surroundings=inputs.problem.surroundings,
        evidence=inputs.evidence,
        flaws=flaws,
        decision=decision,
    )
    return Plan(inputs, joint, report, assess(report), provenance)


def margins_statement(structures: tuple[Structure, ...], statements: tuple[MarginStatement, ...] = ()) -> str:
    """How wide the margins are, and which guarantee they carry."""
    widths = []
    for structure in structures:
        margin = structure.margin_mm
        if isinstance(margin, highdicom.Volume):
            low, high = (float(bound) for bound in (margin.array.min(), margin.array.max()))
            widths.append(f"{structure.name} {low:.1f} to {high:.1f} mm")
        else:
            widths.append(f"{structure.name} {float(margin):.1f} mm")
    guaranteed = [statement for statement in statements if statement.is_guaranteed]
    told = (one for one in statements if one.is_guaranteed or one.voids or "by_hand" in one.values)
    rule = " ".join(statement.explanation for statement in told)
    if len(guaranteed) < sum(structure.name != UNSEGMENTED_BONE for structure in structures):
        others = " of the other structures" if guaranteed else ""
        rule += (
            f" The margins{others} are a rule of thumb, wider where stochastic passes of the model disagree, and "
            "carry no coverage guarantee."
        )
    return (
        f"Margins: {'; '.join(widths) or 'none'}. {rule.strip()} The certified clearance holds for the given masks and "
        "margins, including voxel size and the stated tool error."
    )


def _flaws(inputs: PlanInputs) -> dict[str, tuple[MaskFlaw, ...]]:
    """Flaws of the mask of each segmented structure."""
    found = {}
    for structure in inputs.problem.structures:
        known = inputs.evidence.get(structure.name)
        if structure.name == UNSEGMENTED_BONE or known is None:
            continue
        found[structure.name] = find_flaws(
            structure.mask,
            boundary_spread_mm=known.boundary_spread_mm,
            prompted_slices=() if known.trace is None else known.trace.anchors(),
            axis=0 if known.trace is None else known.trace.axis,
        )
    return found


def _flaw_texts(statement: MarginStatement, flaws: tuple[MaskFlaw, ...], inputs: PlanInputs) -> list[str]:
    """Flaws of the mask that make its margin unreliable. A calibrated margin does not depend on the spread of the
    stochastic passes, unless it is narrower than a voxel."""
    voxel = float(spacing_mm(inputs.study.affine).min())
    depends_on_spread = statement.values.get("rule") != "conformal" or float(statement.values["smallest_mm"]) < voxel
    return [
        f"the mask {flaw.text}" for flaw in flaws if depends_on_spread or flaw.kind is not FlawKind.SPREAD_BELOW_VOXEL
    ]


def _true_clearance_mm(true_clearance_mm: TrueClearance | None, found: PlanResult) -> dict[str, float] | None:
    if true_clearance_mm is None or not found.alternatives:
        return None
    best = found.alternatives[0]
    return true_clearance_mm(np.array([best.entry_lps_mm, best.target_lps_mm]))


def _on_study(margin_mm: highdicom.Volume | float, study: StudyVolume) -> highdicom.Volume | float:
    """A margin on the grid of the study, for pictures; its own grid may reach beyond it."""
    if not isinstance(margin_mm, highdicom.Volume) or is_on_grid(margin_mm, study):
        return margin_mm
    return covering_map(margin_mm, study)
