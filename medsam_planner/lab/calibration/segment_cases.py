"""Segment labelled cases under the prompting policy; finished structures are kept so that a stopped call can go on."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.calibration.policy import POLICY, policy_box
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import PromptError
from medsam_planner.geometry import spacing_mm, volume_ml
from medsam_planner.io.files import whole_file
from medsam_planner.lab.evaluation.cases import Case, Structure
from medsam_planner.lab.evaluation.references import read_structures
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.front import StopRules
from medsam_planner.propagation.methods import propagation_version
from medsam_planner.segmentation.session import Session

__all__ = ["SegmentationSettings", "SegmentedObject", "segment_cases"]

_KEYS = {
    "reference": "truth",
    "predicted": "predicted",
    "probability": "probability",
    "boundary_spread_mm": "boundary_spread_mm",
    "entropy_bits": "entropy_bits",
}
"""Arrays of a structure: field → name in the kept file."""


@dataclass(frozen=True, slots=True)
class SegmentationSettings:
    """How calibration patients are segmented. The margins hold for structures segmented in the same way."""

    samples: int = 16
    """Number of stochastic passes."""
    uncertainty: str = "dropout"
    triplanar: bool = False
    window: str | None = None
    seed: int = 0

    def comparable(self, rules: StopRules, model: PromptableModel) -> dict[str, Any]:
        """What must be the same in use: these settings, the stop rules and version of propagation, and the engine."""
        settings = {
            **asdict(self),
            "rules": rules.as_json(),
            "propagation": propagation_version(model),
            "engine": model.engine,
        }
        document: dict[str, Any] = json.loads(json.dumps(settings))
        return document


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedObject:
    """One structure of a patient: its segmentation under the policy, and its reference."""

    case: str
    subject: str
    structure: str
    modality: str
    scanner: str | None
    spacing_mm: NDArray[np.float64]
    reference: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    probability: NDArray[np.float32]
    boundary_spread_mm: NDArray[np.float32]
    """0 where it is unknown."""
    entropy_bits: NDArray[np.float32]

    @property
    def dice(self) -> float:
        """Dice of prediction and reference."""
        return dice(self.reference, self.predicted)

    @property
    def found_ml(self) -> float:
        """Volume of the prediction."""
        return volume_ml(self.predicted, np.diag(self.spacing_mm))


def segment_cases(
    cases: Sequence[Case],
    model: PromptableModel,
    settings: SegmentationSettings,
    *,
    labels: Sequence[str] = ("*",),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Iterator[SegmentedObject]:
    """Segment every structure of the cases.

    Parameters
    ----------
    cases : sequence of Case
        The cases.
    model : PromptableModel
        Names of kept files depend on its weights, its propagation, the settings and the policy.
    settings : SegmentationSettings
        How the structures are segmented.
    labels
        Patterns of structure names.
    folder : Path, optional
        Finished structures are written to it, and read from it.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Yields
    ------
    SegmentedObject
        Structures that get no box from the policy, because their middle section is one pixel wide, are left out.
    """
    key = json.dumps([model.weights_sha256, settings.comparable(StopRules(), model), POLICY], sort_keys=True)
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:12]
    for case in track(cases, "calibration cases", progress, total=len(cases)):
        for structure in read_structures(case):
            if not any(fnmatch(structure.name, pattern) for pattern in labels):
                continue
            place = None if folder is None else folder / f"{case.name}.{structure.label}.{fingerprint}.npz"
            kept = None if place is None else _kept(place)
            if kept is None:
                maps = _segment(structure, model, settings)
                if maps is None:
                    continue
                if place is not None:
                    _keep(place, maps)
            else:
                maps = kept
            yield _object(structure, maps)


def _segment(
    structure: Structure, model: PromptableModel, settings: SegmentationSettings
) -> dict[str, NDArray[Any]] | None:
    study, reference = structure.volume, structure.reference
    session = Session(study, model, seed=settings.seed, window=settings.window)
    try:
        session.add(policy_box(reference, study.affine, structure.case.patient, structure.name))
    except PromptError:
        return None
    result = session.segment(samples=settings.samples, uncertainty=settings.uncertainty, triplanar=settings.triplanar)
    spread, entropy = result.boundary_spread_mm, result.uncertainty
    nothing = np.zeros(reference.shape, dtype=np.float32)
    return {
        "reference": reference,
        "predicted": result.mask.array > 0,
        "probability": result.probability.array.astype(np.float32),
        "boundary_spread_mm": nothing if spread is None else spread.array.astype(np.float32),
        "entropy_bits": nothing if entropy is None else entropy.array.astype(np.float32),
    }


def _object(structure: Structure, maps: dict[str, NDArray[Any]]) -> SegmentedObject:
    return SegmentedObject(
        case=structure.case.name,
        subject=structure.case.patient,
        structure=structure.name,
        modality=structure.case.modality,
        scanner=structure.volume.source.scanner if structure.volume.source else None,
        spacing_mm=spacing_mm(structure.volume.affine),
        **maps,
    )


def _kept(place: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a kept file; None if it does not exist or is incomplete."""
    try:
        with np.load(place) as archive:
            return {field: archive[name] for field, name in _KEYS.items()}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(place: Path, maps: dict[str, NDArray[Any]]) -> None:
    with whole_file(place) as file:
        np.savez_compressed(file, **{_KEYS[field]: array for field, array in maps.items()})  # type: ignore[arg-type]
