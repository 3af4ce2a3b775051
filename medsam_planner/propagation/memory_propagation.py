"""Propagation for a model with a memory: each slice is predicted from the slices that were predicted before.

Prompts are built as in training (:mod:`medsam_planner.lab.training.interactions`). The mask and the image of the slice
before are the prompt; the memory holds the prompted slices, nearest first, and the last propagated ones. A correction
on one slice so reaches all others in both directions, while a prompted slice keeps its own prediction. There is no
motion compensation and there are no decoding offsets.

The crop stays the same along a front, as the slices of a training stack share one crop. A new crop is opened where the
structure has moved or changed more than crops differ in training; every remembered slice is then encoded once in the
new crop (:mod:`medsam_planner.engine.slice_memory`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.memory_model import is_ambiguous
from medsam_planner.engine.protocol import Crop, SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter, holds
from medsam_planner.engine.slice_memory import PredictedSlice
from medsam_planner.engine.zoom import best_crop
from medsam_planner.errors import PromptError
from medsam_planner.propagation.anchors import SliceEvent, empty_prediction, nearest_section, slice_prompt
from medsam_planner.propagation.front import Anchor, PropagatedClick, PropagationFront, StopRules, slice_grid
from medsam_planner.propagation.motion_compensated import propagated_prompt

__all__ = ["MEMORY_PROPAGATION_VERSION", "PROMPTED_REMEMBERED", "PROPAGATED_REMEMBERED", "MemoryPropagation"]

MEMORY_PROPAGATION_VERSION = 5
"""See :func:`~medsam_planner.propagation.methods.propagation_version`."""
PROMPTED_REMEMBERED = 6
"""Number of the nearest prompted slices in the memory; stacks in training hold up to three."""
PROPAGATED_REMEMBERED = 2
"""Number of the last propagated slices in the memory."""
CROP_SHIFT = 0.12
"""Largest distance of the structure from the middle of the crop, as a share of the crop's side; beyond it a new crop is
opened."""
CROP_CHANGE = (0.6, 1.25)
"""Range of the ratio of the crop's side that fits the structure to the present side; outside it a new crop is opened.
In training, structures take a third to two thirds of the crop's side, and crops differ by up to a fifth."""
_STATES_KEPT = 2
"""Fronts are kept for this many states of the anchors, so that an undo of the last step computes nothing."""


@dataclass(slots=True, eq=False)
class _MemoryFront(PropagationFront):
    segmenter: SliceSegmenter
    axis: int
    anchors: Mapping[int, Anchor]

    def _predict(self, index: int, previous: SlicePrediction) -> tuple[SlicePrediction, NDArray[np.bool_]]:
        build_prompt = partial(self._prompt, index, previous.probability)
        last_propagated = [
            PredictedSlice(visit.record.index, visit.prediction.probability, prompted=False)
            for visit in self._visits[-PROPAGATED_REMEMBERED:]
        ]
        memory = (*nearest_prompted(self.anchors, index), *last_propagated)
        crop = self._crop(previous)
        prediction = self.segmenter.segment(self.axis, index, build_prompt(), memory=memory, crop=crop)
        return replace(prediction, prompt_source=build_prompt), previous.mask()

    def _prompt(self, index: int, before: NDArray[np.float32]) -> SlicePrompt:
        """The prompt of a slice from the slice before."""
        return propagated_prompt(before, self.segmenter.image(self.axis, index - self.direction))

    def _crop(self, previous: SlicePrediction) -> Crop:
        """The crop of the slice before, or a new one around its mask."""
        mask_prompt = SlicePrompt(mask=previous.probability)
        shape, pixel_mm = self.segmenter.slice_shape(self.axis), self.segmenter.slice_spacing_mm(self.axis)
        (fitting,) = self.segmenter.model.crops(mask_prompt, shape, pixel_mm)
        known = previous.crop
        if known is None:
            return fitting
        side = np.asarray(known.side_rc)
        shift = np.abs(np.subtract(fitting.centre_rc, known.centre_rc)) / side
        change = fitting.side_rc[0] / known.side_rc[0]
        stays = bool((shift <= CROP_SHIFT).all()) and CROP_CHANGE[0] <= change <= CROP_CHANGE[1]
        return known if stays else fitting


@dataclass(frozen=True, slots=True, eq=False)
class _PromptWithMemory:
    prompt: SlicePrompt
    memory: tuple[PredictedSlice, ...]
    previous: SlicePrediction | None = None


@dataclass(slots=True, eq=False)
class MemoryPropagation:
    """See :class:`~medsam_planner.propagation.methods.PropagationMethod`.

    A front depends on all anchors, so every new prompt starts all fronts again.
    """

    segmenter: SliceSegmenter
    axis: int
    rules: StopRules
    _fronts_by_state: OrderedDict[tuple[str, ...], dict[tuple[int, int], PropagationFront]] = field(
        default_factory=OrderedDict, init=False
    )

    def predict(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, tuple[PropagatedClick, ...]]:
        """The model's own prediction, or the candidate that the user chose."""
        if event.candidate is not None:
            offered = self.candidate_masks(event, anchors, found)
            if event.candidate >= len(offered):
                raise PromptError(f"Expected a choice among {len(offered)} candidates, got number {event.candidate}.")
            return offered[event.candidate], ()
        complete = self._prompt_with_memory(event, anchors, found)
        return self._decoded(event, complete) if complete else self._empty(event, found), ()

    def candidate_masks(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, ...]:
        """Every candidate prediction for a box or a single click, best first."""
        complete = self._prompt_with_memory(event, anchors, found)
        if complete is None:
            return (self._empty(event, found),)
        if not is_ambiguous(complete.prompt, is_refined=complete.previous is not None):
            return (self._decoded(event, complete),)
        return self.segmenter.candidate_masks(self.axis, event.index, complete.prompt, memory=complete.memory)

    def front(self, anchors: Mapping[int, Anchor], start: int, direction: int, *, is_between: bool) -> PropagationFront:
        """The front that starts at one anchor, with all anchors in its memory; the same one between two anchors."""
        state = tuple(f"{index}:{anchors[index].digest}" for index in sorted(anchors))
        fronts = self._fronts_by_state.setdefault(state, {})
        self._fronts_by_state.move_to_end(state)
        if len(self._fronts_by_state) > _STATES_KEPT:
            self._fronts_by_state.popitem(last=False)
        key = (start, direction)
        if key not in fronts:
            grid, rules = slice_grid(self.segmenter, self.axis), self.rules.by_quality()
            fronts[key] = _MemoryFront(anchors[start], direction, grid, rules, self.segmenter, self.axis, dict(anchors))
        return fronts[key]

    def section(self, index: int, sections: NDArray[np.float32]) -> SlicePrediction:
        """Prompted like a slice beside the one that holds this mask, with the neighbouring sections in memory."""
        around = [one for one in (index - 1, index + 1) if 0 <= one < len(sections) and (sections[one] > 0.5).any()]
        memory = [PredictedSlice(one, np.ascontiguousarray(sections[one]), prompted=False) for one in around]
        prompt = propagated_prompt(np.ascontiguousarray(sections[index]), self.segmenter.image(self.axis, index))
        return self.segmenter.segment(self.axis, index, prompt, memory=memory)

    def _prompt_with_memory(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> _PromptWithMemory | None:
        """The prompt with its memory; None where all prompts on an empty slice are negative."""
        known = found.get(event.index)
        prompt = slice_prompt(event, known)
        prompted = nearest_prompted(anchors, event.index)
        if event.box is not None:
            return _PromptWithMemory(prompt, prompted)
        if known is not None and known.mask().any():
            # A mask by hand has no prompt of its own; the box around it keeps a correction from changing the rest.
            box = box_around(known.mask()) if known.is_given else known.prompt.box
            prompt = replace(prompt, box=box, mask=known.prompt.mask, reference_slice=known.prompt.reference_slice)
            return _PromptWithMemory(prompt, (*prompted, *_propagated_to(known.memory)), known)
        if prompt.box is None and (prompt.labels is None or not prompt.labels.any()):
            return None
        near = None if prompt.box is not None else nearest_section(event, found)
        if near is None:
            return _PromptWithMemory(prompt, prompted)
        section = found[near]
        prompt = replace(prompt, mask=section.probability, reference_slice=self.segmenter.image(self.axis, near))
        last_propagated = () if near in anchors else (PredictedSlice(near, section.probability, prompted=False),)
        return _PromptWithMemory(prompt, (*prompted, *last_propagated))

    def _decoded(self, event: SliceEvent, complete: _PromptWithMemory) -> SlicePrediction:
        prompt, previous, memory = complete.prompt, complete.previous, complete.memory
        begins = previous is None and prompt.box is None and prompt.mask is None
        if begins and prompt.points is not None and prompt.labels is not None and len(prompt.points) > 1:
            return self._from_points(event.index, prompt.points, prompt.labels, memory)
        return self.segmenter.segment(self.axis, event.index, prompt, previous=previous, memory=memory)

    def _from_points(
        self,
        index: int,
        points: NDArray[np.float64],
        labels: NDArray[np.bool_],
        memory: tuple[PredictedSlice, ...],
    ) -> SlicePrediction:
        """Predict from several points alone, as those of a scribble, one after the other.

        In training an interaction begins with one click, and every further click is in an error. So the middle one of
        the positive points begins, on the crops that hold all points, and only points that the prediction so far gets
        wrong follow.
        """
        segmenter, positive = self.segmenter, np.flatnonzero(labels)
        used = [int(positive[len(positive) // 2])]
        begun = SlicePrompt(points=points[used], labels=labels[used])
        crops = segmenter.model.crops(begun, segmenter.slice_shape(self.axis), segmenter.slice_spacing_mm(self.axis))
        wide = [crop for crop in crops if holds(crop, points)] or crops[-1:]
        first = [segmenter.segment(self.axis, index, begun, memory=memory, crop=crop) for crop in wide]
        prediction = first[best_crop([one.quality for one in first], [one.mask() for one in first])]
        while True:
            at = np.clip(np.rint(points).astype(int), 0, np.array(prediction.probability.shape) - 1)
            wrong = prediction.mask()[at[:, 0], at[:, 1]] != labels
            wrong[used] = False
            if not wrong.any():
                return prediction
            left = np.flatnonzero(wrong)
            used.append(int(left[len(left) // 2]))
            prompt = SlicePrompt(points=points[used], labels=labels[used])
            prediction = segmenter.segment(self.axis, index, prompt, previous=prediction, memory=memory)

    def _empty(self, event: SliceEvent, found: Mapping[int, SlicePrediction]) -> SlicePrediction:
        return empty_prediction(slice_prompt(event, found.get(event.index)), self.segmenter.slice_shape(self.axis))


def nearest_prompted(anchors: Mapping[int, Anchor], index: int) -> tuple[PredictedSlice, ...]:
    """The nearest :data:`PROMPTED_REMEMBERED` prompted slices other than slice `index`."""
    others = sorted((abs(one - index), one) for one in anchors if one != index)[:PROMPTED_REMEMBERED]
    return tuple(PredictedSlice(one, anchors[one].prediction.probability, prompted=True) for _, one in others)


def _propagated_to(memory: Sequence[PredictedSlice]) -> tuple[PredictedSlice, ...]:
    return tuple(one for one in memory if not one.prompted)
