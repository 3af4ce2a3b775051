"""From the ordered prompts to the anchors: a fold over the log.

A click on a slice nobody prompted refines what propagation had put there, so its meaning depends on the prompts before
it and on nothing else. Folding in log order makes the mask a function of the log: replay, undo and redo follow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.propagation.walk import Anchor, CarriedClick, SlicesAcross
from prompts import Box, Click, Scribble
from prompts.geometry import box_extent, click_index, scribble_indices

__all__ = ["SliceEvent", "SliceRange", "fold_anchors", "slice_events"]

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
            events.append(SliceEvent((first + last) // 2, box=box, limits=limits))
        elif isinstance(prompt, Click):
            index = click_index(prompt, affine)
            slice_index = int(np.clip(np.rint(index[axis]), 0, shape[axis] - 1))
            point = (float(index[in_plane[0]]), float(index[in_plane[1]]))
            events.append(SliceEvent(slice_index, points=(point,), labels=(prompt.positive,)))
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
    slices: SlicesAcross,
    propagated: Callable[[dict[int, Anchor]], dict[int, SlicePrediction]],
    memo: dict[str, dict[int, Anchor]],
    slice_shape: tuple[int, int],
    pixel_mm: tuple[float, float],
) -> dict[int, Anchor]:
    """Answer the events one after the other.

    Parameters
    ----------
    events : sequence of SliceEvent
    slices : SlicesAcross
        Answers a prompt on a slice, given what is refined.
    propagated : callable
        What the anchors so far put on which slice.
    memo : dict
        Anchors by the digest of the events that made them; kept by the caller, so that a longer log or an undo costs
        only what is new.
    slice_shape : (int, int)
    pixel_mm : (float, float)
        Size of a pixel along rows and columns.

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
            anchor = anchors.get(event.index)
            if anchor is not None and anchor.prediction.mask().any():
                found = {event.index: anchor.prediction}  # refined by itself: no walk is needed to answer
            else:
                found = propagated(anchors) if anchors else {}
            prediction = _answer(event, found, slices, slice_shape)
            clicks = (*(anchor.clicks if anchor else ()), *_carried_clicks(event, found.get(event.index), pixel_mm))
            memo[key] = {**anchors, event.index: Anchor(event.index, prediction, key, clicks)}
        anchors = memo[key]
    return anchors


def _answer(
    event: SliceEvent, found: dict[int, SlicePrediction], slices: SlicesAcross, slice_shape: tuple[int, int]
) -> SlicePrediction:
    """Refine what is known of the slice; where nothing is, take the nearest cross-section along, or begin afresh."""
    known = found.get(event.index)
    points = [] if known is None or known.prompt.points is None else [known.prompt.points]
    labels = [] if known is None or known.prompt.labels is None else [known.prompt.labels]
    if event.points:
        points.append(np.array(event.points, dtype=np.float64))
        labels.append(np.array(event.labels, dtype=bool))
    said = SlicePrompt(
        points=np.concatenate(points) if points else None, labels=np.concatenate(labels) if labels else None
    )
    if event.box is not None:
        return slices.segment(event.index, replace(said, box=np.array(event.box)))
    if known is not None and known.mask().any():
        return _refined(event, said, known, slices)
    if known is not None and known.prompt.mask is None:
        said = replace(said, box=known.prompt.box)  # the person's own box, though its answer was empty
    if said.box is None and (said.labels is None or not said.labels.any()):
        # Only "not here" was said on a slice that holds nothing: the answer is nothing, and no front may cross it.
        return SlicePrediction(np.zeros(slice_shape, dtype=np.float32), 1.0, None, said)
    near = None if said.box is not None else _nearest_section(event, found)
    if near is not None:
        said = replace(said, mask=found[near].probability, example=slices.image(near))
    return slices.segment(event.index, said)


def _refined(event: SliceEvent, said: SlicePrompt, known: SlicePrediction, slices: SlicesAcross) -> SlicePrediction:
    """Answer a correction of a non-empty mask.

    On a slice that was walked to, the carried mask says what is looked for, and the answer so far what is wrong with
    it; the model takes both together for more than they say. What was missing is asked for by the carried mask alone.
    What was too much is asked for by the answer so far alone, in a box around it: a click on a part of a structure
    otherwise takes the rest along. Only where nothing is left of the carried mask either way, nothing is there.
    """
    carried = replace(said, box=known.prompt.box, mask=known.prompt.mask, example=known.prompt.example)
    if known.prompt.mask is None:
        return slices.segment(event.index, carried, known)
    afresh = slices.segment(event.index, carried)
    if all(event.labels):
        return afresh
    if not afresh.mask().any():
        refined = slices.segment(event.index, carried, known)
        if not refined.mask().any():
            return refined
    return slices.segment(event.index, replace(said, box=box_around(known.mask())), known)


def _carried_clicks(
    event: SliceEvent, known: SlicePrediction | None, pixel_mm: tuple[float, float]
) -> tuple[CarriedClick, ...]:
    """The clicks of an event that correct a mask, and how far each reaches beyond its slice."""
    if known is None or event.box is not None or not known.mask().any():
        return ()
    mask = known.mask()
    occupied = np.argwhere(mask)
    low = np.maximum(occupied.min(0) - 1, 0)
    around = low + np.argwhere(~mask[tuple(slice(a, b + 2) for a, b in zip(low, occupied.max(0), strict=True))])
    clicks = []
    for (row, column), positive in zip(event.points, event.labels, strict=True):
        at = np.clip(np.rint([row, column]).astype(int), 0, np.array(mask.shape) - 1)
        beyond = occupied if positive else around
        corrects = mask[tuple(at)] != positive and len(beyond) > 0
        reach_mm = float(np.linalg.norm((beyond - at) * pixel_mm, axis=1).min()) if corrects else 0.0
        clicks.append(CarriedClick(row, column, positive, reach_mm))
    return tuple(clicks)


def _nearest_section(event: SliceEvent, found: dict[int, SlicePrediction]) -> int | None:
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
