"""From the ordered prompts to the anchors: a fold over the log.

A click on a slice nobody prompted refines what propagation had put there, so its meaning depends on the prompts before
it and on nothing else. Folding in log order makes the mask a function of the log: replay, undo and redo follow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.propagation.front import Anchor
from prompts import Box, Click, Scribble
from prompts.geometry import box_extent, click_index, scribble_indices

if TYPE_CHECKING:
    from medsam_planner.propagation.methods import PropagationMethod

__all__ = [
    "SliceEvent",
    "SliceRange",
    "fold_anchors",
    "nearest_section",
    "nothing_here",
    "slice_events",
    "slice_prompt",
    "what_is_known",
]

_CONTINUATION = 0.5
"""A click continues a cross-section when it lies within its box, grown by this share of its size on each side."""
_SCRIBBLE_POINTS_PER_SLICE = 6
"""A scribble is thinned to this many clicks on each slice it crosses: more say nothing new to the decoder."""


@dataclass(frozen=True, slots=True)
class SliceRange:
    """First and last slice a structure may occupy, inclusive, as a 3D box told."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SliceEvent:
    """One prompt as seen on one slice: values only, so that events can be hashed."""

    index: int
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[bool, ...] = ()
    limits: SliceRange | None = None
    answer: int | None = None
    """Which answer the person took, counted from the best; None where nothing was chosen."""


def slice_events(
    prompts: Iterable[Box | Click | Scribble], affine: ArrayLike, shape: Sequence[int], axis: int
) -> tuple[SliceEvent, ...]:
    """Translate prompts in LPS mm to events on slices across `axis`, in log order.

    2D boxes that lie in another plane are left out: they anchor the propagation across their own axis.
    """
    in_plane = [other for other in range(3) if other != axis]
    events: list[SliceEvent] = []
    for prompt in prompts:
        if isinstance(prompt, Box):
            extent = box_extent(prompt, affine, shape)
            if extent.axis not in (None, axis):
                continue
            low, high = np.asarray(extent.low)[in_plane], np.asarray(extent.high)[in_plane]
            first, last = int(extent.low_index[axis]), int(extent.high_index[axis])
            limits = SliceRange(first, last) if extent.axis is None else None
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            events.append(SliceEvent((first + last) // 2, box=box, limits=limits, answer=prompt.answer))
        elif isinstance(prompt, Click):
            index = click_index(prompt, affine)
            slice_index = int(np.clip(np.rint(index[axis]), 0, shape[axis] - 1))
            point = (float(index[in_plane[0]]), float(index[in_plane[1]]))
            labels = (prompt.positive,)
            events.append(SliceEvent(slice_index, points=(point,), labels=labels, answer=prompt.answer))
        else:
            voxels = np.asarray(scribble_indices(prompt, affine, shape))
            for slice_index in dict.fromkeys(voxels[:, axis].tolist()):
                crossed = voxels[voxels[:, axis] == slice_index][:, in_plane]
                keep = np.unique(np.linspace(0, len(crossed) - 1, _SCRIBBLE_POINTS_PER_SLICE).round().astype(int))
                points = tuple((float(row), float(column)) for row, column in crossed[keep])
                events.append(SliceEvent(int(slice_index), points=points, labels=(prompt.positive,) * len(points)))
    return tuple(events)


def fold_anchors(
    events: Sequence[SliceEvent],
    method: PropagationMethod,
    propagated: Callable[[dict[int, Anchor]], dict[int, SlicePrediction]],
    memo: dict[str, dict[int, Anchor]],
) -> dict[int, Anchor]:
    """Answer the events one after the other.

    An anchor changes by events on its own slice alone: what is said of others leaves its answer as it is.

    Parameters
    ----------
    events : sequence of SliceEvent
    method : PropagationMethod
        Answers an event, given what is known before it.
    propagated : callable
        What the anchors so far put on which slice.
    memo : dict
        Anchors by the digest of the events that made them; kept by the caller, so that a longer log or an undo costs
        only what is new.

    Returns
    -------
    dict of slice index to Anchor
    """
    anchors: dict[int, Anchor] = {}
    digest = hashlib.sha256()
    for event in events:
        digest.update(repr(event).encode())
        key = digest.hexdigest()
        if key not in memo:
            found = what_is_known(event, anchors, propagated)
            prediction, clicks = method.answer(event, anchors, found)
            memo[key] = {**anchors, event.index: Anchor(event.index, prediction, key, clicks)}
        anchors = memo[key]
    return anchors


def what_is_known(
    event: SliceEvent,
    anchors: dict[int, Anchor],
    propagated: Callable[[dict[int, Anchor]], dict[int, SlicePrediction]],
) -> dict[int, SlicePrediction]:
    """Predictions by slice before an event: of a prompted slice with a mask, this slice alone."""
    anchor = anchors.get(event.index)
    if anchor is not None and anchor.prediction.mask().any():
        return {event.index: anchor.prediction}  # refined by itself: no walk is needed to answer
    return propagated(anchors) if anchors else {}


def slice_prompt(event: SliceEvent, known: SlicePrediction | None) -> SlicePrompt:
    """All points said of a slice, with the box of the event, or the person's own one where its answer was empty."""
    points = [] if known is None or known.prompt.points is None else [known.prompt.points]
    labels = [] if known is None or known.prompt.labels is None else [known.prompt.labels]
    if event.points:
        points.append(np.array(event.points, dtype=np.float64))
        labels.append(np.array(event.labels, dtype=bool))
    box = None if event.box is None else np.array(event.box)
    if box is None and known is not None and not known.mask().any() and known.prompt.mask is None:
        box = known.prompt.box
    return SlicePrompt(
        box=box,
        points=np.concatenate(points) if points else None,
        labels=np.concatenate(labels) if labels else None,
    )


def nothing_here(said: SlicePrompt, slice_shape: tuple[int, int]) -> SlicePrediction:
    """The answer where only "not here" was said on a slice that holds nothing: no front may cross it."""
    return SlicePrediction(np.zeros(slice_shape, dtype=np.float32), 1.0, None, said)


def nearest_section(event: SliceEvent, found: Mapping[int, SlicePrediction]) -> int | None:
    """Slice of the nearest mask that the clicked structure can be the continuation of, or None.

    A click where propagation had ended mostly says that the structure goes on: the shape of its nearest cross-section
    tells the model how much to look at, which a lone click cannot.
    """
    filled = [index for index, prediction in found.items() if prediction.mask().any()]
    if not filled:
        return None
    near = min(filled, key=lambda index: (abs(index - event.index), index))
    mask = found[near].mask()
    occupied = np.argwhere(mask)
    low, high = occupied.min(0), occupied.max(0)
    reach = _CONTINUATION * (high - low + 1)
    inside = np.array(event.points)[np.array(event.labels)]
    return near if bool(np.all((inside >= low - reach) & (inside <= high + reach))) else None
