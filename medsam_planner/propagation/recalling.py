"""Propagation for a model with a memory: each slice is asked from the slices that were answered.

It is asked as training asks it (:mod:`medsam_planner.lab.training.interactions`): the mask and the picture of the slice
before say what is looked for, and the memory holds what is known of the structure: the prompted slices, nearest first,
and the last slices of the walk. So what was taught on one slice reaches all others, in both directions, while a
prompted slice keeps the answer it was given. Nothing is moved, fitted_offsets or shifted on the way.

The field stays along a walk, as the slices of a training stack share one crop. It is opened anew where the structure
has moved or changed more than training's crops differ; every remembered slice is then encoded once in the new field
(:mod:`medsam_planner.engine.recall`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.memory_model import is_ambiguous
from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.recall import AnsweredSlice
from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.errors import PromptError
from medsam_planner.propagation.anchors import SliceEvent, nearest_section, nothing_here, slice_prompt
from medsam_planner.propagation.front import Anchor, PropagatedClick, PropagationFront, StopRules, slice_grid
from medsam_planner.propagation.motion_compensated import propagated_prompt

__all__ = ["PROMPTED_REMEMBERED", "PROPAGATED_REMEMBERED", "RECALLING_VERSION", "RecallingMethod"]

RECALLING_VERSION = 4
"""See :func:`~medsam_planner.propagation.methods.propagation_version`."""
PROMPTED_REMEMBERED = 6
"""Of the prompted slices the nearest so many are remembered; training's stacks hold up to three."""
PROPAGATED_REMEMBERED = 2
"""Of a walk the last so many slices."""
FIELD_SHIFT = 0.12
"""Share of its side by which the structure may leave the middle of a field before the field is opened anew."""
FIELD_CHANGE = (0.6, 1.25)
"""The same for the side of the field that the structure would open, over the side of the present one: training's
structures take a third to two thirds of their crop's side, and its crops differ by up to a fifth."""
_STATES_KEPT = 2
"""Walks are kept for the last so many states of the anchors, so that taking back the last step costs nothing."""


@dataclass(slots=True, eq=False)
class _RecallingFront(PropagationFront):
    segmenter: SliceSegmenter
    axis: int
    anchors: Mapping[int, Anchor]

    def _ask(self, index: int, previous: SlicePrediction) -> tuple[SlicePrediction, NDArray[np.bool_]]:
        asked = partial(self._prompt, index, previous.probability)
        walked = [
            AnsweredSlice(visit.record.index, visit.prediction.probability, prompted=False)
            for visit in self._visits[-PROPAGATED_REMEMBERED:]
        ]
        memory = (*nearest_prompted(self.anchors, index), *walked)
        crop = self._crop(previous)
        prediction = self.segmenter.segment(self.axis, index, asked(), memory=memory, crop=crop)
        return replace(prediction, asked=asked), previous.mask()

    def _prompt(self, index: int, before: NDArray[np.float32]) -> SlicePrompt:
        """What a slice is asked on behalf of the slice before."""
        return propagated_prompt(before, self.segmenter.image(self.axis, index - self.direction))

    def _crop(self, previous: SlicePrediction) -> Crop:
        """The field of the slice before, or a new one around its mask."""
        seen = SlicePrompt(mask=previous.probability)
        shape, pixel_mm = self.segmenter.slice_shape(self.axis), self.segmenter.slice_spacing_mm(self.axis)
        (fitting,) = self.segmenter.model.crops(seen, shape, pixel_mm)
        known = previous.crop
        if known is None:
            return fitting
        side = np.asarray(known.side_rc)
        shift = np.abs(np.subtract(fitting.centre_rc, known.centre_rc)) / side
        change = fitting.side_rc[0] / known.side_rc[0]
        stays = bool((shift <= FIELD_SHIFT).all()) and FIELD_CHANGE[0] <= change <= FIELD_CHANGE[1]
        return known if stays else fitting


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    prompt: SlicePrompt
    memory: tuple[AnsweredSlice, ...]
    previous: SlicePrediction | None = None


@dataclass(slots=True, eq=False)
class RecallingMethod:
    """See :class:`~medsam_planner.propagation.methods.PropagationMethod`.

    A walk depends on all anchors, so a new prompt walks anew.
    """

    segmenter: SliceSegmenter
    axis: int
    rules: StopRules
    _fronts_by_state: OrderedDict[tuple[str, ...], dict[tuple[int, int], PropagationFront]] = field(
        default_factory=OrderedDict, init=False
    )

    def answer(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, tuple[PropagatedClick, ...]]:
        """The answer the model gives by itself, or the one that was chosen."""
        if event.answer is not None:
            offered = self.alternatives(event, anchors, found)
            if event.answer >= len(offered):
                raise PromptError(f"Expected a choice among {len(offered)} answers, got number {event.answer}.")
            return offered[event.answer], ()
        question = self._question(event, anchors, found)
        return self._answered(event, question) if question else self._nothing(event, found), ()

    def alternatives(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> tuple[SlicePrediction, ...]:
        """Every answer to a box or a lone click, best first."""
        question = self._question(event, anchors, found)
        if question is None:
            return (self._nothing(event, found),)
        if not is_ambiguous(question.prompt, is_refined=question.previous is not None):
            return (self._answered(event, question),)
        return self.segmenter.alternatives(self.axis, event.index, question.prompt, memory=question.memory)

    def front(self, anchors: Mapping[int, Anchor], start: int, direction: int, *, is_between: bool) -> PropagationFront:
        """The walk from one anchor, with all of them in its memory; between two of them it is the same walk."""
        state = tuple(f"{index}:{anchors[index].digest}" for index in sorted(anchors))
        fronts = self._fronts_by_state.setdefault(state, {})
        self._fronts_by_state.move_to_end(state)
        if len(self._fronts_by_state) > _STATES_KEPT:
            self._fronts_by_state.popitem(last=False)
        key = (start, direction)
        if key not in fronts:
            grid, rules = slice_grid(self.segmenter, self.axis), self.rules.by_quality()
            fronts[key] = _RecallingFront(
                anchors[start], direction, grid, rules, self.segmenter, self.axis, dict(anchors)
            )
        return fronts[key]

    def section(self, index: int, sections: NDArray[np.float32]) -> SlicePrediction:
        """Prompted as a neighbour's mask would be, with the neighbouring sections in memory."""
        around = [one for one in (index - 1, index + 1) if 0 <= one < len(sections) and (sections[one] > 0.5).any()]
        memory = [AnsweredSlice(one, np.ascontiguousarray(sections[one]), prompted=False) for one in around]
        prompt = propagated_prompt(np.ascontiguousarray(sections[index]), self.segmenter.image(self.axis, index))
        return self.segmenter.segment(self.axis, index, prompt, memory=memory)

    def _question(
        self, event: SliceEvent, anchors: Mapping[int, Anchor], found: Mapping[int, SlicePrediction]
    ) -> _Question | None:
        """What to ask; None where only "not here" was said of a slice that holds nothing."""
        known = found.get(event.index)
        said = slice_prompt(event, known)
        prompted = nearest_prompted(anchors, event.index)
        if event.box is not None:
            return _Question(said, prompted)
        if known is not None and known.mask().any():
            prompt = replace(
                said, box=known.prompt.box, mask=known.prompt.mask, reference_slice=known.prompt.reference_slice
            )
            return _Question(prompt, (*prompted, *_propagated_to(known.memory)), known)
        if said.box is None and (said.labels is None or not said.labels.any()):
            return None
        near = None if said.box is not None else nearest_section(event, found)
        if near is None:
            return _Question(said, prompted)
        section = found[near]
        said = replace(said, mask=section.probability, reference_slice=self.segmenter.image(self.axis, near))
        walked = () if near in anchors else (AnsweredSlice(near, section.probability, prompted=False),)
        return _Question(said, (*prompted, *walked))

    def _answered(self, event: SliceEvent, question: _Question) -> SlicePrediction:
        return self.segmenter.segment(
            self.axis, event.index, question.prompt, previous=question.previous, memory=question.memory
        )

    def _nothing(self, event: SliceEvent, found: Mapping[int, SlicePrediction]) -> SlicePrediction:
        return nothing_here(slice_prompt(event, found.get(event.index)), self.segmenter.slice_shape(self.axis))


def nearest_prompted(anchors: Mapping[int, Anchor], index: int) -> tuple[AnsweredSlice, ...]:
    """The nearest :data:`PROMPTED_REMEMBERED` prompted slices other than slice `index`."""
    others = sorted((abs(one - index), one) for one in anchors if one != index)[:PROMPTED_REMEMBERED]
    return tuple(AnsweredSlice(one, anchors[one].prediction.probability, prompted=True) for _, one in others)


def _propagated_to(memory: Sequence[AnsweredSlice]) -> tuple[AnsweredSlice, ...]:
    return tuple(one for one in memory if not one.prompted)
