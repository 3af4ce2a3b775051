"""What the compared masks say: means with intervals, agreement, and whether the model is as good as the readers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.lab.readers.agreement import bland_altman, cases_needed, intraclass_correlation, non_inferiority
from medsam_planner.lab.readers.crossed_bootstrap import FEW_PATIENTS, CrossedMean, crossed_mean
from medsam_planner.lab.readers.mask_comparison import METRICS
from medsam_planner.lab.readers.mask_study import ITSELF, OTHERS, MaskStudy, ScoreRow
from medsam_planner.lab.readers.reader_masks import AGAIN
from medsam_planner.lab.readers.reasons import is_missing, tried
from medsam_planner.reading.study_file import Hypothesis

__all__ = ["ALL", "SummaryRow", "agreement", "few_cautions", "hypothesis_test", "summaries"]

ALL = "all structures"
_FEWEST = 3
_FEWEST_FOR_CORRELATION = 5
"""An ICC of fewer cases has an interval that says nothing."""


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """Mean of a metric over patients and readers, for one structure or all."""

    structure: str
    compared: str
    """``readers`` or ``model``."""
    reference: str
    metric: str
    mean: CrossedMean


def summaries(study: MaskStudy, *, seed: int = 0) -> list[SummaryRow]:
    """Means by structure, then over all structures, of readers and model against each reference.

    Parameters
    ----------
    study : MaskStudy
    seed : int
        Of the bootstrap.
    """
    rows = []
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in study.rows:
        groups.setdefault(("model" if row.mask_of == study.model else "readers", row.reference), []).append(row)
    for (compared, reference), members in groups.items():
        for structure in (*study.structures, ALL):
            own = [row for row in members if structure in (ALL, row.structure)]
            for metric in METRICS:
                table = _table(own, metric)
                if np.isfinite(table).any():
                    rows.append(SummaryRow(structure, compared, reference, metric, crossed_mean(table, seed=seed)))
    return rows


def agreement(study: MaskStudy, *, seed: int = 0) -> dict[str, Any]:
    """Agreement of readers in volume and in voxels, by structure; what cannot be computed is None with the reason.

    Parameters
    ----------
    study : MaskStudy
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``volume_icc`` and ``kappa`` by structure, ``bland_altman`` by pair of readers, ``intra`` by reader.
    """
    by_structure: dict[str, Any] = {}
    for structure in study.structures:
        own = [reading for reading in study.readings if reading.structure == structure]
        volumes = [[reading.volume_ml_by_reader[reader] for reader in study.readers] for reading in own]
        kappas = _by_patient((reading.patient, reading.kappa) for reading in own if reading.kappa is not None)
        by_structure[structure] = {
            "volume_icc": _correlation(volumes),
            "kappa": asdict(crossed_mean(kappas, seed=seed)) if kappas.size else None,
            "cases": len(own),
        }
    pairs = {f"{one} − {other}": _volumes_of(study, one, other, seed) for one, other in combinations(study.readers, 2)}
    if study.model is not None:
        pairs |= {f"{study.model} − {one}": _volumes_of(study, study.model, one, seed) for one in study.readers}
    seconds = [reader for reader in study.readers if f"{reader}{AGAIN}" in _names(study)]
    intra = {reader: _intra(study, reader, seed) for reader in seconds}
    return {"by_structure": by_structure, "volumes": pairs, "intra": intra}


def hypothesis_test(study: MaskStudy, hypothesis: Hypothesis | None) -> dict[str, Any]:
    """Non-inferiority of the model to the readers, each against the consensus of the readers but that one.

    Parameters
    ----------
    study : MaskStudy
    hypothesis : Hypothesis or None

    Returns
    -------
    dict
        ``result`` with the test, or None and ``why``; ``patients_needed`` where a spread was stated beforehand.

    Notes
    -----
    Reader r and the model are both compared with the consensus of the readers without r, so that none is favoured. The
    unit is the patient: the mean of model minus reader over its structures and readers. Lower-is-better metrics change
    their sign.
    """
    if hypothesis is None:
        return {"result": None, "why": "No [hypothesis] with a margin was stated before the study.", "stated": None}
    stated = hypothesis.model_dump()
    needed = None
    if hypothesis.spread is not None:
        needed = cases_needed(
            margin=hypothesis.margin,
            spread=hypothesis.spread,
            difference=hypothesis.difference,
            power=hypothesis.power,
            alpha=hypothesis.alpha,
        )
    base = {"stated": stated, "patients_needed": needed}
    if study.model is None:
        return {**base, "result": None, "why": "The study names no model ([masks] model)."}
    sign = METRICS[hypothesis.metric].better
    own = [row for row in study.rows if row.reference == OTHERS]
    reader_of = {(row.case, row.structure, row.left_out): row for row in own if row.mask_of == row.left_out}
    differences = _by_patient(
        (row.patient, sign * (_score(row, hypothesis.metric) - _score(reader_of[key], hypothesis.metric)))
        for row in own
        if row.mask_of == study.model and (key := (row.case, row.structure, row.left_out)) in reader_of
    ).ravel()
    if len(differences) < _FEWEST:
        why = f"Expected {_FEWEST} patients or more, got {len(differences)}."
        return {**base, "result": None, "why": why}
    found = non_inferiority(differences, np.zeros_like(differences), margin=hypothesis.margin, alpha=hypothesis.alpha)
    short = needed is not None and len(differences) < needed
    return {
        **base,
        "result": {**asdict(found), "spread": float(differences.std(ddof=1))},
        "why": f"{needed} patients were planned, and {len(differences)} are there." if short else "",
    }


def few_cautions(study: MaskStudy) -> list[str]:
    """What the numbers of patients and readers do to the intervals, as sentences."""
    told = []
    patients, readers = len(study.patients), len(study.readers)
    if patients < FEW_PATIENTS:
        told.append(
            f"{patients} patients: intervals over so few are too narrow, and correlations very uncertain. In "
            "simulation 95 % intervals held in 73 % with two patients, 89 % with 5 or 10, and 91 % to 93 % from 20 "
            "on with five readers or more."
        )
    if readers == 2:
        told.append(
            "Two readers: STAPLE cannot tell who of them is right, and the majority is what both drew. Read their "
            "agreement with each other instead (reference: others)."
        )
    elif readers < 5:
        told.append(f"{readers} readers: what is said holds for these rather than for readers in general.")
    return told


def _table(rows: Iterable[ScoreRow], metric: str) -> NDArray[np.float64]:
    """Patients by readers (for the model, by reader left out); means over cases and structures; NaN where none."""
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        value = _score(row, metric)
        if value is not None:
            values.setdefault((row.patient, row.left_out or row.mask_of), []).append(value)
    patients, readers = ({key[part] for key in values} for part in (0, 1))
    table = [[np.mean(values.get((one, other), [np.nan])) for other in sorted(readers)] for one in sorted(patients)]
    return np.array(table, dtype=np.float64).reshape(len(patients), len(readers))


def _by_patient(values: Iterable[tuple[str, float]]) -> NDArray[np.float64]:
    """Mean of each patient as one column."""
    found: dict[str, list[float]] = {}
    for patient, value in values:
        found.setdefault(patient, []).append(value)
    return np.array([[np.mean(found[patient])] for patient in sorted(found)], dtype=np.float64)


def _score(row: ScoreRow, metric: str) -> Any:
    return getattr(row.scores, metric)


def _names(study: MaskStudy) -> set[str]:
    return {name for reading in study.readings for name in reading.volume_ml_by_reader}


def _volumes_of(study: MaskStudy, one: str, other: str, seed: int) -> dict[str, Any]:
    """Relative differences of two volumes in per cent of their mean, over all structures."""
    pairs = [
        (reading.patient, reading.volume_ml_by_reader[one], reading.volume_ml_by_reader[other])
        for reading in study.readings
        if {one, other} <= set(reading.volume_ml_by_reader)
    ]
    differences = [(patient, 200 * (a - b) / (a + b)) for patient, a, b in pairs if a + b > 0]
    values = [value for _, value in differences]
    limits = tried(lambda: asdict(bland_altman(values, np.zeros(len(values)))))
    bias = crossed_mean(_by_patient(differences), seed=seed)
    return {
        "bias_percent": asdict(bias),
        "limits_percent": None if is_missing(limits) else [limits["lower_limit"], limits["upper_limit"]],
        "structures": len(values),
    }


def _intra(study: MaskStudy, reader: str, seed: int) -> dict[str, Any]:
    """A reader's second reading against its first."""
    own = [row for row in study.rows if row.reference == ITSELF and row.mask_of == reader]
    dice = crossed_mean(_table(own, "dice"), seed=seed)
    icc = {}
    for structure in study.structures:
        volumes = [
            [reading.volume_ml_by_reader[reader], reading.volume_ml_by_reader[f"{reader}{AGAIN}"]]
            for reading in study.readings
            if reading.structure == structure and f"{reader}{AGAIN}" in reading.volume_ml_by_reader
        ]
        icc[structure] = _correlation(volumes)
    return {"dice": asdict(dice), "volume_icc": icc, "volumes": _volumes_of(study, f"{reader}{AGAIN}", reader, seed)}


def _correlation(volumes: list[list[float]]) -> Any:
    if len(volumes) < _FEWEST_FOR_CORRELATION:
        return {"why": f"{len(volumes)} cases; a correlation needs {_FEWEST_FOR_CORRELATION} or more."}
    return tried(lambda: asdict(intraclass_correlation(volumes)))
