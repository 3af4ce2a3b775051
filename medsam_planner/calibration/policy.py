"""The prompting policy of calibrations, and whether a structure was prompted under it."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import acquisition_axis
from prompts import Box, PromptLog, box_extent
from prompts.annotator import first_box
from prompts.by_hand import by_hand

__all__ = ["POLICY", "POLICY_IN_WORDS", "departures", "policy_box"]

POLICY = "first-box-1"
"""Name of the policy in calibration files; its number changes with the rule."""
POLICY_IN_WORDS = "one loose box on the structure's middle slice of the acquisition plane, and nothing else"


def policy_box(reference: NDArray[np.bool_], affine: NDArray[np.float64], subject: str, structure: str) -> Box:
    """The box under the policy: :func:`prompts.annotator.first_box`, seeded by patient and structure only.

    Parameters
    ----------
    reference : (K, J, I) bool
        Reference mask of the structure.
    affine : (4, 4) float
        Index → LPS mm.
    subject, structure : str
        Names of the patient and the structure, from which the seed is derived.
    """
    seed = int.from_bytes(hashlib.sha256(f"{subject}/{structure}".encode()).digest()[:4], "big")
    return first_box(reference, affine, acquisition_axis(affine), seed=seed)


def departures(log: PromptLog | None, affine: NDArray[np.float64], shape: tuple[int, ...]) -> list[str]:
    """How the prompts of a structure depart from the policy; empty where they follow it.

    Whether the box lies on the middle slice cannot be checked without a reference mask.

    Parameters
    ----------
    log : PromptLog or None
        Prompts of the structure; None where they are not known.
    affine : (4, 4) float
        Index → LPS mm.
    shape : (3,) int
        Voxels along each array axis.
    """
    expected = f"the calibration patients were prompted with {POLICY_IN_WORDS}"
    if log is None:
        return [f"it is not known how the structure was prompted, while {expected}"]
    if told := by_hand(log):
        return [f"its mask was {told}, while {expected}"]
    boxes = [prompt for prompt in log.prompts if isinstance(prompt, Box)]
    if len(log.prompts) != 1 or len(boxes) != 1:
        others = len(log.prompts) - len(boxes)
        return [f"it was prompted with {len(boxes)} boxes and {others} other prompts, while {expected}"]
    axis = box_extent(boxes[0], affine, shape).axis
    if axis is None:
        return [f"it was prompted with a 3D box, while {expected}"]
    if axis != acquisition_axis(affine):
        return [f"its box does not lie on the acquisition plane, while {expected}"]
    return []
