"""Complete the plan draft of a workbench into a plan request, or say what is missing."""

from __future__ import annotations

from dataclasses import dataclass

from medsam_planner.errors import PlanningError
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
from medsam_planner.service.plan_draft import PlanDraft, ToolEnds
from medsam_planner.service.structure import Role, Structure
from medsam_planner.service.workbench import Workbench

__all__ = ["Ready", "request_of", "require_ready"]


@dataclass(frozen=True, slots=True, eq=False)
class Ready:
    """What a complete plan draft names."""

    structures: tuple[Structure, ...]
    """The structures in the plan, each with a 3D result of its current prompts."""
    tools: tuple[ToolEnds, ...]
    """At least one."""


def require_ready(workbench: Workbench) -> Ready:
    """Structures, target and entry of the plan.

    Raises
    ------
    PlanningError
        If the target or the entry is not set, or a structure in the plan has no 3D result of its current
        prompts.
    """
    workbench.require_work()
    draft = workbench.snapshot.draft
    is_set = draft.target_lps_mm is not None or draft.entry_lps_mm is not None
    if draft.target_lps_mm is None and (is_set or not draft.other_tools):
        raise PlanningError("The target is missing. Press “Set target” above the image, then click the target.")
    if draft.entry_lps_mm is None and (is_set or not draft.other_tools):
        raise PlanningError("The entry is missing. Press “Set entry” above the image, then click on the surface.")
    taking_part = tuple(one for one in workbench.snapshot.structures.values() if one.role is not Role.IGNORE)
    if not taking_part:
        raise PlanningError("No structure is part of the plan. Set the role of one to “avoid” or “stay inside”.")
    for one in taking_part:
        if one.stored is None:
            raise PlanningError(
                f"‘{one.name}’ is part of the plan. Segment it in 3D first, or set its role to “ignore”."
            )
        if one.is_stale:
            raise PlanningError(
                f"The prompts of ‘{one.name}’ changed since it was segmented in 3D. Segment it again, or undo."
            )
    return Ready(taking_part, draft.tools())


def request_of(workbench: Workbench) -> PlanRequest:
    """The plan request that the draft of the workbench states.

    Raises
    ------
    PlanningError
        If something is missing, or the path must stay inside the structure it enters from its first point on.
    """
    ready, draft = require_ready(workbench), workbench.draft
    study = workbench.snapshot.study
    corridor = next((one.name for one in ready.structures if one.role is Role.INSIDE), None)
    if corridor is not None and not draft.free_entry_mm:
        raise PlanningError(
            f"The path enters through the surface of ‘{corridor}’ and can keep no margin there. Set “outside after "
            "entry (mm)” to the length of path that may lie outside, for example 8."
        )
    return PlanRequest(
        title=f"Paths in {study.source.series_description or study.source.modality}"
        if study is not None and study.source
        else "Paths",
        tools=tuple(
            ToolRequest(
                Tool(draft.tool_radius_mm, draft.entry_error_mm, draft.target_error_mm),
                TargetRequest(one.target_lps_mm, draft.target_radius_mm),
                EntryRequest(corridor, one.entry_lps_mm, draft.entry_radius_mm),
                one.name,
            )
            for one in ready.tools
        ),
        structures=tuple(_structure(one, draft) for one in ready.structures),
        limits=Limits(max_length_mm=draft.max_length_mm, max_entry_angle_deg=draft.max_angle_deg),
        bone_rule=BoneRule(avoid=None if draft.avoid_bone else False),
        search=SearchSettings(seed=workbench.require_work().state.seed),
    )


def _structure(structure: Structure, draft: PlanDraft) -> StructureRequest:
    role = StructureRole(structure.role.value)
    base_mm = draft.base_margin_mm
    margin: SpreadRule | CalibratedRule = SpreadRule(base_mm, draft.margin_factor, draft.margin_cap_mm)
    if draft.calibration is not None:
        margin = CalibratedRule(draft.calibration, draft.alpha)
    free_entry_mm = draft.free_entry_mm if role is StructureRole.INSIDE else 0.0
    return StructureRequest(structure.name, role, margin, free_entry_mm)
