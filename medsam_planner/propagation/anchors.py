"""From the ordered prompts to the anchors, which are the prompted slices with their predictions.

A click on a slice without prompts refines the mask that was propagated there, so its effect depends on the prompts
before it, and on nothing else. Prompts are applied in the order of the log. The mask is therefore a function of the
log, and replay, undo and redo need no code of their own.

A mask by hand needs no model, and means the same for every propagation method. An edit makes each slice it touches an
anchor, whose mask is what was there with the painted voxels set or cleared. An initial mask makes every slice on which
it has a section an anchor with that section. A later prompt on such a slice predicts it anew from the mask that is
there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.front import Anchor, PropagatedClick
from prompts import Box, Click, Edit, InitialMask, Prompt
from prompts.geometry import box_extent, click_index, scribble_indices

__all__ = [
    "Event",
    "MaskEvent",
    "PaintedSection",
    "SliceEvent",
    "SliceRange",
    "empty_prediction",
    "fold_anchors",
    "known_predictions",
    "nearest_section",
    "slice_events",
    "slice_prompt",
]

_CONTINUATION = 0.5
"""A click continues a cross-section when it lies within the section's box, padded by this share of its size a side."""
_SCRIBBLE_POINTS_PER_SLICE = 6
"""A scribble is thinned to this many clicks on each slice that it crosses."""


@dataclass(frozen=True, slots=True)
class SliceRange:
    """First and last slice that a structure may occupy, inclusive, from a 3D box."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class SliceEvent:
    """One prompt on one slice, in plain values that can be hashed."""

    index: int
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[bool, ...] = ()
    limits: SliceRange | None = None
    candidate: int | None = None
    """Number of the candidate that the user chose, counted from the best; None where nothing was chosen."""


Predict: TypeAlias = Callable[
    [SliceEvent, Mapping[int, Anchor], Mapping[int, SlicePrediction]],
    tuple[SlicePrediction, tuple[PropagatedClick, ...]],
]


@dataclass(frozen=True, slots=True, eq=False)
class PaintedSection:
    """The part of a mask by hand on one slice."""

    window: tuple[slice, slice]
    """Rows and columns of the slice."""
    inside: NDArray[np.bool_]
    """(h, w) in the window."""

    def covers(self, row: float, column: float) -> bool:
        """Whether a point of the slice lies on a painted pixel."""
        at = (round(row) - self.window[0].start, round(column) - self.window[1].start)
        within = 0 <= at[0] < self.inside.shape[0] and 0 <= at[1] < self.inside.shape[1]
        return within and bool(self.inside[at])


@dataclass(frozen=True, slots=True)
class MaskEvent:
    """An initial mask or an edit, on all of its slices at once."""

    prompt: InitialMask | Edit
    sections: Mapping[int, PaintedSection] = field(repr=False, compare=False)
    """By slice index; slices without a voxel are absent."""
    slice_shape: tuple[int, int]
    """Rows and columns of a slice."""


Event: TypeAlias = SliceEvent | MaskEvent
"""Its text holds every value that its effect depends on, so that it can be hashed."""


def slice_events(prompts: Iterable[Prompt], affine: ArrayLike, shape: Sequence[int], axis: int) -> tuple[Event, ...]:
    """Translate prompts in LPS mm to events on slices across `axis`, in log order.

    2D boxes in another plane are left out: they belong to the propagation across their own axis.

    Parameters
    ----------
    prompts : iterable of Prompt
        In log order.
    affine : (4, 4) float
        Index → LPS mm.
    shape : (3,) int
        Voxels along each array axis.
    axis : int
        Array axis across which the slices lie.
    """
    in_plane = [other for other in range(3) if other != axis]
    events: list[Event] = []
    for prompt in prompts:
        if isinstance(prompt, InitialMask | Edit):
            sections = _painted_sections(prompt, affine, shape, axis)
            events.append(MaskEvent(prompt, sections, (shape[in_plane[0]], shape[in_plane[1]])))
        elif isinstance(prompt, Box):
            extent = box_extent(prompt, affine, shape)
            if extent.axis not in (None, axis):
                continue
            low, high = np.asarray(extent.low)[in_plane], np.asarray(extent.high)[in_plane]
            first, last = int(extent.low_index[axis]), int(extent.high_index[axis])
            limits = SliceRange(first, last) if extent.axis is None else None
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            events.append(SliceEvent((first + last) // 2, box=box, limits=limits, candidate=prompt.candidate))
        elif isinstance(prompt, Click):
            index = click_index(prompt, affine)
            slice_index = int(np.clip(np.rint(index[axis]), 0, shape[axis] - 1))
            point = (float(index[in_plane[0]]), float(index[in_plane[1]]))
            labels = (prompt.positive,)
            events.append(SliceEvent(slice_index, points=(point,), labels=labels, candidate=prompt.candidate))
        else:
            voxels = np.asarray(scribble_indices(prompt, affine, shape))
            for slice_index in dict.fromkeys(voxels[:, axis].tolist()):
                crossed = voxels[voxels[:, axis] == slice_index][:, in_plane]
                keep = np.unique(np.linspace(0, len(crossed) - 1, _SCRIBBLE_POINTS_PER_SLICE).round().astype(int))
                points = tuple((float(row), float(column)) for row, column in crossed[keep])
                events.append(SliceEvent(int(slice_index), points=points, labels=(prompt.positive,) * len(points)))
    return tuple(events)


def _painted_sections(
    prompt: InitialMask | Edit, affine: ArrayLike, shape: Sequence[int], axis: int
) -> dict[int, PaintedSection]:
    first_index, inside = prompt.mask.on_grid(affine, shape)
    row, column = (
        slice(low, low + size)
        for other, (low, size) in enumerate(zip(first_index, inside.shape, strict=True))
        if other != axis
    )
    return {
        first_index[axis] + number: PaintedSection((row, column), section)
        for number, section in enumerate(np.moveaxis(inside, axis, 0))
        if section.any()
    }


def fold_anchors(
    events: Sequence[Event],
    predict: Predict,
    propagated: Callable[[dict[int, Anchor]], dict[int, SlicePrediction]],
    memo: dict[str, dict[int, Anchor]],
    *,
    progress: Progress | None = None,
) -> dict[int, Anchor]:
    """Apply the events one after the other.

    An anchor changes only by events on its own slice, and by an initial mask, which replaces all.

    Parameters
    ----------
    events : sequence of Event
        In log order.
    predict : callable
        Predicts the slice of an event, given the anchors and the predictions before it;
        :meth:`medsam_planner.propagation.methods.PropagationMethod.predict`.
    propagated : callable
        Returns the predictions by slice that the anchors so far lead to.
    memo : dict
        Anchors by the digest of the events that led to them. The caller keeps it, so that a longer log or an undo
        computes only new events.
    progress : Progress, optional
        Told the events; may cancel.

    Returns
    -------
    dict of slice index to Anchor
    """
    anchors: dict[int, Anchor] = {}
    digest = hashlib.sha256()
    for event in track(events, "prompted slices", progress):
        digest.update(repr(event).encode())
        key = digest.hexdigest()
        if key not in memo:
            if isinstance(event, SliceEvent):
                found = known_predictions(event, anchors, propagated)
                prediction, clicks = predict(event, anchors, found)
                begun = event.index in anchors and anchors[event.index].has_initial_mask
                memo[key] = {**anchors, event.index: Anchor(event.index, prediction, key, clicks, begun)}
            elif isinstance(event.prompt, InitialMask):
                memo[key] = {
                    index: Anchor(index, _painted(event.slice_shape, section), key, has_initial_mask=True)
                    for index, section in event.sections.items()
                }
            else:
                found = propagated(anchors) if anchors and event.sections.keys() - anchors.keys() else {}
                memo[key] = {**anchors, **_edited(event, event.prompt.positive, key, anchors, found)}
        anchors = memo[key]
    return anchors


def _edited(
    event: MaskEvent,
    positive: bool,
    key: str,
    anchors: Mapping[int, Anchor],
    found: Mapping[int, SlicePrediction],
) -> dict[int, Anchor]:
    """Anchors of the slices of an edit. Where there is nothing to clear, clearing makes no anchor."""
    edited = {}
    for index, section in event.sections.items():
        anchor = anchors.get(index)
        known = found.get(index) if anchor is None else anchor.prediction
        painted = _painted(event.slice_shape, section, positive=positive, known=known)
        if anchor is not None:
            clicks = tuple(click for click in anchor.clicks if not section.covers(click.row, click.column))
            edited[index] = replace(anchor, prediction=painted, digest=key, clicks=clicks)
        elif positive or (known is not None and known.mask().any()):
            edited[index] = Anchor(index, painted, key)
    return edited


def _painted(
    slice_shape: tuple[int, int],
    section: PaintedSection,
    *,
    positive: bool = True,
    known: SlicePrediction | None = None,
) -> SlicePrediction:
    """What is there with painted pixels set or cleared. The mask takes the place of all prompts on the slice."""
    probability = np.zeros(slice_shape, dtype=np.float32) if known is None else known.probability.copy()
    probability[section.window][section.inside] = np.float32(positive)
    return SlicePrediction(probability, 1.0, None, SlicePrompt(), is_given=True)


def known_predictions(
    event: SliceEvent,
    anchors: dict[int, Anchor],
    propagated: Callable[[dict[int, Anchor]], dict[int, SlicePrediction]],
) -> dict[int, SlicePrediction]:
    """Predictions by slice before an event; on a prompted slice with a mask, that slice only."""
    anchor = anchors.get(event.index)
    if anchor is not None and anchor.prediction.mask().any():
        return {event.index: anchor.prediction}  # refined by itself: nothing needs to be propagated
    return propagated(anchors) if anchors else {}


def slice_prompt(event: SliceEvent, known: SlicePrediction | None) -> SlicePrompt:
    """All points on a slice and the event's box; an earlier box where its prediction was empty and nothing was
    propagated."""
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


def empty_prediction(prompt: SlicePrompt, slice_shape: tuple[int, int]) -> SlicePrediction:
    """The empty prediction of a slice with negative prompts only; no propagation front crosses it."""
    return SlicePrediction(np.zeros(slice_shape, dtype=np.float32), 1.0, None, prompt)


def nearest_section(event: SliceEvent, found: Mapping[int, SlicePrediction]) -> int | None:
    """Slice with the nearest mask that a clicked structure may continue, or None.

    A click beyond the end of the propagation usually means that the structure goes on. The nearest cross-section tells
    the model the structure's size and shape, which a single click cannot.
    """
    filled = [index for index, prediction in found.items() if prediction.mask().any()]
    if not filled:
        return None
    near = min(filled, key=lambda index: (abs(index - event.index), index))
    mask = found[near].mask()
    low, high = box_around(mask).reshape(2, 2)
    reach = _CONTINUATION * (high - low + 1)
    inside = np.array(event.points)[np.array(event.labels)]
    return near if bool(np.all((inside >= low - reach) & (inside <= high + reach))) else None
