"""Propagation of one structure across every plane on which it was prompted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.errors import PromptError
from medsam_planner.geometry import acquisition_axis
from medsam_planner.progress import Progress
from medsam_planner.propagation.anchors import SliceEvent, slice_events
from medsam_planner.propagation.front import Anchor, StopRules
from medsam_planner.propagation.fusion import consensus_propagation, fuse_probabilities
from medsam_planner.propagation.volume import PropagatedVolume, Propagator
from prompts import Box, Prompt, Scribble
from prompts.geometry import box_extent

__all__ = ["CandidateMasks", "PropagatedStructure", "StructureTracker"]


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedStructure:
    """The propagations that are fused to one mask."""

    by_axis: dict[int, PropagatedVolume]
    """By the array axis across which each was propagated; the main axis comes first."""
    anchors: dict[int, tuple[int, ...]]
    """Prompted slices by axis."""
    probability: NDArray[np.float32]
    """(K, J, I), fused."""

    @property
    def axis(self) -> int:
        """Array axis across which the structure was first prompted."""
        return next(iter(self.by_axis))


@dataclass(frozen=True, slots=True, eq=False)
class CandidateMasks:
    """Every candidate prediction for one prompt."""

    axis: int
    """Array axis across which the slice lies."""
    slice_index: int
    predictions: tuple[SlicePrediction, ...]
    """By predicted IoU, best first; one where the prompt is unambiguous or the model has no candidates."""
    chosen: int
    """Number of the prediction that is used."""


@dataclass(slots=True, eq=False)
class StructureTracker:
    """Keeps one propagator for each axis, so that a new prompt costs only the slices that it changes."""

    segmenter: SliceSegmenter
    rules: StopRules = field(default_factory=StopRules)
    _propagators: dict[int, Propagator] = field(default_factory=dict)

    def anchors(self, prompts: Sequence[Prompt]) -> dict[int, dict[int, Anchor]]:
        """Predictions on the prompted slices only, by axis and slice index; shown while the user prompts."""
        return {axis: self._propagator(axis).anchors(events) for axis, events in self._events(prompts).items()}

    def candidate_masks(self, prompts: Sequence[Prompt]) -> CandidateMasks:
        """Every candidate prediction for the last prompt, on its slice.

        Raises
        ------
        PromptError
            If there is no prompt that says where the structure is, or the last one is a scribble.
        """
        events_by_axis = self._events(prompts)
        last = prompts[-1]
        if isinstance(last, Scribble):
            raise PromptError("Expected a box or a click as the last prompt: a scribble has no candidates.")
        axis = next(iter(events_by_axis))
        if isinstance(last, Box):
            own = box_extent(last, self.segmenter.volume.affine, self.segmenter.volume.spatial_shape).axis
            axis = axis if own is None else own
        events = events_by_axis[axis]
        predictions = self._propagator(axis).candidate_masks(events)
        return CandidateMasks(axis, events[-1].index, predictions, events[-1].candidate or 0)

    def run(
        self, prompts: Sequence[Prompt], *, triplanar: bool = False, progress: Progress | None = None
    ) -> PropagatedStructure:
        """Propagate across every prompted plane, on request across the other planes too, and fuse.

        Raises
        ------
        PromptError
            If there is no prompt, or none that says where the structure is.
        """
        events_by_axis = self._events(prompts)
        by_axis: dict[int, PropagatedVolume] = {}
        for axis, events in events_by_axis.items():
            by_axis[axis] = self._propagator(axis).propagate(events, progress=progress)
        volumes = {axis: made.probability(self.segmenter.volume.spatial_shape) for axis, made in by_axis.items()}
        anchors = {axis: made.trace.anchors() for axis, made in by_axis.items()}
        if triplanar:
            first = fuse_probabilities(volumes, anchors)
            for axis in range(3):
                if axis not in by_axis:
                    by_axis[axis] = consensus_propagation(self.segmenter, first, axis, progress=progress)
                    volumes[axis] = by_axis[axis].probability(first.shape)
                    anchors[axis] = ()
        return PropagatedStructure(by_axis, anchors, fuse_probabilities(volumes, anchors))

    def _events(self, prompts: Sequence[Prompt]) -> dict[int, tuple[SliceEvent, ...]]:
        """Slice events by axis, the main axis first.

        Clicks, scribbles and 3D boxes belong to the main axis: that of the first 2D box, else the acquisition axis.
        """
        if not any(isinstance(prompt, Box) or prompt.positive for prompt in prompts):
            raise PromptError(
                "Expected a box, a positive click or a positive scribble that says where the structure is, "
                f"got {len(prompts)} prompts without one."
            )
        affine, shape = self.segmenter.volume.affine, self.segmenter.volume.spatial_shape
        box_axes = [box_extent(prompt, affine, shape).axis for prompt in prompts if isinstance(prompt, Box)]
        planes = list(dict.fromkeys(axis for axis in box_axes if axis is not None))
        main = planes[0] if planes else acquisition_axis(affine)
        by_axis = {main: slice_events(prompts, affine, shape, main)}
        for axis in planes[1:]:
            boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
            in_plane = [box for box, box_axis in zip(boxes, box_axes, strict=True) if box_axis == axis]
            by_axis[axis] = slice_events(in_plane, affine, shape, axis)
        return by_axis

    def _propagator(self, axis: int) -> Propagator:
        if axis not in self._propagators:
            self._propagators[axis] = Propagator(self.segmenter, axis, self.rules)
        return self._propagators[axis]
