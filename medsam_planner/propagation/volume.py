"""From anchors to a volume: propagation fronts meet between two anchors and go on beyond the outermost ones.

The method (:mod:`medsam_planner.propagation.methods`) decides how each slice is prompted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.engine.zoom import crop_window
from medsam_planner.geometry import slice_across, zeros_by_slice
from medsam_planner.progress import Progress
from medsam_planner.propagation.anchors import Event, SliceEvent, SliceRange, fold_anchors, known_predictions
from medsam_planner.propagation.front import Anchor, PropagationFront, StopRules, Visit, slice_grid
from medsam_planner.propagation.methods import PropagationMethod, method_for
from medsam_planner.provenance import PropagationTrace, SliceRecord, SliceRole, StopReason

__all__ = ["PropagatedVolume", "Propagator", "cut_at_end", "meeting_slice"]

_MIDDLE_WEIGHT = 0.05
"""Weight of the preference for the middle, per slice and unit of missing predicted IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class PropagatedVolume:
    """The slice predictions of one mask, across one axis."""

    predictions: dict[int, SlicePrediction]
    """By slice index; absent slices are empty."""
    trace: PropagationTrace

    def probability(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """(K, J, I) probabilities, 0 outside the model's crops."""
        volume = zeros_by_slice(shape, self.trace.axis, np.float32)
        for index, prediction in self.predictions.items():
            section = slice_across(volume, self.trace.axis, index)
            in_crop = ... if prediction.crop is None else crop_window(prediction.crop, prediction.probability.shape)
            section[in_crop] = prediction.probability[in_crop]
        return volume


@dataclass(slots=True, eq=False)
class Propagator:
    """Propagation of one structure across one axis of a study.

    It keeps its anchors and fronts between calls. They depend only on the prompts, never on the order of the calls.
    """

    segmenter: SliceSegmenter
    axis: int
    rules: StopRules = field(default_factory=StopRules)
    _method: PropagationMethod = field(init=False)
    _anchor_memo: dict[str, dict[int, Anchor]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._method = method_for(self.segmenter, self.axis, self.rules)

    def anchors(self, events: Sequence[Event], *, progress: Progress | None = None) -> dict[int, Anchor]:
        """Predict the slice of every prompt, in log order."""
        return fold_anchors(
            events,
            self._method.predict,
            self._propagated(events, progress),
            self._anchor_memo,
            progress=progress,
        )

    def candidate_masks(
        self, earlier: Sequence[Event], last: SliceEvent, *, progress: Progress | None = None
    ) -> tuple[SlicePrediction, ...]:
        """Every candidate prediction for the last prompt after the earlier ones, best first."""
        before = self.anchors(earlier, progress=progress)
        found = known_predictions(last, before, self._propagated(earlier, progress))
        return self._method.candidate_masks(last, before, found)

    def propagate(
        self, events: Sequence[Event], *, only_prompted: bool = False, progress: Progress | None = None
    ) -> PropagatedVolume:
        """Propagate the predictions of all prompts through the volume, or leave it at the prompted slices."""
        anchors = self.anchors(events, progress=progress)
        return self._propagate(anchors, self._limits(events), progress, only_prompted=only_prompted)

    def _propagated(
        self, events: Sequence[Event], progress: Progress | None
    ) -> Callable[[dict[int, Anchor]], dict[int, SlicePrediction]]:
        return lambda anchors: self._propagate(anchors, self._limits(events), progress).predictions

    def _limits(self, events: Sequence[Event]) -> SliceRange:
        last = self.segmenter.volume.spatial_shape[self.axis] - 1
        stated = [event.limits for event in events if isinstance(event, SliceEvent) and event.limits is not None]
        if not stated:
            return SliceRange(0, last)
        return SliceRange(min(limits.first for limits in stated), max(limits.last for limits in stated))

    def _propagate(
        self,
        anchors: dict[int, Anchor],
        limits: SliceRange,
        progress: Progress | None,
        *,
        only_prompted: bool = False,
    ) -> PropagatedVolume:
        indices = sorted(anchors)
        visits: list[Visit] = []
        for below, above in [] if only_prompted else self._gaps(indices):
            visits.extend(self._fill(anchors, below, above, limits, progress))
        predictions = {index: anchors[index].prediction for index in indices}
        for visit in visits:
            if visit.record.role is not SliceRole.STOPPED or visit.record.stop is StopReason.EMPTY:
                predictions.setdefault(visit.record.index, visit.prediction)
        records = [self._anchor_record(anchors[index]) for index in indices] + [visit.record for visit in visits]
        ordered = tuple(sorted(records, key=lambda record: record.index))
        return PropagatedVolume(predictions, PropagationTrace(self.axis, ordered))

    @staticmethod
    def _gaps(indices: list[int]) -> list[tuple[int | None, int | None]]:
        if not indices:
            return []
        inner: Iterable[tuple[int | None, int | None]] = pairwise(indices)
        return [(None, indices[0]), *inner, (indices[-1], None)]

    def _fill(
        self,
        anchors: dict[int, Anchor],
        below: int | None,
        above: int | None,
        limits: SliceRange,
        progress: Progress | None,
    ) -> list[Visit]:
        """Visits strictly between two anchors, or beyond the outermost one."""
        ends = [anchors[one] for one in (below, above) if one is not None]
        if all(one.has_initial_mask or not one.prediction.mask().any() for one in ends):
            return []  # what the initial mask leaves empty stays so
        if below is not None and above == below + 1:
            return []
        if below is None and above is not None:
            return self._outward(self._method.front(anchors, above, -1, is_between=False), limits.first, progress)
        if above is None and below is not None:
            return self._outward(self._method.front(anchors, below, +1, is_between=False), limits.last, progress)
        if below is None or above is None:
            return []
        upward, downward = (
            self._method.front(anchors, start, direction, is_between=True)
            for start, direction in ((below, +1), (above, -1))
        )
        if not anchors[above].prediction.mask().any():
            return cut_at_end(upward.reach(above - 1, progress))
        if not anchors[below].prediction.mask().any():
            return cut_at_end(downward.reach(below + 1, progress))
        up, down = upward.reach(above - 1, progress), downward.reach(below + 1, progress)
        last_up = meeting_slice(below, above, up, down)
        return [
            *_ended([visit for visit in up if visit.record.index <= last_up], StopReason.MET),
            *_ended([visit for visit in down if visit.record.index > last_up], StopReason.MET),
        ]

    def _outward(self, front: PropagationFront, last_index: int, progress: Progress | None) -> list[Visit]:
        count = self.segmenter.volume.spatial_shape[self.axis]
        at_end = last_index in (0, count - 1)
        return _ended(front.reach(last_index, progress), StopReason.VOLUME_END if at_end else StopReason.RANGE_END)

    def _anchor_record(self, anchor: Anchor) -> SliceRecord:
        grid = slice_grid(self.segmenter, self.axis)
        return SliceRecord(
            index=anchor.index,
            role=SliceRole.GIVEN if anchor.prediction.is_given else SliceRole.ANCHOR,
            source_index=None,
            overlap=None,
            area_mm2=grid.area_mm2(anchor.prediction.mask()),
            centroid_drift_mm=None,
            quality=anchor.prediction.quality,
            entropy_bits=anchor.prediction.entropy_bits(),
        )


def _has_stopped(visits: list[Visit]) -> bool:
    return bool(visits) and visits[-1].record.stop is not None


def meeting_slice(below: int, above: int, up: list[Visit], down: list[Visit]) -> int:
    """Last slice between two prompted slices that keeps the mask of the front from below.

    Both fronts cross the whole gap. They meet where the sum of the kept predicted IoU is largest, so that a front that
    lost the structure gives way to the other one. Among equal sums the slice nearest to the middle is taken.

    Parameters
    ----------
    below, above : int
        Indices of the two prompted slices.
    up, down : list of Visit
        Visits of the two fronts.
    """
    of_up, of_down = (
        np.zeros(above - below),
        np.zeros(above - below),
    )  # by distance from `below`
    for quality, visits in ((of_up, up), (of_down, down)):
        for visit in visits:
            quality[visit.record.index - below] = 0.0 if visit.record.stop else visit.record.quality or 0.0
    kept = np.cumsum(of_up) + of_down.sum() - np.cumsum(of_down)
    middle = (below + above) // 2 - below
    best = np.flatnonzero(kept >= kept.max() - 1e-6)
    return below + int(best[np.argmin(np.abs(best - middle))])


def cut_at_end(visits: list[Visit]) -> list[Visit]:
    """End a front that runs towards a slice which the user marked as empty.

    The structure ends somewhere before that slice. The end is put where the predicted IoU changes from high to low: at
    the largest cumulative sum of deviations from its mean (Page 1954, doi 10.1093/biomet/41.1-2.100). The lower the
    mean, the more the end is drawn to the middle. Where the predicted IoU is 1 throughout, all visits are kept.

    Parameters
    ----------
    visits : list of Visit
        Of the front, in order.

    Returns
    -------
    list of Visit
        The same slices; those beyond the end are refused.
    """
    if not visits:
        return visits
    qualities = np.array([0.0 if visit.record.stop else visit.record.quality or 0.0 for visit in visits])
    count = len(visits)
    kept = np.arange(count + 1)
    gained = np.concatenate([[0.0], np.cumsum(qualities - qualities.mean())])
    pull = _MIDDLE_WEIGHT * (1 - float(qualities.mean()))
    scores = gained - pull * count * (2 * kept / count - 1) ** 2
    cut = int(np.flatnonzero(scores >= scores.max() - 1e-9)[-1])
    refused = [
        Visit(replace(visit.record, role=SliceRole.STOPPED, stop=StopReason.NOT_HERE), visit.prediction)
        for visit in visits[cut:]
    ]
    return [*visits[:cut], *refused]


def _ended(visits: list[Visit], reason: StopReason) -> list[Visit]:
    """Record why the front ended at its last visit, unless a stop rule did.

    The slice keeps its mask and the role "propagated".
    """
    if not visits or _has_stopped(visits):
        return visits
    last = visits[-1]
    return [*visits[:-1], Visit(replace(last.record, stop=reason), last.prediction)]
