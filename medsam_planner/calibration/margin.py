"""The calibrated margin of one structure: its width, the reasons for it, and whether its guarantee applies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import highdicom
import numpy as np

from medsam_planner.calibration.policy import departures
from medsam_planner.calibration.record import Calibration, MedianVolume, ml_in_words
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import volume_ml
from medsam_planner.planning.margins import MarginStatement, margin_from_scale
from medsam_planner.provenance import SegmentationProvenance
from medsam_planner.volumes import array_sha256, source_of
from prompts import PromptLog
from xai.surface import surface_voxels

__all__ = ["CalibratedMargin", "FoundVolume", "calibrated_margin"]


@dataclass(frozen=True, slots=True)
class FoundVolume:
    """The segmented volume of a structure, the population median, and the effect of the difference on the margin."""

    found_ml: float
    median: MedianVolume | None
    """Of the population; None where it is not known for the structure."""
    times_as_wide: float
    """Mean margin divided by the mean margin without a shortfall; 1 where there is none."""

    def in_words(self, structure: str, *, inner: bool) -> str:
        """Why the margin is wider because of the volume, or cannot be; empty where it is not wider in the digits
        shown."""
        if self.median is None:
            amount = "much" if inner else "little"
            return (
                f"It does not widen when too {amount} of the structure was segmented, because no population median "
                f"volume of {structure} is known."
            )
        times, found, usual = (
            f"{self.times_as_wide:.1f}",
            ml_in_words(self.found_ml),
            ml_in_words(self.median.median_ml),
        )
        if times == "1.0" or found == usual:
            return ""
        amount = "as much as" if inner else "only"
        return (
            f"It is {times} times as wide as it would otherwise be, because {amount} {found} were segmented and the "
            f"population median is {usual} ({self.median.patients} patients)."
        )

    def as_json(self) -> dict[str, Any]:
        """The entries of plan.json."""
        return {
            "found_ml": self.found_ml,
            "usual_ml": None if self.median is None else self.median.median_ml,
            "usual_size_patients": 0 if self.median is None else self.median.patients,
            "times_as_wide_for_its_size": self.times_as_wide,
        }


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedMargin:
    """A margin and its guarantee."""

    structure: str
    margin_mm: highdicom.Volume
    """q u(z), float32 mm, read at the structure's surface."""
    quantile: float
    """q, mm per unit of u."""
    alpha: float
    patients: int
    inner: bool
    """Whether the margin narrows a structure to stay inside, instead of widening one to avoid."""
    width_mm: tuple[float, float, float]
    """Smallest, mean and largest margin over the surface."""
    size: FoundVolume | None
    """None where the calibration's scale does not use the volume."""
    voids: tuple[str, ...]
    """Why the guarantee does not apply here; empty where it applies."""
    notes: tuple[str, ...]
    """What could not be checked."""

    @property
    def applies(self) -> bool:
        """Whether the guarantee applies to the structure."""
        return not self.voids

    def in_words(self) -> str:
        """The width of the margin and its guarantee, for a reader without statistics."""
        low, mean, high = self.width_mm
        width = f"{low:.1f} mm" if high - low < 0.05 else f"{low:.1f} to {high:.1f} mm (mean {mean:.1f} mm)"
        held = (
            "the whole narrowed structure lies inside the true one"
            if self.inner
            else "the widened structure contains the whole true structure"
        )
        said = (
            f"The margin of {self.structure} is {width} wide. It was calibrated on {self.patients} patients with "
            f"reference outlines: with {100 * (1 - self.alpha):.4g} % confidence {held}, in a patient of "
            "the same population."
        )
        if self.size is not None:
            said = f"{said} {self.size.in_words(self.structure, inner=self.inner)}".rstrip()
        if self.voids:
            return f"{said} This guarantee does NOT apply here: {'; '.join(self.voids)}."
        return said

    def statement(self) -> MarginStatement:
        """The margin statement of the plan and its report."""
        low, mean, high = self.width_mm
        return MarginStatement(
            structure=self.structure,
            explanation=self.in_words(),
            is_guaranteed=self.applies,
            voids=self.voids,
            values={
                "rule": "conformal",
                "confidence": 1 - self.alpha,
                "alpha": self.alpha,
                "calibration_patients": self.patients,
                "quantile": self.quantile,
                "inner": self.inner,
                "smallest_mm": low,
                "mean_mm": mean,
                "largest_mm": high,
                **({} if self.size is None else self.size.as_json()),
                "not_checked": list(self.notes),
            },
        )


def calibrated_margin(
    calibration: Calibration,
    *,
    structure: str,
    mask: highdicom.Volume,
    boundary_spread_mm: highdicom.Volume | None,
    entropy_bits: highdicom.Volume | None,
    provenance: SegmentationProvenance | None,
    log: PromptLog | None,
    study: highdicom.Volume,
    alpha: float,
    inner: bool = False,
) -> CalibratedMargin:
    """Margin with confidence ``1 − alpha`` for a structure that was segmented by this program.

    Parameters
    ----------
    calibration : Calibration
        Scores of patients.
    structure : str
        Name of the structure.
    mask : highdicom.Volume
        bool, the mask to plan on.
    boundary_spread_mm, entropy_bits : highdicom.Volume, optional
        Uncertainty maps of the segmentation.
    provenance : SegmentationProvenance or None
        Of the segmentation: weights, settings, and the hash of the mask; None where it is not known, which is refused.
    log : PromptLog, optional
        Prompts of the structure; None where they are not known.
    study : highdicom.Volume
        The study that was segmented.
    alpha : float
        Miscoverage, in (0, 1).
    inner : bool
        Whether the structure is one to stay inside.

    Raises
    ------
    TooFewPatientsError
        If the calibration has too few patients for `alpha`.
    ConfigError
        If the structure was segmented with other weights or settings, or no finite margin holds.
    """
    if provenance is None:
        raise ConfigError(
            f"Expected a record of how {structure} was segmented, got none: a calibrated margin holds only for masks "
            "made with the calibration's weights and settings. Segment it with `medsam-planner segment`."
        )
    calibration.require_same(weights_sha256=provenance.weights_sha256, segmentation=provenance.as_json())
    q = calibration.quantile(alpha, inner=inner)
    if math.isinf(q):
        missed = sum(math.isinf(score) for score in calibration.scores(inner=inner))
        raise ConfigError(
            f"No margin gives {structure} a confidence of {100 * (1 - alpha):.4g} %: in {missed} of "
            f"{len(calibration.patients)} calibration patients the mask was empty or filled the whole image. Request "
            "less confidence, or calibrate a better model."
        )
    inside = np.asarray(mask.array) > 0
    widened = ~inside if inner else inside
    found_ml = volume_ml(inside, mask.affine)
    u = calibration.scale.on_surface(
        structure,
        inside,
        None if boundary_spread_mm is None else boundary_spread_mm.array,
        None if entropy_bits is None else entropy_bits.array,
        found_ml=found_ml,
        inner=inner,
    )
    margin = margin_from_scale(mask, u, quantile=q)
    surface = _surface_values(widened, margin.array)
    voids = _voids(calibration, structure, inside, provenance, log, study)
    return CalibratedMargin(
        structure=structure,
        margin_mm=margin,
        quantile=q,
        alpha=alpha,
        patients=len(calibration.patients),
        inner=inner,
        width_mm=(float(surface.min()), float(surface.mean()), float(surface.max())),
        size=_size(calibration, structure, found_ml, float(_surface_values(widened, u).mean()), inner=inner),
        voids=tuple(voids),
        notes=tuple(_notes(calibration, structure, study)),
    )


def _size(
    calibration: Calibration, structure: str, found_ml: float, mean_u: float, *, inner: bool
) -> FoundVolume | None:
    scale = calibration.scale
    if not scale.per_size_shortfall:
        return None
    grown = scale.per_size_shortfall * scale.shortfall(structure, found_ml, inner=inner)
    return FoundVolume(found_ml, scale.median_volumes.get(structure), mean_u / (mean_u - grown))


def _voids(
    calibration: Calibration,
    structure: str,
    inside: np.ndarray,
    provenance: SegmentationProvenance,
    log: PromptLog | None,
    study: highdicom.Volume,
) -> list[str]:
    found = []
    if provenance.mask_sha256 != array_sha256(inside):
        found.append("the mask was changed after it was segmented")
    found += departures(log, np.asarray(study.affine), tuple(study.spatial_shape))
    if structure not in calibration.structures:
        found.append(f"the calibration covers {', '.join(calibration.structures)}, and not {structure}")
    source = source_of(study)
    if source is not None and source.modality not in calibration.modalities:
        found.append(
            f"the study is {source.modality}, the calibration patients are {', '.join(calibration.modalities)}"
        )
    scanner = source.scanner if source is not None else None
    if scanner and calibration.scanners and scanner not in calibration.scanners:
        found.append(f"its scanner ({scanner}) is not among the calibration's ({', '.join(calibration.scanners)})")
    return found


def _notes(calibration: Calibration, structure: str, study: highdicom.Volume) -> list[str]:
    notes = ["whether the box lies on the structure's middle slice"]
    source = source_of(study)
    if not calibration.scanners or source is None or not source.scanner:
        notes.append("whether the scanner is one of the calibration's, because the files do not name it")
    if calibration.scale.per_size_shortfall and structure not in calibration.scale.median_volumes:
        notes.append(
            f"whether the segmented volume is normal, because no population median volume of {structure} is known"
        )
    if not calibration.training_is_known:
        notes.append(
            "whether the weights were trained on the calibration patients, which would make margins too narrow"
        )
    return notes


def _surface_values(inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    surface = surface_voxels(inside)
    return values[surface] if surface.any() else values.ravel()[:1]
