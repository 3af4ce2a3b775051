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
from medsam_planner.propagation.anchors import Event, MaskEvent, SliceEvent, slice_events
from medsam_planner.propagation.front import Anchor, StopRules
from medsam_planner.propagation.fusion import consensus_propagation, fuse_probabilities
from medsam_planner.propagation.volume import PropagatedVolume, Propagator
from medsam_planner.provenance import SliceRole
from prompts import Box, Click, Edit, InitialMask, Prompt, Scribble
from prompts.geometry import box_extent
from prompts.shapes import locates

__all__ = ["CandidateMasks", "PropagatedStructure", "StructureTracker", "prompted_axes", "require_located"]


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedStructure:
    """The propagations that are fused to one mask."""

    by_axis: dict[int, PropagatedVolume]
    """By the array axis across which each was propagated; the main axis comes first."""
    kept: tuple[tuple[int, tuple[int, ...]], ...]
    """Axis, and slices that keep the propagation across it and are not averaged with the others: the prompted slices
    and, beside an initial mask, those of the main axis that nothing was propagated to. Where slices of two axes cross,
    the later entry counts."""
    painted: NDArray[np.int64]
    """(N, 3) voxels of edits; they keep the propagation across the main axis wherever slices cross."""
    probability: NDArray[np.float32]
    """(K, J, I), fused."""

    @property
    def axis(self) -> int:
        """Array axis across which the structure was first prompted."""
        return next(iter(self.by_axis))

    @property
    def is_given(self) -> bool:
        """Whether the model predicted no slice, because the user gave all masks."""
        return all(one.crop is None for made in self.by_axis.values() for one in made.predictions.values())


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

    def anchors(self, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> dict[int, dict[int, Anchor]]:
        """Predictions on the prompted slices only, by axis and slice index; shown while the user prompts."""
        events_by_axis = self._events(prompts)
        return {axis: self._propagator(axis).anchors(made, progress=progress) for axis, made in events_by_axis.items()}

    def candidate_masks(self, prompts: Sequence[Prompt], *, progress: Progress | None = None) -> CandidateMasks:
        """Every candidate prediction for the last prompt, on its slice.

        Raises
        ------
        PromptError
            If there is no prompt that says where the structure is, or the last one is neither a box nor a click.
        """
        events_by_axis = self._events(prompts)
        last = prompts[-1]
        axis = next(iter(events_by_axis))
        if isinstance(last, Box):
            own = box_extent(last, self.segmenter.volume.affine, self.segmenter.volume.spatial_shape).axis
            axis = axis if own is None else own
        *earlier, event = events_by_axis[axis]
        if not isinstance(last, Box | Click) or not isinstance(event, SliceEvent):
            came = {Scribble: "a scribble", Edit: "an edit", InitialMask: "an initial mask"}[type(last)]
            raise PromptError(f"Expected a box or a click as the last prompt: {came} has no candidates.")
        predictions = self._propagator(axis).candidate_masks(earlier, event, progress=progress)
        return CandidateMasks(axis, event.index, predictions, event.candidate or 0)

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
        main, *others = events_by_axis
        begins = any(isinstance(prompt, InitialMask) for prompt in prompts)
        for axis, events in events_by_axis.items():
            only_prompted = begins and axis != main  # a box on another plane leaves the other slices as they are
            by_axis[axis] = self._propagator(axis).propagate(events, only_prompted=only_prompted, progress=progress)
        volumes = {axis: made.probability(self.segmenter.volume.spatial_shape) for axis, made in by_axis.items()}
        kept = [(axis, made.trace.anchors()) for axis, made in by_axis.items()]
        if begins:
            kept[0] = (main, self._not_averaged(by_axis[main], is_averaged=triplanar and not others))
        painted = _painted_voxels(events_by_axis[main], by_axis[main], main)

        def fused() -> NDArray[np.float32]:
            probability = fuse_probabilities(volumes, kept)
            if len(volumes) > 1:
                probability[tuple(painted.T)] = volumes[main][tuple(painted.T)]
            return probability

        if triplanar:
            first = fused()
            for axis in range(3):
                if axis not in by_axis:
                    by_axis[axis] = consensus_propagation(self.segmenter, first, axis, progress=progress)
                    volumes[axis] = by_axis[axis].probability(first.shape)
        return PropagatedStructure(by_axis, tuple(kept), painted, fused())

    def _not_averaged(self, made: PropagatedVolume, *, is_averaged: bool) -> tuple[int, ...]:
        """All slices, but those that were propagated where these are averaged."""
        propagated = {record.index for record in made.trace.records if record.role is SliceRole.PROPAGATED}
        count = self.segmenter.volume.spatial_shape[made.trace.axis]
        return tuple(index for index in range(count) if not (is_averaged and index in propagated))

    def _events(self, prompts: Sequence[Prompt]) -> dict[int, tuple[Event, ...]]:
        """Events by axis, the main axis first.

        All prompts but 2D boxes belong to the main axis: that of the first 2D box, else the acquisition axis.
        """
        require_located(prompts)
        affine, shape = self.segmenter.volume.affine, self.segmenter.volume.spatial_shape
        main, *others = prompted_axes(prompts, affine, shape)
        by_axis = {main: slice_events(prompts, affine, shape, main)}
        boxes = [prompt for prompt in prompts if isinstance(prompt, Box)]
        for axis in others:
            in_plane = [box for box in boxes if box_extent(box, affine, shape).axis == axis]
            by_axis[axis] = slice_events(in_plane, affine, shape, axis)
        return by_axis

    def _propagator(self, axis: int) -> Propagator:
        if axis not in self._propagators:
            self._propagators[axis] = Propagator(self.segmenter, axis, self.rules)
        return self._propagators[axis]


def prompted_axes(prompts: Sequence[Prompt], affine: NDArray[np.float64], shape: Sequence[int]) -> list[int]:
    """Axes across which 2D boxes lie, in the order of the first on each; the acquisition axis where there is none."""
    axes = [box_extent(prompt, affine, shape).axis for prompt in prompts if isinstance(prompt, Box)]
    return list(dict.fromkeys(axis for axis in axes if axis is not None)) or [acquisition_axis(affine)]


def require_located(prompts: Sequence[Prompt]) -> None:
    """Refuse prompts none of which says where the structure is.

    Raises
    ------
    PromptError
    """
    if not any(locates(prompt) for prompt in prompts):
        raise PromptError(
            "Expected a box, a positive click, scribble or edit, or an initial mask that says where the structure "
            f"is, got {len(prompts)} prompts without one."
        )


def _painted_voxels(events: Sequence[Event], made: PropagatedVolume, axis: int) -> NDArray[np.int64]:
    """(N, 3) voxels of edits on slices that were not prompted again."""
    given = {record.index for record in made.trace.records if record.role is SliceRole.GIVEN}
    voxels = [np.empty((0, 3), dtype=np.int64)]
    for event in events:
        if isinstance(event, MaskEvent) and isinstance(event.prompt, Edit):
            for index in event.sections.keys() & given:
                section = event.sections[index]
                corner = [part.start for part in section.window]
                voxels.append(np.insert(np.argwhere(section.inside) + corner, axis, index, axis=1))
    return np.concatenate(voxels)
