"""The one way in which calibration patients were prompted, and whether a structure was prompted the same way."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import acquisition_axis
from prompts import Box, PromptLog, box_extent
from prompts.annotator import first_box

__all__ = ["POLICY", "POLICY_IN_WORDS", "departures", "policy_box"]

POLICY = "first-box-1"
"""Name of the policy in calibration files; the number changes with the rule."""
POLICY_IN_WORDS = "one box, not quite tight, on the structure's middle slice of the acquisition plane, and nothing else"


def policy_box(truth: NDArray[np.bool_], affine: NDArray[np.float64], subject: str, structure: str) -> Box:
    """The box the policy draws. How loose it is depends on the patient and the structure, and on nothing else."""
    seed = int.from_bytes(hashlib.sha256(f"{subject}/{structure}".encode()).digest()[:4], "big")
    return first_box(truth, affine, acquisition_axis(affine), seed=seed)


def departures(log: PromptLog | None, affine: NDArray[np.float64], shape: tuple[int, ...]) -> list[str]:
    """What in a structure's prompts the policy does not know; empty when it was followed.

    Whether the box lies on the *middle* slice cannot be seen without the truth.
    """
    expected = f"the calibration patients were prompted with {POLICY_IN_WORDS}"
    if log is None:
        return [f"it is not known how the structure was prompted, while {expected}"]
    boxes = [prompt for prompt in log.prompts if isinstance(prompt, Box)]
    if len(log.prompts) != 1 or len(boxes) != 1:
        others = len(log.prompts) - len(boxes)
        return [f"it was prompted with {len(boxes)} boxes and {others} other prompts, while {expected}"]
    axis = box_extent(boxes[0], affine, shape).axis
    if axis is None:
        return [f"it was prompted with a 3D box, while {expected}"]
    if axis != acquisition_axis(affine):
        return [f"its box lies on another plane than the acquisition's, while {expected}"]
    return []
