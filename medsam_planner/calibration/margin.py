"""The margin of one structure from a calibration: how wide, why, and where the promise does not reach."""

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
        """Why the margin is wider for it, or cannot be; empty where it is not, or too little to be told in digits."""
        if self.median is None:
            amount = "much" if inner else "little"
            return (
                f"It would be no wider if too {amount} of it had been found, as no usual size of {structure} is known."
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
            f"It is {times} times as wide as usual because {amount} {found} were found where {usual} are "
            f"usual (median of {self.median.patients} patients)."
        )

    def facts(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "found_ml": self.found_ml,
            "usual_ml": None if self.median is None else self.median.median_ml,
            "usual_size_patients": 0 if self.median is None else self.median.patients,
            "times_as_wide_for_its_size": self.times_as_wide,
        }


@dataclass(frozen=True, slots=True, eq=False)
class CalibratedMargin:
    """A margin and the promise that comes with it."""

    structure: str
    margin_mm: highdicom.Volume
    """q u(z), float32 mm, read at the structure's surface."""
    quantile: float
    """q, mm per unit of u."""
    alpha: float
    patients: int
    inner: bool
    """The margin narrows a corridor instead of widening a structure."""
    width_mm: tuple[float, float, float]
    """Smallest, mean and largest margin over the surface."""
    size: FoundVolume | None
    """None where the calibration's scale does not ask for it."""
    voids: tuple[str, ...]
    """Why the promise does not apply here; empty where it does."""
    notes: tuple[str, ...]
    """What could not be checked."""

    @property
    def applies(self) -> bool:
        """Whether the structure belongs to what was calibrated."""
        return not self.voids

    def in_words(self) -> str:
        """Why the margin is as wide as it is, for a reader without statistics."""
        low, mean, high = self.width_mm
        width = f"{low:.1f} mm" if high - low < 0.05 else f"{low:.1f} to {high:.1f} mm (mean {mean:.1f} mm)"
        held = "the true structure holds all that is left of it" if self.inner else "the widened structure holds it all"
        said = (
            f"The margin of {self.structure} is {width} wide. It was measured on {self.patients} patients whose true "
            f"outlines are known: with {100 * (1 - self.alpha):.4g} % confidence {held}, everywhere at once, on a "
            "patient like them."
        )
        if self.size is not None:
            said = f"{said} {self.size.in_words(self.structure, inner=self.inner)}".rstrip()
        if self.voids:
            return f"{said} This promise does NOT apply here: {'; '.join(self.voids)}."
        return said

    def statement(self) -> MarginStatement:
        """For the plan and its report."""
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
                **({} if self.size is None else self.size.facts()),
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
    """Margin with confidence ``1 − alpha``, from a structure that was segmented here.

    Parameters
    ----------
    calibration : Calibration
    structure : str
    mask : highdicom.Volume
        bool, as it will be planned on.
    boundary_spread_mm, entropy_bits : highdicom.Volume, optional
        Of the segmentation.
    provenance : SegmentationProvenance or None
        Of the segmentation: weights, settings, and the hash of the mask; None where it is not known, which is refused.
    log : PromptLog, optional
        What was prompted; None where that is not known.
    study : highdicom.Volume
    alpha : float
    inner : bool
        For a structure to stay inside.

    Raises
    ------
    TooFewPatientsError
        If the calibration has too few patients for `alpha`.
    ConfigError
        If the structure was segmented with other weights or settings, or no finite margin will do.
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
            f"{len(calibration.patients)} calibration patients nothing was found, or the whole image was. Ask for less "
            "confidence, or calibrate a better model."
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
        found.append(f"the calibration knows {', '.join(calibration.structures)}, and no {structure}")
    source = source_of(study)
    if source is not None and source.modality not in calibration.modalities:
        found.append(
            f"the study is {source.modality}, the calibration patients are {', '.join(calibration.modalities)}"
        )
    scanner = source.scanner if source is not None else None
    if scanner and calibration.scanners and scanner not in calibration.scanners:
        found.append(f"its scanner ({scanner}) is none of the calibration's ({', '.join(calibration.scanners)})")
    return found


def _notes(calibration: Calibration, structure: str, study: highdicom.Volume) -> list[str]:
    notes = ["whether the box lies on the structure's middle slice"]
    source = source_of(study)
    if not calibration.scanners or source is None or not source.scanner:
        notes.append("whether the scanner is one of the calibration's, as the files do not name it")
    if calibration.scale.per_size_shortfall and structure not in calibration.scale.median_volumes:
        notes.append(f"whether as much was found as is usual, as no usual size of {structure} is known")
    if not calibration.training_is_known:
        notes.append(
            "whether the weights were trained on the calibration patients, which would make margins too narrow"
        )
    return notes


def _surface_values(inside: np.ndarray, values: np.ndarray) -> np.ndarray:
    surface = surface_voxels(inside)
    return values[surface] if surface.any() else values.ravel()[:1]
