"""The calibration file: scores of patients, and the settings that must be equal where they are used. Strict JSON.

A score of ``null`` is infinite: the structure was missed. ``content_sha256`` is the hash of the other entries, so that
a truncated or edited file is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medsam_planner.calibration.policy import POLICY
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import write_json
from prompts.text_file import read_text_file
from xai.conformal import conformal_quantile, coverage_law, joint_score, smallest_alpha
from xai.margin_scale import MarginScale, size_shortfall

__all__ = [
    "Calibration",
    "CalibrationPatient",
    "CalibrationStructure",
    "MedianVolume",
    "ModalityReliability",
    "ScaleEntry",
    "ml_in_words",
    "read_calibration",
    "write_calibration",
]

_DEFAULTS = {"uncertainty": "dropout", "propagation": 1, "engine": "torch:fp32"}
"""Settings of files that were written before these settings existed."""
Score = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationStructure(_Entry):
    """One structure of one patient; a score is None when it is infinite."""

    name: str
    case: str
    outer_score: Score | None
    inner_score: Score | None
    dice: Share
    missed: bool


class CalibrationPatient(_Entry):
    """One patient, the exchangeable unit. Its score is the largest score of its structures."""

    subject: str
    modalities: list[str]
    scanners: list[str]
    structures: Annotated[list[CalibrationStructure], Field(min_length=1)]

    def score(self, *, inner: bool) -> float:
        """Joint score of all structures; infinity where one was missed."""
        scores = [part.inner_score if inner else part.outer_score for part in self.structures]
        return joint_score([math.inf if score is None else score for score in scores])


class MedianVolume(_Entry):
    """Population median of a structure's reference volume, over patients on whom nothing is calibrated."""

    median_ml: Positive
    trained_on: Annotated[int, Field(ge=0)]
    """Number of these patients on whom the weights were trained."""
    set_aside: Annotated[int, Field(ge=0)]
    """Number of these patients whom the user set aside."""

    @property
    def patients(self) -> int:
        """Number of patients in the median."""
        return self.trained_on + self.set_aside

    def in_words(self) -> str:
        """The volume, the number of patients, and where they come from."""
        counted = ((self.trained_on, "trained on"), (self.set_aside, "set aside"))
        whose = ", ".join(f"{count} {origin}" for count, origin in counted if count)
        return f"{ml_in_words(self.median_ml)} (median of {self.patients} patients: {whose})"


class ScaleEntry(_Entry):
    """The margin scale u with which the scores were computed."""

    name: str
    floor: Positive
    per_spread_mm: Score
    per_entropy_bit: Score
    per_size_shortfall: Score = 0.0
    median_volumes: dict[str, MedianVolume] = Field(default={}, alias="usual_sizes")
    """Population median volumes by the structure's name. A structure without one has no shortfall."""

    @classmethod
    def of(cls, scale: MarginScale, median_volumes: Mapping[str, MedianVolume]) -> ScaleEntry:
        """The entry of a margin scale and the population median volumes that it refers to."""
        return cls(**asdict(scale), usual_sizes=dict(median_volumes))

    def scale(self) -> MarginScale:
        """The margin scale."""
        return MarginScale(**self.model_dump(exclude={"median_volumes"}))

    def shortfall(self, structure: str, found_ml: float, *, inner: bool) -> float:
        """Size shortfall of a structure of that name and volume; see :func:`xai.margin_scale.size_shortfall`."""
        median = self.median_volumes.get(structure)
        return size_shortfall(found_ml, None if median is None else median.median_ml, inner=inner)

    def on_surface(
        self,
        structure: str,
        predicted: NDArray[np.bool_],
        boundary_spread_mm: NDArray[Any] | None,
        entropy_bits: NDArray[Any] | None,
        *,
        found_ml: float,
        inner: bool,
    ) -> NDArray[np.float32]:
        """u of a predicted structure: a function of the prediction and this entry, in calibration and in use.

        Parameters
        ----------
        structure : str
            Name of the structure.
        predicted : (K, J, I) bool
            Its mask.
        boundary_spread_mm, entropy_bits : (K, J, I) float, optional
            Its uncertainty maps.
        found_ml : float
            Volume of the prediction.
        inner : bool
            Whether the structure is one to stay inside, for which u is read on the complement.

        Returns
        -------
        (K, J, I) float32
        """
        shortfall = self.shortfall(structure, found_ml, inner=inner)
        return self.scale().on_surface(~predicted if inner else predicted, boundary_spread_mm, entropy_bits, shortfall)


class ModalityReliability(_Entry):
    """Calibration of the probabilities in a band around the reference surface, over all patients of one modality."""

    band_mm: Score
    voxels: int
    temperature: float | None
    """None where no temperature is best."""
    ece: Share
    ace: Share
    mce: Share
    brier: Share
    confidence: list[float | None]
    frequency: list[float | None]
    count: list[int]


class Calibration(_Entry):
    """A calibration as read from its file."""

    schema_version: Literal[1] = 1
    kind: Literal["medsam-planner calibration"] = "medsam-planner calibration"
    model: str
    weights_sha256: str
    policy: str
    segmentation: dict[str, Any]
    """Settings that must be equal in use: number and source of stochastic passes, planes, window, seed, stop rules."""
    scale: ScaleEntry
    patients: Annotated[list[CalibrationPatient], Field(min_length=1)]
    training_is_known: bool
    """Whether the weights state what they were trained on, so that no calibration patient was among it."""
    left_out: dict[str, str] = {}
    """By patient: why the patient is not among those calibrated on."""
    reliability: dict[str, ModalityReliability] = {}
    """By modality."""
    versions: dict[str, str] = {}

    def scores(self, *, inner: bool = False) -> list[float]:
        """Joint score of each patient, mm per unit of u."""
        return [patient.score(inner=inner) for patient in self.patients]

    def quantile(self, alpha: float, *, inner: bool = False) -> float:
        """The factor of u in the margin; infinity if too many structures were missed.

        Raises
        ------
        TooFewPatientsError
            If the patients are too few for `alpha`.
        """
        return conformal_quantile(self.scores(inner=inner), alpha)

    @property
    def smallest_alpha(self) -> float:
        """Smallest alpha that is possible with these patients."""
        return smallest_alpha(len(self.patients))

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the calibrated structures."""
        return tuple(sorted({part.name for patient in self.patients for part in patient.structures}))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the patients."""
        return tuple(sorted({modality for patient in self.patients for modality in patient.modalities}))

    @property
    def scanners(self) -> tuple[str, ...]:
        """Scanners of the patients, as far as their files state them."""
        return tuple(sorted({scanner for patient in self.patients for scanner in patient.scanners}))

    def in_words(self) -> str:
        """Number of patients, modalities, structures, and the highest confidence that is possible."""
        missed = sum(part.missed for patient in self.patients for part in patient.structures)
        best = f"{100 * (1 - self.smallest_alpha):.4g} %"
        words = (
            f"{len(self.patients)} patients ({', '.join(self.modalities)}; {', '.join(self.structures)}); "
            f"the highest possible confidence is {best} (alpha {self.smallest_alpha:.4g})"
        )
        if len(self.patients) >= 9:
            low, high = coverage_law(len(self.patients), 0.1).interval()
            words += (
                f"; a margin of 90 % confidence from so many patients covers {100 * low:.0f} to {100 * high:.0f} % of "
                "patients (with a probability of 90 %)"
            )
        return words + (f"; {missed} structures were missed; their scores are infinite" if missed else "")

    def median_volumes_in_words(self) -> list[str]:
        """Population median volumes, and the structures without one; empty if the margin scale uses none."""
        if not self.scale.per_size_shortfall:
            return []
        known = [name for name in self.structures if name in self.scale.median_volumes]
        unknown = [name for name in self.structures if name not in known]
        sentences = []
        if known:
            sizes = "; ".join(f"{name} {self.scale.median_volumes[name].in_words()}" for name in known)
            sentences.append(f"Population median volumes: {sizes}.")
        if unknown:
            sentences.append(
                f"No population median volume is known for {', '.join(unknown)}: their margins do not widen where too "
                "little is segmented. Set patients aside (--set-aside) to measure one."
            )
        return sentences

    def require_same(self, *, weights_sha256: str, segmentation: Mapping[str, Any]) -> None:
        """Refuse masks that were made with other weights or settings.

        Raises
        ------
        ConfigError
            If the weights, the policy's version or a setting differ; the message names them.
        """
        if weights_sha256 != self.weights_sha256:
            raise ConfigError(
                f"Expected the weights the calibration was made with (SHA-256 {self.weights_sha256[:12]}…), got "
                f"{weights_sha256[:12]}…: the guarantee holds only for those weights. Calibrate the new ones."
            )
        if self.policy != POLICY:
            raise ConfigError(
                f"Expected a calibration under the prompting policy {POLICY!r}, got {self.policy!r}. Calibrate anew."
            )
        calibrated, here = ({**_DEFAULTS, **settings} for settings in (self.segmentation, segmentation))
        differ = [name for name, value in calibrated.items() if here.get(name) != value]
        if differ:
            told = "; ".join(f"{name}: calibrated {calibrated[name]!r}, here {here.get(name)!r}" for name in differ)
            raise ConfigError(
                f"Expected the segmentation settings of the calibration, got others ({told}). Use those, or "
                "calibrate anew."
            )


def ml_in_words(volume_ml: float) -> str:
    """A volume as text: one decimal, or two digits below 1 ml."""
    return f"{volume_ml:.1f} ml" if volume_ml >= 1 else f"{volume_ml:.2g} ml"


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration file atomically."""
    content = calibration.model_dump(mode="json", by_alias=True)
    write_json(path, {**content, "content_sha256": _content_sha256(content)})


def read_calibration(path: Path) -> Calibration:
    """Read and check a calibration file.

    Raises
    ------
    ConfigError
        If it is not a calibration file of this version, or is damaged.
    """
    text = read_text_file(path, "a calibration file", ConfigError)
    try:
        content = json.loads(text)
        stated = content.pop("content_sha256", None) if isinstance(content, dict) else None
        found = _content_sha256(content)
    except (ValueError, RecursionError) as error:  # also incomplete characters, and JSON that is nested too deeply
        raise ConfigError(f"{path} is not a readable calibration file: {error}. Calibrate anew.") from error
    if not isinstance(content, dict) or content.get("kind") != "medsam-planner calibration":
        raise ConfigError(f"{path} is not a calibration file. Expected one written by `medsam-planner calibrate`.")
    if stated != found:
        raise ConfigError(f"{path} was changed after it was written, or is damaged. Calibrate anew.")
    try:
        return Calibration.model_validate(content)
    except ValidationError as error:
        told = "; ".join(".".join(map(str, e["loc"])) + f": {e['msg']}" for e in error.errors())
        raise ConfigError(f"{path} is not a calibration file of this version: {told}.") from error


def _content_sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
