"""One structure through every plane it was prompted on."""

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

__all__ = ["Alternatives", "PropagatedStructure", "StructureTracker"]


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedStructure:
    """The passes that make one mask; the first axis is the main one."""

    passes: dict[int, PropagatedVolume]
    anchors: dict[int, tuple[int, ...]]
    """Prompted slices by axis."""
    probability: NDArray[np.float32]
    """(K, J, I), fused."""

    @property
    def axis(self) -> int:
        """Array axis across which the structure was first prompted."""
        return next(iter(self.passes))


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    """Every answer the model offers to one prompt."""

    axis: int
    """Array axis across which the slice lies."""
    slice_index: int
    answers: tuple[SlicePrediction, ...]
    """By predicted IoU, best first; one where the prompt means one thing, or the model gives one."""
    chosen: int
    """Number of the one that is taken."""


@dataclass(slots=True, eq=False)
class StructureTracker:
    """Keeps one propagator for each axis, so that going on costs only what is new."""

    segmenter: SliceSegmenter
    rules: StopRules = field(default_factory=StopRules)
    _propagators: dict[int, Propagator] = field(default_factory=dict)

    def anchors(self, prompts: Sequence[Prompt]) -> dict[int, dict[int, Anchor]]:
        """Answers on the prompted slices alone, by axis and index: what a person sees while prompting."""
        return {axis: self._propagator(axis).anchors(events) for axis, events in self._events(prompts).items()}

    def alternatives(self, prompts: Sequence[Prompt]) -> Alternatives:
        """Every answer to the last prompt on its slice.

        Raises
        ------
        PromptError
            If there is no prompt that says where the structure is, or the last one is a scribble.
        """
        events_by_axis = self._events(prompts)
        last = prompts[-1]
        if isinstance(last, Scribble):
            raise PromptError("Expected a box or a click as the last prompt: a scribble has one answer.")
        axis = next(iter(events_by_axis))
        if isinstance(last, Box):
            own = box_extent(last, self.segmenter.volume.affine, self.segmenter.volume.spatial_shape).axis
            axis = axis if own is None else own
        events = events_by_axis[axis]
        answers = self._propagator(axis).alternatives(events)
        return Alternatives(axis, events[-1].index, answers, events[-1].answer or 0)

    def run(
        self, prompts: Sequence[Prompt], *, triplanar: bool = False, progress: Progress | None = None
    ) -> PropagatedStructure:
        """Propagate every prompted plane, add the unprompted ones on request, and fuse.

        Raises
        ------
        PromptError
            If there is no prompt, or none that says where the structure is.
        """
        events_by_axis = self._events(prompts)
        passes: dict[int, PropagatedVolume] = {}
        for axis, events in events_by_axis.items():
            passes[axis] = self._propagator(axis).propagate(events, progress=progress)
        volumes = {axis: made.probability(self.segmenter.volume.spatial_shape) for axis, made in passes.items()}
        anchors = {axis: made.trace.anchors() for axis, made in passes.items()}
        if triplanar:
            first = fuse_probabilities(volumes, anchors)
            for axis in range(3):
                if axis not in passes:
                    passes[axis] = consensus_propagation(self.segmenter, first, axis, progress=progress)
                    volumes[axis] = passes[axis].probability(first.shape)
                    anchors[axis] = ()
        return PropagatedStructure(passes, anchors, fuse_probabilities(volumes, anchors))

    def _events(self, prompts: Sequence[Prompt]) -> dict[int, tuple[SliceEvent, ...]]:
        """Slice events by axis, the main axis first.

        Clicks, scribbles and 3D boxes belong to the main axis: that of the first 2D box, else the acquisition's.
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
