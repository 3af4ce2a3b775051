"""The propagation method of each kind of model.

A model without a memory is prompted with the mask of the slice before, with motion compensation
(:mod:`~medsam_planner.propagation.motion_compensated`). A model with a memory attends to the predicted slices
themselves (:mod:`~medsam_planner.propagation.memory_propagation`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import ModelWithMemory, PromptableModel, VolumeModel
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.propagation.anchors import SliceEvent
from medsam_planner.propagation.front import Anchor, PropagatedClick, PropagationFront, StopRules, slice_grid
from medsam_planner.propagation.memory_propagation import MEMORY_PROPAGATION_VERSION, MemoryPropagation
from medsam_planner.propagation.motion_compensated import (
    MOTION_COMPENSATED_VERSION,
    MotionCompensatedMethod,
    SegmenterSlices,
)

__all__ = ["PropagationMethod", "method_for", "propagation_version"]


class PropagationMethod(Protocol):
    """Predicts the slices across one axis of a study."""

    def predict(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, tuple[PropagatedClick, ...]]:
        """Predict the slice of a prompt, and collect the corrections that hold on other slices too.

        Parameters
        ----------
        event : SliceEvent
            The prompt on its slice.
        anchors : mapping of slice index to Anchor
            Slices that were prompted before.
        found : mapping of slice index to SlicePrediction
            Predictions that these anchors lead to; on a prompted slice with a mask, that slice only.
        """

    def candidate_masks(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, ...]:
        """Every candidate prediction for a prompt, best first; one where the prompt is unambiguous."""

    def front(self, anchors: Mapping[int, Anchor], start: int, direction: int, *, is_between: bool) -> PropagationFront:
        """The front that starts at the anchor on slice `start`; `is_between` two anchors or beyond the outermost
        one."""

    def section(self, index: int, sections: NDArray[np.float32]) -> SlicePrediction:
        """Predict a slice from the cross-section of a mask that was propagated across another axis.

        Parameters
        ----------
        index : int
            Number of the slice.
        sections : (S, H, W) float32
            Probability of that mask by slice; not empty on slice `index`.
        """


def method_for(segmenter: SliceSegmenter, axis: int, rules: StopRules) -> PropagationMethod:
    """The method for the segmenter's model."""
    if isinstance(segmenter.model, ModelWithMemory):
        return MemoryPropagation(segmenter, axis, rules)
    slices, shape = SegmenterSlices(segmenter, axis), segmenter.slice_shape(axis)
    return MotionCompensatedMethod(slices, slice_grid(segmenter, axis), rules, shape)


def propagation_version(model: PromptableModel | VolumeModel) -> int:
    """Version of the propagation for a model.

    It is raised whenever the same prompts, weights and settings lead to other masks; calibrations of an older version
    are then refused. Files that do not state a version are of version 1.
    """
    if isinstance(model, VolumeModel):
        return 1  # nothing is propagated here
    return MEMORY_PROPAGATION_VERSION if isinstance(model, ModelWithMemory) else MOTION_COMPENSATED_VERSION
