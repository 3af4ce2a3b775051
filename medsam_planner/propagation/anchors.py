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

from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.propagation.walk import Anchor, SegmentSlice
from prompts import Box, Click, Scribble
from prompts.geometry import box_extent, click_index, scribble_indices

__all__ = ["SliceEvent", "SliceRange", "fold_anchors", "slice_events"]

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
    segment_slice: SegmentSlice,
    propagated: Callable[[dict[int, Anchor], int], SlicePrediction | None],
    memo: dict[str, dict[int, Anchor]],
    slice_shape: tuple[int, int],
) -> dict[int, Anchor]:
    """Answer the events one after the other.

    Parameters
    ----------
    events : sequence of SliceEvent
    segment_slice : callable
        Answers a prompt on a slice, given what is refined.
    propagated : callable
        What the anchors so far put on a slice, or None where they put nothing.
    memo : dict
        Anchors by the digest of the events that made them; kept by the caller, so that a longer log or an undo costs
        only what is new.
    slice_shape : (int, int)

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
            known = anchors[event.index].prediction if event.index in anchors else propagated(anchors, event.index)
            prediction = _answer(event, known, segment_slice, slice_shape)
            memo[key] = {**anchors, event.index: Anchor(event.index, prediction, key)}
        anchors = memo[key]
    return anchors


def _answer(
    event: SliceEvent, known: SlicePrediction | None, segment_slice: SegmentSlice, slice_shape: tuple[int, int]
) -> SlicePrediction:
    """Refine what is known of the slice, or begin afresh where nothing is, or where a new box says so."""
    points = [] if known is None or known.prompt.points is None else [known.prompt.points]
    labels = [] if known is None or known.prompt.labels is None else [known.prompt.labels]
    if event.points:
        points.append(np.array(event.points, dtype=np.float64))
        labels.append(np.array(event.labels, dtype=bool))
    said = SlicePrompt(
        points=np.concatenate(points) if points else None, labels=np.concatenate(labels) if labels else None
    )
    if event.box is not None:
        return segment_slice(event.index, replace(said, box=np.array(event.box)))
    if known is not None and known.mask().any():
        refined = replace(said, box=known.prompt.box, mask=known.prompt.mask)
        return segment_slice(event.index, refined, known)
    if known is not None and known.prompt.mask is None:
        said = replace(said, box=known.prompt.box)  # the person's own box, though its answer was empty
    if said.box is None and (said.labels is None or not said.labels.any()):
        # Only "not here" was said on a slice that holds nothing: the answer is nothing, and no front may cross it.
        return SlicePrediction(np.zeros(slice_shape, dtype=np.float32), 1.0, None, said)
    return segment_slice(event.index, said)
