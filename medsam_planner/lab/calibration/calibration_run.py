"""Make a calibration from labelled cases: segment under the policy, score, measure the reliability of probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.calibration.policy import POLICY
from medsam_planner.calibration.record import (
    Calibration,
    CalibrationPatient,
    CalibrationStructure,
    ModalityReliability,
    ScaleEntry,
)
from medsam_planner.engine.engine_name import AUTO
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError
from medsam_planner.lab.calibration.median_volumes import median_volumes
from medsam_planner.lab.calibration.segment_cases import SegmentationSettings, SegmentedObject, segment_cases
from medsam_planner.lab.evaluation.cases import Case, cases_trained_on, find_cases, trained_on
from medsam_planner.progress import Progress
from medsam_planner.propagation.front import StopRules
from medsam_planner.propagation.sources import check_planes, source_named
from medsam_planner.provenance import versions
from xai.calibration import BAND_MM
from xai.conformal import inner_nonconformity_score, nonconformity_score
from xai.errors import EmptyStructureError, UncertaintyError
from xai.margin_scale import MarginScale

__all__ = ["calibrate", "reliability_of", "score_object", "split_by_training", "u_of"]


def calibrate(
    root: Path,
    scale: MarginScale,
    *,
    model: str = "compact",
    engine: str = AUTO,
    settings: SegmentationSettings | None = None,
    only: Sequence[str] = ("*",),
    labels: Sequence[str] = ("*",),
    set_aside: Sequence[str] = (),
    keep: Path | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Segment all patients the weights were not trained on under the policy, and score them.

    A scale that uses population median volumes takes them from the references of other patients: those the weights
    were trained on, and those that are set aside (:mod:`medsam_planner.lab.calibration.median_volumes`).

    Parameters
    ----------
    root : Path
        Folder of cases; see :mod:`medsam_planner.lab.evaluation.cases`.
    scale : MarginScale
        Chosen beforehand, on other patients.
    model : str
        Name or path of the weights.
    engine : str
        What computes the embeddings; the calibration holds for it alone.
    settings : SegmentationSettings, optional
        How the structures are segmented.
    only, labels
        Patterns of folder names and of structure names.
    set_aside
        Patterns of folder names whose patients take no part in the calibration.
    keep : Path, optional
        Folder in which each finished structure is kept, so that a stopped call can be continued.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Raises
    ------
    ConfigError
        If there are no cases, the weights were trained on all of them or all were set aside, or a pattern of
        `set_aside` matches none.
    """
    chosen = settings or SegmentationSettings()
    if chosen.samples:
        check_planes(source_named(chosen.uncertainty), triplanar=chosen.triplanar)
    loaded = load_model(model, engine=engine)
    cases = find_cases(root, only)
    held_out, in_training = split_by_training(cases, loaded)
    left_out = {case.patient: "the weights were trained on this patient" for case in in_training}
    if not held_out:
        raise ConfigError(
            f"The weights were trained on all {len(left_out)} patients, so calibration would be too optimistic. Use "
            "other patients."
        )
    apart = _patients_of(cases, set_aside)
    measured, aside = ([case for case in held_out if (case.patient in apart) is wanted] for wanted in (False, True))
    left_out |= {case.patient: "set aside" for case in aside}
    if not measured:
        raise ConfigError(
            f"No patient is left to calibrate on: all {len({case.patient for case in aside})} that the weights were "
            "not trained on were set aside. Set fewer aside."
        )
    entry = ScaleEntry.of(
        scale, median_volumes(in_training, aside, labels=labels, progress=progress) if scale.per_size_shortfall else {}
    )
    objects = segment_cases(
        measured,
        loaded,
        chosen,
        labels=labels,
        folder=keep,
        progress=progress,
    )
    pooled = _Pooled()
    patients: dict[str, CalibrationPatient] = {}
    for segmented in objects:
        patients[segmented.subject] = _joined(patients.get(segmented.subject), segmented, entry)
        pooled.add(segmented)
    for case in measured:
        if case.patient not in patients:
            left_out[case.patient] = "no structure that gets a box from the policy"
    if not patients:
        raise ConfigError(
            f"Expected structures that match {' '.join(labels)} in {root}; none of them can be prompted with a box."
        )
    return Calibration(
        model=loaded.name,
        weights_sha256=loaded.weights_sha256,
        policy=POLICY,
        segmentation=chosen.comparable(StopRules(), loaded),
        scale=entry,
        patients=list(patients.values()),
        training_is_known=trained_on(loaded) is not None,
        left_out=left_out,
        reliability=pooled.reliability(),
        versions=versions(),
    )


def u_of(segmented: SegmentedObject, scale: ScaleEntry, *, inner: bool = False) -> NDArray[np.float32]:
    """The margin scale u of one structure, (K, J, I).

    Parameters
    ----------
    segmented : SegmentedObject
        The structure and its prediction.
    scale : ScaleEntry
        The scale of the calibration.
    inner : bool
        Whether for the inner margin.
    """
    return scale.on_surface(
        segmented.structure,
        segmented.predicted,
        segmented.boundary_spread_mm,
        segmented.entropy_bits,
        found_ml=segmented.found_ml,
        inner=inner,
    )


def score_object(segmented: SegmentedObject, scale: ScaleEntry) -> CalibrationStructure:
    """Outer and inner nonconformity score of one structure."""
    reference, predicted, spacing = segmented.reference, segmented.predicted, segmented.spacing_mm
    outer = nonconformity_score(reference, predicted, u_of(segmented, scale), spacing)
    inner = inner_nonconformity_score(reference, predicted, u_of(segmented, scale, inner=True), spacing)
    return CalibrationStructure(
        name=segmented.structure,
        case=segmented.case,
        outer_score=outer if math.isfinite(outer) else None,
        inner_score=inner if math.isfinite(inner) else None,
        dice=segmented.dice,
        missed=not segmented.predicted.any(),
    )


def split_by_training(cases: Sequence[Case], model: Any) -> tuple[list[Case], list[Case]]:
    """Cases of patients the weights were not trained on, and the others.

    Weights whose metadata name no training data count as trained on none of them.
    """
    known = cases_trained_on(cases, trained_on(model) or ())
    return [case for case in cases if case.name not in known], [case for case in cases if case.name in known]


def reliability_of(objects: Iterable[SegmentedObject]) -> dict[str, ModalityReliability]:
    """Reliability of the probabilities by modality."""
    pooled = _Pooled()
    for segmented in objects:
        pooled.add(segmented)
    return pooled.reliability()


class _Pooled:
    """Probabilities and reference in the surface bands, by modality."""

    def __init__(self) -> None:
        self._probability: dict[str, list[np.ndarray]] = {}
        self._truth: dict[str, list[np.ndarray]] = {}

    def add(self, segmented: SegmentedObject) -> None:
        from xai.calibration import surface_band

        try:
            band = surface_band(segmented.reference, segmented.spacing_mm)
        except EmptyStructureError:  # it fills the whole image
            return
        self._probability.setdefault(segmented.modality, []).append(segmented.probability[band].astype(np.float32))
        self._truth.setdefault(segmented.modality, []).append(segmented.reference[band])

    def reliability(self) -> dict[str, ModalityReliability]:
        from scipy.special import logit

        from xai.calibration import brier_score, fit_temperature, measure_reliability

        found = {}
        for modality, pieces in self._probability.items():
            probability, reference = np.concatenate(pieces), np.concatenate(self._truth[modality])
            diagram = measure_reliability(probability, reference)
            try:
                temperature = fit_temperature(logit(np.clip(probability.astype(np.float64), 1e-6, 1 - 1e-6)), reference)
            except UncertaintyError:
                temperature = None
            found[modality] = ModalityReliability(
                band_mm=BAND_MM,
                voxels=len(probability),
                temperature=temperature,
                ece=diagram.expected_calibration_error,
                ace=diagram.average_calibration_error,
                mce=diagram.maximum_calibration_error,
                brier=brier_score(probability, reference),
                confidence=[None if np.isnan(value) else float(value) for value in diagram.confidence],
                frequency=[None if np.isnan(value) else float(value) for value in diagram.frequency],
                count=[int(value) for value in diagram.count],
            )
        return found


def _patients_of(cases: Sequence[Case], patterns: Sequence[str]) -> set[str]:
    """Patients with a case whose name matches one of the patterns."""
    for pattern in patterns:
        if not any(fnmatch(case.name, pattern) for case in cases):
            raise ConfigError(
                f"Expected cases to set aside, none of the {len(cases)} has a name that matches {pattern}."
            )
    return {case.patient for case in cases if any(fnmatch(case.name, pattern) for pattern in patterns)}


def _joined(known: CalibrationPatient | None, segmented: SegmentedObject, scale: ScaleEntry) -> CalibrationPatient:
    """The patient with one more structure."""
    scanners = {segmented.scanner} if segmented.scanner else set()
    return CalibrationPatient(
        subject=segmented.subject,
        modalities=sorted({*(known.modalities if known else ()), segmented.modality}),
        scanners=sorted({*(known.scanners if known else ()), *scanners}),
        structures=[*(known.structures if known else ()), score_object(segmented, scale)],
    )
