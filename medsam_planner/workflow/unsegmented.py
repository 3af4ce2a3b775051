"""Add to a plan what the image shows where nothing was segmented: body, air and unsegmented bone."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.geometry import index_from_lps
from medsam_planner.io.body import body_mask
from medsam_planner.io.intensity import normalisation_for, volume_modality
from medsam_planner.planning.problem import PlanningProblem
from medsam_planner.planning.structure_evidence import StructureEvidence
from medsam_planner.planning.structures import Avoid, StructureRole
from medsam_planner.planning.surroundings import AIR_BELOW_HU, BONE_ABOVE_HU, Surroundings, surroundings_of
from medsam_planner.workflow.plan_request import PlanInputs
from prompts.masks import mask_box
from prompts.names import SKIN

__all__ = ["with_surroundings"]

_BONE_SHARE = 0.1
"""Of a corridor's voxels."""
_MOST_AIR = 0.3
"""Of the voxels around a corridor."""


def with_surroundings(inputs: PlanInputs) -> PlanInputs:
    """Return the plan inputs with the surroundings of the trajectories, and with unsegmented bone to avoid.

    Raises
    ------
    ConfigError
        If bone is to be avoided in a study without Hounsfield units.
    """
    surroundings = _surroundings(inputs)
    surroundings = replace(surroundings, bone_corridors=_bone_corridors(inputs, surroundings))
    surroundings = replace(surroundings, is_bone_avoided=_avoids_bone(inputs, surroundings))
    problems = {name: replace(problem, surroundings=surroundings) for name, problem in inputs.problems.items()}
    evidence, roles = dict(inputs.evidence), dict(inputs.roles)
    if surroundings.is_bone_avoided:
        bone = surroundings.unsegmented_bone(
            _segmented(inputs, surroundings.bone_corridors), inputs.request.bone_rule.margin_mm
        )
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
        except StudyError:  # an image without contrast: its values are shown unchanged
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
    """Mask of the body; None where it cannot be separated from the air around it."""
    if any(tool.entry.surface == SKIN for tool in inputs.request.tools):
        return inputs.evidence[SKIN].mask
    try:
        return body_mask(inputs.study)
    except StudyError:
        return None


def _avoids_bone(inputs: PlanInputs, surroundings: Surroundings) -> bool:
    avoid = inputs.request.bone_rule.avoid
    if avoid and not surroundings.has_hounsfield_units:
        raise ConfigError(
            "[unsegmented_bone] avoid = true: expected a CT, whose Hounsfield units identify bone, got "
            f"{volume_modality(inputs.study)}. Segment the bone, or leave the entry out."
        )
    return surroundings.has_hounsfield_units and (not surroundings.bone_corridors if avoid is None else avoid)


def _bone_corridors(inputs: PlanInputs, surroundings: Surroundings) -> tuple[str, ...]:
    """Structures to stay inside that are bone."""
    if not surroundings.has_hounsfield_units:
        return ()
    corridors = [name for name, role in inputs.roles.items() if role is StructureRole.INSIDE]
    return tuple(name for name in corridors if _is_bone(inputs.evidence[name].mask.array > 0, inputs.study.array))


def _is_bone(inside: NDArray[np.bool_], hu: NDArray[np.floating]) -> bool:
    """Whether enough of a structure is as dense as bone, as marrow fills the rest, and no air surrounds it.

    A trunk or a head to stay inside contains bone, but is not bone.
    """
    box = mask_box(inside, grown=1)
    inside, hu = inside[box], hu[box]
    shell = ndimage.binary_dilation(inside) & ~inside
    is_dense = float((hu[inside] >= BONE_ABOVE_HU).mean()) >= _BONE_SHARE
    return is_dense and (not shell.any() or float((hu[shell] < AIR_BELOW_HU).mean()) < _MOST_AIR)


def _segmented(inputs: PlanInputs, bone_corridors: Collection[str]) -> list[highdicom.Volume]:
    """Masks of the structures that take part in the plan, and of those that contain a target."""
    masks = [
        structure.mask
        for problem in inputs.problems.values()
        for structure in problem.structures
        if isinstance(structure, Avoid)
        or structure.name in bone_corridors  # a soft corridor says nothing of bone in it
    ]
    for name, known in inputs.evidence.items():
        is_target = inputs.roles.get(name) is StructureRole.TARGET
        is_soft_corridor = inputs.roles.get(name) is StructureRole.INSIDE and name not in bone_corridors
        if is_target or (
            known.result is not None
            and not is_soft_corridor
            and any(_holds(known.mask, problem) for problem in inputs.problems.values())
        ):
            masks.append(known.mask)
    unique = {id(mask): mask for mask in masks if tuple(mask.spatial_shape) == tuple(inputs.study.spatial_shape)}
    return list(unique.values())


def _holds(mask: highdicom.Volume, problem: PlanningProblem) -> bool:
    """Whether the middle of the target lies in a mask."""
    index = np.rint(index_from_lps(mask.affine, problem.targets_lps_mm[0])).astype(int)
    inside_grid = bool(((index >= 0) & (index < np.array(mask.spatial_shape))).all())
    return inside_grid and bool(mask.array[tuple(index)])
