"""Motion-compensated propagation, for a model without a memory.

Each slice is prompted with the mask of the slice before, shifted with the structure. Every propagation front uses the
decoding offsets of its anchor (:mod:`medsam_planner.propagation.decoding_offsets`) and the corrections on the anchor
that reach as far as the slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.errors import PromptError
from medsam_planner.propagation.anchors import SliceEvent, empty_prediction, nearest_section, slice_prompt
from medsam_planner.propagation.decoding_offsets import DecodingOffsets, best_padding, shift_to_area
from medsam_planner.propagation.front import Anchor, PropagatedClick, PropagationFront, SliceGrid, StopRules
from medsam_planner.propagation.motion import moved, slice_motion_px
from prompts.masks import mask_box

__all__ = [
    "MOTION_COMPENSATED_VERSION",
    "MotionCompensatedFront",
    "MotionCompensatedMethod",
    "SegmenterSlices",
    "SlicesAcross",
    "fitted_offsets",
    "propagated_prompt",
]

MOTION_COMPENSATED_VERSION = 4
"""See :func:`~medsam_planner.propagation.methods.propagation_version`."""


class SlicesAcross(Protocol):
    """The slices across one axis of a study, under one model."""

    def segment(
        self,
        index: int,
        prompt: SlicePrompt,
        previous: SlicePrediction | None = None,
        *,
        logit_shift: float = 0.0,
    ) -> SlicePrediction:
        """Predict slice `index`, refining `previous` where it is given."""

    def image(self, index: int) -> NDArray[np.float32]:
        """(H, W) intensities of slice `index` as the model gets them."""

    @property
    def paddings_px(self) -> tuple[float, ...]:
        """Candidate paddings of a propagated box, in model pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class SegmenterSlices:
    """The slices across one axis of a segmenter's volume."""

    segmenter: SliceSegmenter
    axis: int

    def segment(
        self, index: int, prompt: SlicePrompt, previous: SlicePrediction | None = None, *, logit_shift: float = 0.0
    ) -> SlicePrediction:
        """Predict one slice."""
        return self.segmenter.segment(self.axis, index, prompt, previous=previous, logit_shift=logit_shift)

    @property
    def paddings_px(self) -> tuple[float, ...]:
        """The paddings of the model."""
        return self.segmenter.model.paddings_px

    def image(self, index: int) -> NDArray[np.float32]:
        """(H, W) intensities of one slice."""
        return self.segmenter.image(self.axis, index)


def propagated_prompt(probability: NDArray[np.float32], image: NDArray[np.float32]) -> SlicePrompt:
    """The prompt of a slice from a non-empty neighbour: the neighbour's mask, the box around it, and its image.

    Parameters
    ----------
    probability, image : (H, W) float32
        Of the neighbour, shifted to where the structure is expected; intensities as the model gets them.
    """
    return SlicePrompt(box=box_around(probability > 0.5), mask=probability, reference_slice=image)


def fitted_offsets(anchor: Anchor, slices: SlicesAcross) -> DecodingOffsets:
    """Offsets with which an anchor's mask, propagated onto its own slice, comes back unchanged."""
    mask = anchor.prediction.mask()
    if not mask.any():
        return DecodingOffsets()
    full_prompt = propagated_prompt(anchor.prediction.probability, slices.image(anchor.index))
    padding_px: float | None = None
    if slices.paddings_px:
        by_box = [SlicePrompt(box=full_prompt.box, padding_px=padding) for padding in slices.paddings_px]
        padding_px = slices.paddings_px[
            best_padding([slices.segment(anchor.index, alone).mask() for alone in by_box], mask)
        ]
    own = slices.segment(anchor.index, replace(full_prompt, padding_px=padding_px))
    return DecodingOffsets(padding_px, shift_to_area(own.probability, int(np.count_nonzero(mask))))


@dataclass(slots=True, eq=False)
class MotionCompensatedFront(PropagationFront):
    """A front that shifts the mask of the slice before with the structure."""

    slices: SlicesAcross
    offsets: DecodingOffsets
    _moved_px: tuple[int, int] = field(default=(0, 0), init=False)
    """Shift of the structure since the anchor."""

    def _predict(self, index: int, previous: SlicePrediction) -> tuple[SlicePrediction, NDArray[np.bool_]]:
        image = self.slices.image(index - self.direction)
        motion_px = slice_motion_px(
            previous.mask(), image, self.slices.image(index), self.grid.pixel_mm, self.grid.step_mm
        )
        propagated = moved(previous.probability, motion_px, beyond=0.0)
        if not (propagated > 0.5).any():  # moved off the slice
            motion_px, propagated = (0, 0), previous.probability
        self._moved_px = (self._moved_px[0] + motion_px[0], self._moved_px[1] + motion_px[1])
        build_prompt = partial(self._prompt, index, previous.probability, motion_px, self._moved_px)
        prediction = self.slices.segment(index, build_prompt(), logit_shift=self.offsets.logit_shift)
        return replace(prediction, prompt_source=build_prompt), propagated > 0.5

    def _prompt(
        self, index: int, before: NDArray[np.float32], motion_px: tuple[int, int], moved_px: tuple[int, int]
    ) -> SlicePrompt:
        """The prompt of a slice from the slice before, with the corrections on the anchor that reach it."""
        image = moved(self.slices.image(index - self.direction), motion_px)
        full_prompt = replace(
            propagated_prompt(moved(before, motion_px, beyond=0.0), image), padding_px=self.offsets.padding_px
        )
        away_mm = abs(index - self.anchor.index) * self.grid.step_mm
        clicks = [click for click in self.anchor.clicks if away_mm <= click.reach_mm]
        if not clicks:
            return full_prompt
        points = np.array([(click.row, click.column) for click in clicks]) + moved_px
        return replace(full_prompt, points=points, labels=np.array([click.positive for click in clicks]))


@dataclass(slots=True, eq=False)
class MotionCompensatedMethod:
    """See :class:`~medsam_planner.propagation.methods.PropagationMethod`.

    A front depends only on its own anchor, so a new prompt changes only the slices between its neighbouring anchors.
    """

    slices: SlicesAcross
    grid: SliceGrid
    rules: StopRules
    slice_shape: tuple[int, int]
    _fronts: dict[tuple[str, int, int, bool], MotionCompensatedFront] = field(default_factory=dict, init=False)
    _offsets: dict[tuple[str, int], DecodingOffsets] = field(default_factory=dict, init=False)

    def predict(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, tuple[PropagatedClick, ...]]:
        """Refine the mask on the slice; without one, start from the nearest cross-section or from the prompt alone."""
        if event.candidate:
            raise PromptError(f"Expected candidate 0, got a choice of number {event.candidate}: the model has one.")
        anchor = anchors.get(event.index)
        clicks = _propagated_clicks(event, found.get(event.index), self.grid.pixel_mm)
        return self._prediction(event, found), (*(anchor.clicks if anchor else ()), *clicks)

    def candidate_masks(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, ...]:
        """The one prediction."""
        return (self._prediction(event, found),)

    def front(self, anchors: Mapping[int, Anchor], start: int, direction: int, *, is_between: bool) -> PropagationFront:
        """The front that starts at one anchor."""
        anchor = anchors[start]
        key = (anchor.digest, anchor.index, direction, is_between)
        if key not in self._fronts:
            rules = self.rules.between_anchors() if is_between else self.rules
            self._fronts[key] = MotionCompensatedFront(
                anchor, direction, self.grid, rules, self.slices, self._offsets_of(anchor)
            )
        return self._fronts[key]

    def section(self, index: int, sections: NDArray[np.float32]) -> SlicePrediction:
        """Prompted like a slice beside the one that holds this mask."""
        return self.slices.segment(
            index, propagated_prompt(np.ascontiguousarray(sections[index]), self.slices.image(index))
        )

    def _offsets_of(self, anchor: Anchor) -> DecodingOffsets:
        key = (anchor.digest, anchor.index)
        if key not in self._offsets:
            self._offsets[key] = fitted_offsets(anchor, self.slices)
        return self._offsets[key]

    def _prediction(self, event: SliceEvent, found: Mapping[int, SlicePrediction]) -> SlicePrediction:
        known = found.get(event.index)
        prompt = slice_prompt(event, known)
        if event.box is not None:
            return self.slices.segment(event.index, prompt)
        if known is not None and known.mask().any():
            return _refined(event, prompt, known, self.slices)
        if prompt.box is None and (prompt.labels is None or not prompt.labels.any()):
            return empty_prediction(prompt, self.slice_shape)
        near = None if prompt.box is not None else nearest_section(event, found)
        if near is not None:
            prompt = replace(prompt, mask=found[near].probability, reference_slice=self.slices.image(near))
        return self.slices.segment(event.index, prompt)


def _refined(event: SliceEvent, prompt: SlicePrompt, known: SlicePrediction, slices: SlicesAcross) -> SlicePrediction:
    """Predict a slice after a correction of its non-empty mask.

    A propagated slice has two masks that could prompt it: the propagated mask and the prediction so far. Given both,
    the model weighs them too strongly, so one of them is used. If all clicks are positive, it is the propagated mask.
    Otherwise it is the prediction so far, with a box around it: without the box, a negative click on one part also
    removes the rest. A mask by hand is refined in the same way. The slice becomes empty only if the propagated mask
    with the clicks gives an empty mask, both alone and together with the prediction so far.
    """
    propagated = replace(
        prompt, box=known.prompt.box, mask=known.prompt.mask, reference_slice=known.prompt.reference_slice
    )
    if known.prompt.mask is None:
        if known.is_given and not all(event.labels):
            propagated = replace(propagated, box=box_around(known.mask()))
        return slices.segment(event.index, propagated, known)
    afresh = slices.segment(event.index, propagated)
    if all(event.labels):
        return afresh
    if not afresh.mask().any():
        refined = slices.segment(event.index, propagated, known)
        if not refined.mask().any():
            return refined
    return slices.segment(event.index, replace(prompt, box=box_around(known.mask())), known)


def _propagated_clicks(
    event: SliceEvent, known: SlicePrediction | None, pixel_mm: tuple[float, float]
) -> tuple[PropagatedClick, ...]:
    """The clicks of an event that correct a mask, each with its reach to other slices."""
    if known is None or event.box is not None or not known.mask().any():
        return ()
    mask = known.mask()
    occupied = np.argwhere(mask)
    box = mask_box(mask, grown=1)
    around = np.argwhere(~mask[box]) + [part.start for part in box]
    clicks = []
    for (row, column), positive in zip(event.points, event.labels, strict=True):
        at = np.clip(np.rint([row, column]).astype(int), 0, np.array(mask.shape) - 1)
        beyond = occupied if positive else around
        corrects = mask[tuple(at)] != positive and len(beyond) > 0
        reach_mm = float(np.linalg.norm((beyond - at) * pixel_mm, axis=1).min()) if corrects else 0.0
        clicks.append(PropagatedClick(row, column, positive, reach_mm))
    return tuple(clicks)
