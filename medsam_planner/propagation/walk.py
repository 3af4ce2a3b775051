"""A front walks outward from one anchor: each slice is prompted by the mask of the slice before, moved along with it.

The rules that end a walk are stated in mm and as ratios, so that they mean the same on thick and thin slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.engine.segmenter import SlicePrediction
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.motion import moved, slice_motion_px
from medsam_planner.propagation.tuning import Tuning, best_rim, shift_to_area
from medsam_planner.provenance import SliceRecord, SliceRole, StopReason

__all__ = [
    "Anchor",
    "CarriedClick",
    "Front",
    "SliceGrid",
    "SlicesAcross",
    "StopRules",
    "Visit",
    "carried_prompt",
    "tuned",
]


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
        """Answer a prompt on slice `index`, refining `previous` where it is given."""

    def image(self, index: int) -> NDArray[np.float32]:
        """(H, W) intensities of slice `index` as the model is shown them."""

    @property
    def rims_px(self) -> tuple[float, ...]:
        """Rims of a carried box that the model may be asked with."""


_LEAST_QUALITY = 1e-3


@dataclass(frozen=True, slots=True)
class StopRules:
    """When a front must not go on. ``benchmarks/stop_rules.py`` measures what the limits do on real cases."""

    min_overlap: float = 0.3
    """Share of the new mask that lies on the one carried over. A shrinking mask keeps it at 1: structures taper off."""
    max_growth_ratio: float = 1.6
    """New over last area, per `reference_step_mm`: a leak, where the radius also grows by `max_growth_mm`."""
    max_growth_mm: float = 1.5
    """Growth of the radius of the disc of equal area, per `reference_step_mm`, that is never a leak."""
    max_growth_from_anchor: float = 4.0
    """Area over that of the prompted slice: leaks also creep."""
    max_shrinkage_mm: float = 8.0
    """Fall of the radius of the disc of equal area, per `reference_step_mm`: a structure lost."""
    max_centroid_drift_mm: float = 12.0
    """Shift of the mask's centre, per `reference_step_mm`."""
    reference_step_mm: float = 3.0
    """Slice distance for which the limits per step are meant; thicker slices may change more."""
    min_quality: float = 0.4
    """Predicted IoU."""
    max_entropy_bits: float = 0.7
    """Mean predictive entropy over the mask."""
    max_doubt_mm: float = 0.6
    """Sum over the walk of ``step_mm × −ln(quality / best quality so far)``. A structure seldom ends in one slice that
    the model rejects; mostly its predicted IoU sags from there on, so what it lacks is added up. Not applied between
    two prompted slices."""

    def between_anchors(self) -> StopRules:
        """The rules where the person has said that the structure goes on, or where it ends."""
        return replace(self, max_doubt_mm=math.inf)


@dataclass(frozen=True, slots=True)
class SliceGrid:
    """Size of a pixel and distance between slices across the walked axis."""

    pixel_mm: tuple[float, float]
    step_mm: float

    def area_mm2(self, mask: NDArray[np.bool_]) -> float:
        """Area of a slice mask."""
        return float(mask.sum()) * self.pixel_mm[0] * self.pixel_mm[1]

    def centroid_mm(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(2,) centre of a non-empty slice mask, in mm along rows and columns."""
        return np.array([positions.mean() for positions in np.nonzero(mask)]) * np.asarray(self.pixel_mm)


@dataclass(frozen=True, slots=True)
class CarriedClick:
    """A correction that holds on the slices around its own as well."""

    row: float
    column: float
    positive: bool
    reach_mm: float
    """How far it is carried: as far as it lay from the border of the mask it corrected, since an error is clicked in
    its middle and is mostly as long as it is wide."""


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """A slice the person prompted."""

    index: int
    prediction: SlicePrediction
    digest: str
    """Hash of everything said up to the last prompt on this slice; two equal digests mean equal predictions."""
    clicks: tuple[CarriedClick, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """A slice a front came to. A refused one keeps its prediction only when it is empty anyway."""

    record: SliceRecord
    prediction: SlicePrediction


def carried_prompt(probability: NDArray[np.float32], image: NDArray[np.float32]) -> SlicePrompt:
    """What a slice is asked on behalf of a non-empty neighbour: its shape, the box around it, and what it looks like.

    Parameters
    ----------
    probability, image : (H, W) float32
        Of the neighbour, where the structure is looked for; intensities as the model is shown them.
    """
    return SlicePrompt(box=box_around(probability > 0.5), mask=probability, example=image)


def tuned(anchor: Anchor, slices: SlicesAcross) -> Tuning:
    """How walks from an anchor are to ask: so that its own mask, carried onto its own slice, comes back unchanged."""
    mask = anchor.prediction.mask()
    if not mask.any():
        return Tuning()
    asked = carried_prompt(anchor.prediction.probability, slices.image(anchor.index))
    rim_px: float | None = None
    if slices.rims_px:
        by_box = [SlicePrompt(box=asked.box, rim_px=rim) for rim in slices.rims_px]
        rim_px = slices.rims_px[best_rim([slices.segment(anchor.index, alone).mask() for alone in by_box], mask)]
    own = slices.segment(anchor.index, replace(asked, rim_px=rim_px))
    return Tuning(rim_px, shift_to_area(own.probability, int(np.count_nonzero(mask))))


@dataclass(slots=True, eq=False)
class Front:
    """A walk in one direction that goes only as far as it is asked to, and remembers how far it came."""

    anchor: Anchor
    direction: int
    slices: SlicesAcross
    grid: SliceGrid
    rules: StopRules
    tuning: Tuning
    _visits: list[Visit] = field(default_factory=list)
    _best_quality: float = 0.0
    _doubt_mm: float = 0.0
    _moved_px: tuple[int, int] = (0, 0)
    """Of the structure since the anchor."""

    @property
    def stopped(self) -> bool:
        """Whether a stop rule has fired."""
        return bool(self._visits) and self._visits[-1].record.stop is not None

    def reach(self, last_index: int, progress: Progress | None = None) -> list[Visit]:
        """Visits from the slice after the anchor to `last_index`, fewer if a rule stops the walk before."""
        wanted = (last_index - self.anchor.index) * self.direction
        if not self.anchor.prediction.mask().any():
            return []
        for _ in track(range(len(self._visits), wanted), "propagating", progress):
            if self.stopped:
                break
            self._visits.append(self._visit(self.anchor.index + self.direction * (len(self._visits) + 1)))
        return self._visits[: max(wanted, 0)]

    def _visit(self, index: int) -> Visit:
        previous = self._visits[-1].prediction if self._visits else self.anchor.prediction
        previous_mask, image = previous.mask(), self.slices.image(index - self.direction)
        motion_px = slice_motion_px(
            previous_mask, image, self.slices.image(index), self.grid.pixel_mm, self.grid.step_mm
        )
        carried = moved(previous.probability, motion_px, beyond=0.0)
        if not (carried > 0.5).any():  # moved off the slice
            motion_px, carried = (0, 0), previous.probability
        self._moved_px = (self._moved_px[0] + motion_px[0], self._moved_px[1] + motion_px[1])
        asked = replace(carried_prompt(carried, moved(image, motion_px)), rim_px=self.tuning.rim_px)
        asked = self._with_clicks(asked, index)
        prediction = self.slices.segment(index, asked, logit_shift=self.tuning.logit_shift)
        mask = prediction.mask()
        area, previous_area = self.grid.area_mm2(mask), self.grid.area_mm2(previous_mask)
        overlap = float((mask & (carried > 0.5)).sum()) / max(float(mask.sum()), 1.0)
        drift: float | None = None
        if mask.any():
            drift = float(np.linalg.norm(self.grid.centroid_mm(mask) - self.grid.centroid_mm(previous_mask)))
        entropy = prediction.entropy_bits()
        best = max(self._best_quality, self.anchor.prediction.quality, prediction.quality, _LEAST_QUALITY)
        self._best_quality = best
        self._doubt_mm += self.grid.step_mm * math.log(best / max(prediction.quality, _LEAST_QUALITY))
        stop = self._stop(area, previous_area, overlap, drift, prediction.quality, entropy)
        record = SliceRecord(
            index=index,
            role=SliceRole.REFUSED if stop else SliceRole.PROPAGATED,
            source_index=index - self.direction,
            overlap=overlap,
            area_mm2=area,
            centroid_drift_mm=drift,
            quality=prediction.quality,
            entropy_bits=entropy,
            stop=stop,
        )
        return Visit(record, prediction)

    def _with_clicks(self, asked: SlicePrompt, index: int) -> SlicePrompt:
        """The prompt with those corrections of the anchor that reach this far, moved along with the structure."""
        away_mm = abs(index - self.anchor.index) * self.grid.step_mm
        clicks = [click for click in self.anchor.clicks if away_mm <= click.reach_mm]
        if not clicks:
            return asked
        points = np.array([(click.row, click.column) for click in clicks]) + self._moved_px
        return replace(asked, points=points, labels=np.array([click.positive for click in clicks]))

    def _stop(
        self, area: float, previous_area: float, overlap: float, drift: float | None, quality: float, entropy: float
    ) -> StopReason | None:
        rules = self.rules
        steps = max(self.grid.step_mm / rules.reference_step_mm, 1.0)
        if area == 0.0 or drift is None:
            return StopReason.EMPTY
        if quality < rules.min_quality:
            return StopReason.LOW_QUALITY
        if self._doubt_mm > rules.max_doubt_mm:
            return StopReason.DOUBT
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
