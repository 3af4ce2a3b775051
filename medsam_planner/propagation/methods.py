"""How a mask gets from slice to slice: one method for each kind of model, chosen once.

A model without a memory is shown the neighbour's mask, moved along with the structure
(:mod:`~medsam_planner.propagation.motion_compensated`). One with a memory is shown the answered slices themselves
(:mod:`~medsam_planner.propagation.recalling`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import ModelWithMemory, PromptableModel
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.propagation.anchors import SliceEvent
from medsam_planner.propagation.front import Anchor, PropagatedClick, PropagationFront, StopRules, slice_grid
from medsam_planner.propagation.motion_compensated import (
    MOTION_COMPENSATED_VERSION,
    MotionCompensatedMethod,
    SegmenterSlices,
)
from medsam_planner.propagation.recalling import RECALLING_VERSION, RecallingMethod

__all__ = ["PropagationMethod", "method_for", "propagation_version"]


class PropagationMethod(Protocol):
    """Asks the slices across one axis of a study."""

    def answer(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, tuple[PropagatedClick, ...]]:
        """What a prompt amounts to on its slice, and which corrections hold beyond it.

        Parameters
        ----------
        event : SliceEvent
        anchors : mapping of slice index to Anchor
            What was prompted before.
        found : mapping of slice index to SlicePrediction
            What these anchors put where; of a prompted slice with a mask, this slice alone.
        """

    def alternatives(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, ...]:
        """Every answer to a prompt, best first; one where it means one thing."""

    def front(self, anchors: Mapping[int, Anchor], start: int, direction: int, *, is_between: bool) -> PropagationFront:
        """The walk from the anchor on slice `start`, as far as it came before; `is_between` two of them."""

    def section(self, index: int, sections: NDArray[np.float32]) -> SlicePrediction:
        """The answer to a cross-section of a mask that was made across another axis.

        Parameters
        ----------
        index : int
        sections : (S, H, W) float32
            Probability of that mask, by slice; not empty on slice `index`.
        """


def method_for(segmenter: SliceSegmenter, axis: int, rules: StopRules) -> PropagationMethod:
    """The method for the segmenter's model."""
    if isinstance(segmenter.model, ModelWithMemory):
        return RecallingMethod(segmenter, axis, rules)
    slices, shape = SegmenterSlices(segmenter, axis), segmenter.slice_shape(axis)
    return MotionCompensatedMethod(slices, slice_grid(segmenter, axis), rules, shape)


def propagation_version(model: PromptableModel) -> int:
    """Raised whenever the same prompts, weights and settings come to mean other masks: what was calibrated before does
    not speak of them. Calibrations and runs that do not name it are of version 1."""
    return RECALLING_VERSION if isinstance(model, ModelWithMemory) else MOTION_COMPENSATED_VERSION
