"""A propagation front: it runs from one anchor in one direction, slice by slice, until a stop rule ends it.

The rules are stated in mm and as ratios, so that they mean the same on thick and thin slices. The method
(:mod:`medsam_planner.propagation.methods`) decides how each slice is prompted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.geometry import spacing_mm
from medsam_planner.progress import Progress, track
from medsam_planner.provenance import SliceRecord, SliceRole, StopReason

__all__ = ["Anchor", "PropagatedClick", "PropagationFront", "SliceGrid", "StopRules", "Visit", "slice_grid"]

_LEAST_QUALITY = 1e-3


@dataclass(frozen=True, slots=True)
class StopRules:
    """Limits at which a propagation front ends. ``benchmarks/stop_rules.py`` measures their effect on real cases."""

    min_overlap: float = 0.3
    """Share of the new mask that lies on the propagated one. It stays at 1 where a mask shrinks, because structures
    taper."""
    max_growth_ratio: float = 1.6
    """Ratio of the new area to the last one, per `reference_step_mm`. More is a leak if the radius also grows by more
    than `max_growth_mm`."""
    max_growth_mm: float = 1.5
    """Growth of the radius of the disc of equal area, per `reference_step_mm`, up to which there is no leak."""
    max_growth_from_anchor: float = 4.0
    """Ratio of the area to that of the prompted slice: leaks also grow slowly."""
    max_shrinkage_mm: float = 8.0
    """Decrease of the radius of the disc of equal area, per `reference_step_mm`; more means that the structure was
    lost."""
    max_centroid_drift_mm: float = 12.0
    """Shift of the mask's centre, per `reference_step_mm`."""
    reference_step_mm: float = 3.0
    """Slice distance to which the limits per step refer; thicker slices may change more."""
    min_quality: float = 0.4
    """Smallest predicted IoU."""
    max_entropy_bits: float = 0.7
    """Largest mean predictive entropy over the mask."""
    max_iou_loss_mm: float = 0.6
    """Largest sum over the front of ``step_mm × −ln(quality / best quality so far)``, where quality is the predicted
    IoU. Where a structure ends, its predicted IoU usually falls over several slices and not at once. Not applied
    between two prompted slices."""

    def as_json(self) -> dict[str, float]:
        """The limits as result files and calibrations hold them, where the loss of predicted IoU has an older name."""
        return {"max_doubt_mm" if name == "max_iou_loss_mm" else name: value for name, value in asdict(self).items()}

    def between_anchors(self) -> StopRules:
        """The rules between two prompted slices, where the user has said that the structure goes on or ends."""
        return replace(self, max_iou_loss_mm=math.inf)

    def by_quality(self) -> StopRules:
        """Only the limit of the predicted IoU, for a model whose predicted IoU takes the distance to its memory into
        account."""
        free = math.inf
        return StopRules(
            min_overlap=0.0,
            max_growth_ratio=free,
            max_growth_from_anchor=free,
            max_shrinkage_mm=free,
            max_centroid_drift_mm=free,
            min_quality=self.min_quality,
            max_entropy_bits=free,
            max_iou_loss_mm=free,
        )


@dataclass(frozen=True, slots=True)
class SliceGrid:
    """Size of a pixel, and distance between slices across the axis of propagation."""

    pixel_mm: tuple[float, float]
    step_mm: float

    def area_mm2(self, mask: NDArray[np.bool_]) -> float:
        """Area of a slice mask."""
        return float(mask.sum()) * self.pixel_mm[0] * self.pixel_mm[1]

    def centroid_mm(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(2,) centre of a non-empty slice mask, in mm along rows and columns."""
        return np.array([positions.mean() for positions in np.nonzero(mask)]) * np.asarray(self.pixel_mm)


def slice_grid(segmenter: SliceSegmenter, axis: int) -> SliceGrid:
    """The grid of the slices across one axis of a study."""
    return SliceGrid(segmenter.slice_spacing_mm(axis), float(spacing_mm(segmenter.volume.affine)[axis]))


@dataclass(frozen=True, slots=True)
class PropagatedClick:
    """A correction that also holds on the slices around its own."""

    row: float
    column: float
    positive: bool
    reach_mm: float
    """Largest distance to a slice on which it holds: its distance to the border of the mask that it corrected. Users
    click into the middle of an error, and most errors are about as long as they are wide."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """A slice that the user prompted, and its prediction."""

    index: int
    prediction: SlicePrediction
    digest: str
    """Hash of all prompts up to the last one on this slice; equal digests mean equal predictions."""
    clicks: tuple[PropagatedClick, ...] = ()
    has_initial_mask: bool = False
    """Whether the initial mask has a section on this slice. It tells where the structure ends, so no front starts here
    unless a slice without such a section was prompted on that side."""


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """A slice that a propagation front reached."""

    record: SliceRecord
    prediction: SlicePrediction


@dataclass(slots=True, eq=False)
class PropagationFront(ABC):
    """Propagation from one anchor in one direction. It runs only as far as requested, and keeps its visits."""

    anchor: Anchor
    direction: int
    grid: SliceGrid
    rules: StopRules
    _visits: list[Visit] = field(default_factory=list, init=False)
    _best_quality: float = field(default=0.0, init=False)
    _iou_loss_mm: float = field(default=0.0, init=False)

    @abstractmethod
    def _predict(self, index: int, previous: SlicePrediction) -> tuple[SlicePrediction, NDArray[np.bool_]]:
        """Predict the next slice; also return the (H, W) mask of its prompt."""

    @property
    def stopped(self) -> bool:
        """Whether a stop rule has fired."""
        return bool(self._visits) and self._visits[-1].record.stop is not None

    def reach(self, last_index: int, progress: Progress | None = None) -> list[Visit]:
        """Visits from the slice after the anchor to `last_index`, fewer if a stop rule ends the front before."""
        requested = (last_index - self.anchor.index) * self.direction
        if not self.anchor.prediction.mask().any():
            return []
        for _ in track(range(len(self._visits), requested), "propagating", progress):
            if self.stopped:
                break
            self._visits.append(self._visit(self.anchor.index + self.direction * (len(self._visits) + 1)))
        return self._visits[: max(requested, 0)]

    def _visit(self, index: int) -> Visit:
        previous = self._visits[-1].prediction if self._visits else self.anchor.prediction
        previous_mask = previous.mask()
        prediction, propagated = self._predict(index, previous)
        mask = prediction.mask()
        area, previous_area = self.grid.area_mm2(mask), self.grid.area_mm2(previous_mask)
        overlap = float((mask & propagated).sum()) / max(float(mask.sum()), 1.0)
        drift: float | None = None
        if mask.any():
            drift = float(np.linalg.norm(self.grid.centroid_mm(mask) - self.grid.centroid_mm(previous_mask)))
        entropy = prediction.entropy_bits()
        anchored = (
            0.0 if self.anchor.prediction.is_given else self.anchor.prediction.quality
        )  # only a model's is an IoU
        best = max(self._best_quality, anchored, prediction.quality, _LEAST_QUALITY)
        self._best_quality = best
        self._iou_loss_mm += self.grid.step_mm * math.log(best / max(prediction.quality, _LEAST_QUALITY))
        stop = self._stop(area, previous_area, overlap, drift, prediction.quality, entropy)
        record = SliceRecord(
            index=index,
            role=SliceRole.STOPPED if stop else SliceRole.PROPAGATED,
            source_index=index - self.direction,
            overlap=overlap,
            area_mm2=area,
            centroid_drift_mm=drift,
            quality=prediction.quality,
            entropy_bits=entropy,
            stop=stop,
        )
        return Visit(record, prediction)

    def _stop(
        self, area: float, previous_area: float, overlap: float, drift: float | None, quality: float, entropy: float
    ) -> StopReason | None:
        rules = self.rules
        steps = max(self.grid.step_mm / rules.reference_step_mm, 1.0)
        if area == 0.0 or drift is None:
            return StopReason.EMPTY
        if quality < rules.min_quality:
            return StopReason.LOW_QUALITY
        if self._iou_loss_mm > rules.max_iou_loss_mm:
            return StopReason.IOU_LOSS
        if overlap < rules.min_overlap:
            return StopReason.LOW_OVERLAP
        growth_mm = math.sqrt(area / math.pi) - math.sqrt(previous_area / math.pi)
        leaps = area > previous_area * rules.max_growth_ratio**steps and growth_mm > rules.max_growth_mm * steps
        anchor_area = self.grid.area_mm2(self.anchor.prediction.mask())
        creeps = area > anchor_area * rules.max_growth_from_anchor and growth_mm > 0
        if leaps or creeps or -growth_mm > rules.max_shrinkage_mm * steps:
            return StopReason.AREA_JUMP
        if drift > rules.max_centroid_drift_mm * steps:
            return StopReason.CENTROID_JUMP
        if entropy > rules.max_entropy_bits:
            return StopReason.UNCERTAIN
        return None
