"""From the workbench to the planner: what was asked for becomes a problem, or a sentence about what is missing."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import highdicom

from medsam_planner.calibration import calibrated_margin, read_calibration
from medsam_planner.errors import PlanningError
from medsam_planner.io.body import body_mask
from medsam_planner.plan_review import PlanInputs, ball_inside_study
from medsam_planner.planning.margins import MarginStatement, margin_from_spread, spread_statement
from medsam_planner.planning.problem import (
    EntryRegion,
    Limits,
    PlanningProblem,
    SearchSettings,
    entry_region_on_surface,
)
from medsam_planner.planning.structures import Avoid, StayInside
from medsam_planner.planning.structures import Structure as PlannedStructure
from medsam_planner.planning.surroundings import BoneRule
from medsam_planner.planning.tool import Tool
from medsam_planner.report import StructureRole
from medsam_planner.segmentation import SegmentationResult
from medsam_planner.volumes import StudyVolume
from prompts import PositionLpsMm, PromptLog
from ui.structure import Structure
from ui.wishes import PlanWishes
from ui.workbench import Workbench

__all__ = ["Ready", "inputs_of", "margin_of", "require_ready"]

_REPORT_ROLES = {"avoid": StructureRole.AVOID, "inside": StructureRole.INSIDE}


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
    wishes = workbench.wishes
    if wishes.target_lps_mm is None:
        raise PlanningError("The target is missing. Press “Set target” above the picture, then click on it.")
    if wishes.entry_lps_mm is None:
        raise PlanningError("The entry is missing. Press “Set entry” above the picture, then click on the surface.")
    taking_part = tuple(one for one in workbench.structures.values() if one.role != "ignore")
    if not taking_part:
        raise PlanningError("There is nothing to avoid or to stay inside. Choose the role of a structure.")
    for one in taking_part:
        if one.result is None:
            raise PlanningError(f"‘{one.name}’ takes part in the plan. Run it to 3D first, or set its role to ignore.")
        if one.is_stale:
            raise PlanningError(f"The prompts of ‘{one.name}’ changed since its 3D run. Run it again, or undo.")
    return Ready(taking_part, wishes.target_lps_mm, wishes.entry_lps_mm)


def inputs_of(workbench: Workbench) -> PlanInputs:
    """The planner's problem and what its report shows around it.

    Raises
    ------
    PlanningError, EmptyStructureError
        If something is missing, or the entry region does not touch the surface that is entered.
    """
    ready = require_ready(workbench)
    wishes, session = workbench.wishes, workbench.require_session()
    study = workbench.study
    if study is None:
        raise PlanningError("Open a study first.")
    roles = {one.name: _REPORT_ROLES[one.role] for one in ready.structures}
    masks = {}
    corridor = next((one.result for one in ready.structures if one.role == "inside"), None)
    if corridor is not None:
        entered, name = corridor.mask, f"‘{corridor.structure}’"
    else:
        entered, name = body_mask(study), "the skin"
        masks["skin"], roles["skin"] = entered, StructureRole.ENTRY
    margins = [_margin(one, wishes, study, session.log(one.name)) for one in ready.structures]
    problem = PlanningProblem(
        structures=tuple(
            _planned(one, margin, wishes) for one, (margin, _) in zip(ready.structures, margins, strict=True)
        ),
        tool=Tool(radius_mm=wishes.tool_radius_mm),
        entry=_entry(entered, name, ready.entry_lps_mm, wishes.entry_radius_mm),
        targets_lps_mm=ball_inside_study(study, ready.target_lps_mm, wishes.target_radius_mm),
        limits=Limits(max_length_mm=wishes.max_length_mm, max_entry_angle_deg=wishes.max_angle_deg),
        settings=SearchSettings(seed=workbench.settings.seed),
    )
    results = {one.name: one.result for one in workbench.structures.values() if one.result is not None}
    shown = {name: result for name, result in results.items() if result.mask.array.any()}
    return PlanInputs(
        title=f"Paths in {study.source.path.name}" if study.source else "Paths",
        study=study,
        problem=problem,
        segmentations=shown,
        prompts={name: session.log(name) for name in shown},
        surfaces={},
        roles=roles,
        masks=masks,
        provenance={
            "wishes": asdict(wishes) | {"calibration": None if wishes.calibration is None else wishes.calibration.name},
            "seed": workbench.settings.seed,
        },
        margin_statements=tuple(statement for _, statement in margins),
        bone_rule=BoneRule(avoid=None if wishes.avoid_bone else False),
    )


def margin_of(result: SegmentationResult, wishes: PlanWishes) -> highdicom.Volume | float:
    """Safety margin in mm: wider where the runs disagree, one number where there were no runs."""
    return margin_from_spread(result.boundary_spread_mm, **_rule(wishes))


def _rule(wishes: PlanWishes) -> dict[str, float]:
    base = wishes.base_margin_mm
    return {"base_mm": base, "factor": wishes.margin_factor, "cap_mm": max(wishes.margin_cap_mm, base)}


def _margin(
    structure: Structure, wishes: PlanWishes, study: StudyVolume, log: PromptLog
) -> tuple[highdicom.Volume | float, MarginStatement]:
    """Calibrated where there is a calibration, else by the spread; and what it promises."""
    result = structure.result
    if result is None:
        raise PlanningError(f"Run ‘{structure.name}’ to 3D first.")
    if wishes.calibration is None:
        varies = result.boundary_spread_mm is not None
        return margin_of(result, wishes), spread_statement(structure.name, **_rule(wishes), varies=varies)
    made = calibrated_margin(
        read_calibration(wishes.calibration),
        structure=structure.name,
        mask=result.mask,
        boundary_spread_mm=result.boundary_spread_mm,
        entropy_bits=result.uncertainty,
        provenance=result.provenance,
        log=log,
        study=study,
        alpha=wishes.alpha,
        inner=structure.role == "inside",
    )
    return made.margin_mm, made.statement()


def _planned(structure: Structure, margin: highdicom.Volume | float, wishes: PlanWishes) -> PlannedStructure:
    result = structure.result
    if result is None:
        raise PlanningError(f"Run ‘{structure.name}’ to 3D first.")
    samples = result.mask_samples or ()
    if structure.role == "inside":
        return StayInside(structure.name, result.mask, margin, samples, free_entry_mm=wishes.free_entry_mm)
    return Avoid(structure.name, result.mask, margin, samples)


def _entry(entered: highdicom.Volume, name: str, centre_lps_mm: PositionLpsMm, radius_mm: float) -> EntryRegion:
    """The surface near the clicked place."""
    try:
        return entry_region_on_surface(entered, centre_lps_mm=centre_lps_mm, radius_mm=radius_mm)
    except PlanningError as error:
        raise PlanningError(
            f"No surface of {name} lies within {radius_mm:g} mm of the entry. Set it nearer, or widen its radius."
        ) from error
