"""From the workbench to the planner: the page becomes a plan request, or a sentence about what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from medsam_planner.errors import PlanningError
from medsam_planner.planning.evidence import StructureEvidence
from medsam_planner.planning.problem import Limits, SearchSettings
from medsam_planner.planning.request import (
    CalibratedRule,
    EntryRequest,
    PlanRequest,
    SpreadRule,
    StructureRequest,
    TargetRequest,
    ToolRequest,
)
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.surroundings import BoneRule
from medsam_planner.planning.tool import Tool
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.structure import Structure
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.plan_request import PlanInputs, resolve
from prompts import PositionLpsMm

__all__ = ["Ready", "inputs_of", "request_of", "require_ready"]


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """Nothing is missing for a plan."""

    structures: tuple[Structure, ...]
    """Those that take part, each with a 3D result of its present prompts."""
    target_lps_mm: PositionLpsMm
    entry_lps_mm: PositionLpsMm


def require_ready(workbench: Workbench) -> Ready:
    """What takes part in the plan.

    Raises
    ------
    PlanningError
        If the target or the entry is not set, or a structure has no 3D result of its present prompts.
    """
    workbench.require_session()
    draft = workbench.draft
    if draft.target_lps_mm is None:
        raise PlanningError("The target is missing. Press “Set target” above the picture, then click on it.")
    if draft.entry_lps_mm is None:
        raise PlanningError("The entry is missing. Press “Set entry” above the picture, then click on the surface.")
    taking_part = tuple(one for one in workbench.structures.values() if one.role != "ignore")
    if not taking_part:
        raise PlanningError("There is nothing to avoid or to stay inside. Choose the role of a structure.")
    for one in taking_part:
        if one.result is None:
            raise PlanningError(f"‘{one.name}’ takes part in the plan. Run it to 3D first, or set its role to ignore.")
        if one.is_stale:
            raise PlanningError(f"The prompts of ‘{one.name}’ changed since its 3D run. Run it again, or undo.")
    return Ready(taking_part, draft.target_lps_mm, draft.entry_lps_mm)


def request_of(workbench: Workbench) -> PlanRequest:
    """What the page asks for.

    Raises
    ------
    PlanningError
        If something is missing.
    """
    ready = require_ready(workbench)
    draft = workbench.draft
    study = workbench.study
    corridor = next((one.name for one in ready.structures if one.role == "inside"), None)
    return PlanRequest(
        title=f"Paths in {study.source.path.name}" if study is not None and study.source else "Paths",
        tools=(
            ToolRequest(
                Tool(radius_mm=draft.tool_radius_mm),
                TargetRequest(ready.target_lps_mm, draft.target_radius_mm),
                EntryRequest(corridor, ready.entry_lps_mm, draft.entry_radius_mm),
            ),
        ),
        structures=tuple(_structure(one, draft) for one in ready.structures),
        limits=Limits(max_length_mm=draft.max_length_mm, max_entry_angle_deg=draft.max_angle_deg),
        bone_rule=BoneRule(avoid=None if draft.avoid_bone else False),
        search=SearchSettings(seed=workbench.settings.seed),
    )


def inputs_of(workbench: Workbench) -> PlanInputs:
    """The request of the page with everything it names.

    Raises
    ------
    PlanningError, EmptyStructureError
        If something is missing, or the entry region does not touch the surface that is entered.
    """
    request, session, study = request_of(workbench), workbench.require_session(), workbench.study
    if study is None:
        raise PlanningError("Open a study first.")
    evidence = {
        one.name: StructureEvidence.of_result(one.result, session.log(one.name))
        for one in workbench.structures.values()
        if one.result is not None
    }
    return resolve(request, study, evidence, provenance={"page": True})


def _structure(structure: Structure, draft: PlanDraft) -> StructureRequest:
    role = StructureRole(structure.role)
    base_mm = draft.base_margin_mm
    margin: SpreadRule | CalibratedRule = SpreadRule(base_mm, draft.margin_factor, max(draft.margin_cap_mm, base_mm))
    if draft.calibration is not None:
        margin = CalibratedRule(draft.calibration, draft.alpha)
    free_entry_mm = draft.free_entry_mm if role is StructureRole.INSIDE else 0.0
    return StructureRequest(structure.name, role, margin, free_entry_mm)
