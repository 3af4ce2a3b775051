"""What the image says of places nobody segmented, put into a plan: every route to a plan goes through here."""

from __future__ import annotations

from dataclasses import replace

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.geometry import index_from_lps
from medsam_planner.io.body import body_mask
from medsam_planner.io.intensity import normalisation_for, volume_modality
from medsam_planner.planning.evidence import StructureEvidence
from medsam_planner.planning.problem import PlanningProblem
from medsam_planner.planning.request import SKIN
from medsam_planner.planning.structures import StayInside, StructureRole
from medsam_planner.planning.surroundings import UNSEGMENTED_BONE, Surroundings, surroundings_of
from medsam_planner.workflow.plan_request import PlanInputs

__all__ = ["with_surroundings"]


def with_surroundings(inputs: PlanInputs) -> PlanInputs:
    """The same plan with the image around its lines, and with unsegmented bone among what it must avoid.

    Raises
    ------
    ConfigError
        If bone is to be avoided in a study without Hounsfield units.
    """
    surroundings = _surroundings(inputs)
    problems = {name: replace(problem, surroundings=surroundings) for name, problem in inputs.problems.items()}
    evidence, roles = dict(inputs.evidence), dict(inputs.roles)
    if _avoids_bone(inputs, surroundings):
        bone = surroundings.unsegmented_bone(_segmented(inputs), inputs.request.bone_rule.margin_mm)
        if bone is not None:
            problems = {
                name: replace(problem, structures=(*problem.structures, bone)) for name, problem in problems.items()
            }
            evidence[bone.name], roles[bone.name] = StructureEvidence(bone.mask), StructureRole.AVOID
    return replace(inputs, problems=problems, evidence=evidence, roles=roles)


def _surroundings(inputs: PlanInputs) -> Surroundings:
    study = inputs.study
    ends = [np.concatenate([one.entry.points_lps_mm, one.targets_lps_mm]) for one in inputs.problems.values()]
    is_ct = volume_modality(study) == "CT"
    shown = (0.0, 1.0)
    if not is_ct:
        try:
            normalisation = normalisation_for(study, None, "soft-tissue")
            shown = (normalisation.low, normalisation.high)
        except StudyError:  # an image without contrast: its values are told as they are
            shown = (0.0, 1.0)
    return surroundings_of(
        study,
        np.concatenate(ends),
        body=_body(inputs),
        is_ct=is_ct,
        intensity_range=shown,
        above_hu=inputs.request.bone_rule.above_hu,
    )


def _body(inputs: PlanInputs) -> highdicom.Volume | None:
    """The patient; None where nothing tells it from the air around."""
    if any(tool.entry.surface == SKIN for tool in inputs.request.tools):
        return inputs.evidence[SKIN].mask
    try:
        return body_mask(inputs.study)
    except StudyError:
        return None


def _avoids_bone(inputs: PlanInputs, surroundings: Surroundings) -> bool:
    asked, structures = inputs.request.bone_rule.avoid, inputs.problem.structures
    if asked and not surroundings.has_hounsfield_units:
        raise ConfigError(
            "[unsegmented_bone] avoid = true: expected a CT, whose Hounsfield units tell bone, got "
            f"{volume_modality(inputs.study)}. Segment the bone, or leave the entry out."
        )
    if any(structure.name == UNSEGMENTED_BONE for structure in structures):
        return False  # somebody segmented it under that name
    is_in_bone = any(isinstance(structure, StayInside) for structure in structures)
    return surroundings.has_hounsfield_units and (not is_in_bone if asked is None else asked)


def _segmented(inputs: PlanInputs) -> list[highdicom.Volume]:
    """What somebody outlined: whatever has a part in the plan, and what holds a target."""
    masks = [structure.mask for problem in inputs.problems.values() for structure in problem.structures]
    for name, known in inputs.evidence.items():
        is_target = inputs.roles.get(name) is StructureRole.TARGET
        if is_target or (
            known.result is not None and any(_holds(known.mask, problem) for problem in inputs.problems.values())
        ):
            masks.append(known.mask)
    unique = {id(mask): mask for mask in masks if tuple(mask.spatial_shape) == tuple(inputs.study.spatial_shape)}
    return list(unique.values())


def _holds(mask: highdicom.Volume, problem: PlanningProblem) -> bool:
    """Whether the middle of the target lies in a mask."""
    index = np.rint(index_from_lps(mask.affine, problem.targets_lps_mm[0])).astype(int)
    inside_grid = bool(((index >= 0) & (index < np.array(mask.spatial_shape))).all())
    return inside_grid and bool(mask.array[tuple(index)])
