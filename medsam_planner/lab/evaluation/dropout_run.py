"""What the dropout of weights is worth: does its variance rank errors, and which temperature makes it honest?

Each structure is prompted with one loose box. Looked at is the band around its true surface: over a whole volume
millions of background voxels that are right and sure make every figure look good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.logits import OUTSIDE_LOGIT
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.engine.registry import load_model
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.errors import ConfigError, MedsamPlannerError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.files import write_json
from medsam_planner.lab.evaluation.case_choice import ChosenCases, EvaluationOptions, choose_cases
from medsam_planner.lab.evaluation.cases import Structure, files_sha256, label_values, read_structures, size_class
from medsam_planner.lab.evaluation.finished import FinishedStructures, scoring_version
from medsam_planner.lab.evaluation.protocols import Protocol, first_prompts
from medsam_planner.lab.evaluation.slices import slice_segmenter
from medsam_planner.lab.evaluation.statistics import Estimate, mean_over_patients
from medsam_planner.lab.evaluation.summary import size_rank
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.sampling import sample_runs
from medsam_planner.propagation.sources import source_named
from medsam_planner.propagation.structure import StructureTracker
from medsam_planner.provenance import versions
from xai.calibration import BAND_MM
from xai.errors import UncertaintyError

__all__ = ["DropoutEvaluated", "DropoutRow", "FittedTemperature", "evaluate_dropout"]

VOXELS = 10_000
"""At most so many are drawn from each structure's band, and for the temperature from each patient's: large structures
do not drown small ones, nor patients with many structures those with few."""
_ALMOST_ONE = np.float32(1 - 6e-8)
_ROUNDING = 0.01
"""Of a logit that went through a probability in float32 and back."""
FIGURES = ("variance_rank", "entropy_rank", "variance_ause", "entropy_ause", "unranked_ause", "error_rate")


@dataclass(frozen=True, slots=True)
class DropoutRow:
    """Means over the structures of a group."""

    kind: str
    """``"all"``, ``"modality"`` or ``"size"``."""
    name: str
    figures: dict[str, Estimate]
    """``variance_rank`` and ``entropy_rank``: Spearman's correlation with being wrong; ``variance_ause`` and
    ``entropy_ause``: area under the sparsification error; ``unranked_ause``: the area of doubt that knows nothing;
    ``error_rate``: share of wrong voxels."""


@dataclass(frozen=True, slots=True)
class FittedTemperature:
    """Fitted on every other patient of each modality, measured on those between."""

    temperature: float
    fitted_on: int
    """Patients."""
    measured_on: int
    ece_before: float
    ece_after: float
    brier_before: float
    brier_after: float


@dataclass(frozen=True, slots=True)
class DropoutEvaluated:
    """What was measured."""

    rows: list[DropoutRow]
    temperature: FittedTemperature | None
    """None with fewer than two patients, or where no temperature is best."""
    runs: int
    structures: int
    """Of those asked for; the rest could not be answered, or fill their image."""


def evaluate_dropout(
    root: Path, out: Path, options: EvaluationOptions, *, runs: int = 16, progress: Progress | None = None
) -> DropoutEvaluated:
    """Sample every structure of the cases the weights have not seen, and write dropout.json into `out`.

    What is finished is kept in ``out/finished``; a later call goes on from there.

    Raises
    ------
    ConfigError
        If no case is left to ask for, no structure could be measured, or `out` holds figures made otherwise.
    """
    model = load_model(options.model)
    chosen = choose_cases(root, options, model)
    settings = {
        # Not of the whole file: the temperature that is found here goes into it.
        "tensors_sha256": model.tensors_sha256,
        "scoring": scoring_version(model),
        "runs": runs,
        "seed": options.seed,
        "band_mm": BAND_MM,
        "voxels": VOXELS,
    }
    finished = FinishedStructures(out, settings)
    records = [one for one in _records(chosen, model, options, runs, finished, progress) if one["figures"]]
    if not records:
        raise ConfigError(f"Expected structures with a surface in the {len(chosen.cases)} chosen cases, found none.")
    rows = [_row("all", "all, never trained on", records, options.seed)]
    for kind, order in (("modality", None), ("size", size_rank)):
        for name in sorted({record[kind] for record in records}, key=order):
            rows.append(_row(kind, name, [one for one in records if one[kind] == name], options.seed))
    temperature = _temperature(records, finished, options.seed)
    document = {
        "schema_version": 1,
        "settings": settings,
        "provenance": {"model": options.model, "weights_sha256": model.weights_sha256, "versions": versions()},
        "summary": [asdict(row) for row in rows],
        "temperature": None if temperature is None else asdict(temperature),
        "structures": records,
    }
    write_json(out / "dropout.json", document)
    return DropoutEvaluated(rows, temperature, runs, len(records))


def _records(
    chosen: ChosenCases,
    model: PromptableModel,
    options: EvaluationOptions,
    runs: int,
    finished: FinishedStructures,
    progress: Progress | None,
) -> Iterator[dict[str, Any]]:
    total = sum(len(label_values(case, options.most)) for case in chosen.cases)
    structures = (one for case in chosen.cases for one in read_structures(case, most=options.most))
    hashes = {case.name: files_sha256(case) for case in chosen.cases}
    segmenter: SliceSegmenter | None = None
    for structure in track(structures, "dropout runs", progress, total=total):
        files = hashes[structure.case.name]
        record = finished.find(structure.key, files)
        if record is None:
            if segmenter is None or segmenter.volume is not structure.volume:
                segmenter = slice_segmenter(structure, model)
            band = _band(structure, segmenter, options.seed, runs)
            record = {
                "key": structure.key,
                "files_sha256": files,
                "patient": structure.case.patient,
                "modality": structure.case.modality,
                "size": size_class(structure.volume_ml),
                "figures": _figures(band) if band else None,
            }
            finished.keep_arrays(record, band or {})
        yield record


def _band(structure: Structure, segmenter: SliceSegmenter, seed: int, runs: int) -> dict[str, NDArray[Any]] | None:
    """Of voxels drawn from the band: ``logits`` (T, N) float16, ``truth`` (N,) and ``wrong`` (N,) bool."""
    from scipy.special import logit

    from xai.calibration import surface_band
    from xai.errors import EmptyStructureError

    try:
        band = surface_band(structure.truth, spacing_mm(structure.volume.affine))
        prompts = first_prompts(structure, Protocol.BOX, seed).prompts
        passes = StructureTracker(segmenter).run(prompts)
        sampled = sample_runs(segmenter, passes, source_named("dropout"), samples=runs, seed=seed)
    except (EmptyStructureError, MedsamPlannerError):  # it fills its image, or could not be answered
        return None
    places = np.argwhere(band)
    if len(places) > VOXELS:
        drawn = np.random.default_rng([seed, *structure.key.encode()])
        places = places[np.sort(drawn.choice(len(places), VOXELS, replace=False))]
    low, high = (np.array([getattr(part, end) for part in sampled.band.box]) for end in ("start", "stop"))
    within = ((places >= low) & (places < high)).all(axis=1)
    certain, truth = passes.probability[tuple(places.T)], structure.truth[tuple(places.T)]
    # Where nothing was sampled every run says what the certain answer does.
    with np.errstate(divide="ignore"):
        said = np.repeat(logit(np.minimum(certain, _ALMOST_ONE))[None], runs, axis=0)
    number = np.full(len(places), -1)
    number[within] = sampled.band.numbers()[tuple((places[within] - low).T)]
    said[:, number >= 0] = sampled.logits[:, number[number >= 0]]
    said[said < OUTSIDE_LOGIT + _ROUNDING] = -np.inf  # where nobody looked, no temperature makes an answer
    return {"logits": said.astype(np.float16), "truth": truth, "wrong": truth != (certain > 0.5)}


def _figures(band: dict[str, NDArray[Any]]) -> dict[str, float | None]:
    from scipy.special import expit

    from xai.ranking import (
        area_under_sparsification_error,
        rank_correlation,
        unranked_area_under_sparsification_error,
    )
    from xai.uncertainty import predictive_entropy

    runs, wrong = expit(band["logits"].astype(np.float32)), band["wrong"].astype(np.float64)
    variance, entropy = runs.var(axis=0), predictive_entropy(runs)
    return {
        "variance_rank": _known(lambda: rank_correlation(variance, wrong)),
        "entropy_rank": _known(lambda: rank_correlation(entropy, wrong)),
        "variance_ause": _known(lambda: area_under_sparsification_error(variance, wrong)),
        "entropy_ause": _known(lambda: area_under_sparsification_error(entropy, wrong)),
        "unranked_ause": _known(lambda: unranked_area_under_sparsification_error(wrong)),
        "error_rate": float(wrong.mean()),
    }


def _known(measured: Callable[[], float]) -> float | None:
    """None where nothing is wrong, or doubt is the same everywhere."""
    try:
        return measured()
    except UncertaintyError:
        return None


def _row(kind: str, name: str, records: Sequence[dict[str, Any]], seed: int) -> DropoutRow:
    figures = {}
    for figure in FIGURES:
        known = [(one["figures"][figure], one["patient"]) for one in records if one["figures"][figure] is not None]
        if known:
            values, patients = zip(*known, strict=True)
            figures[figure] = mean_over_patients(values, patients, seed=seed)
    return DropoutRow(kind, name, figures)


def _temperature(
    records: Sequence[dict[str, Any]], finished: FinishedStructures, seed: int
) -> FittedTemperature | None:
    from xai.calibration import brier_score, fit_dropout_temperature, mean_of_scaled_runs, measure_reliability

    fitting, measuring = halves({record["patient"]: record["modality"] for record in records}, seed)
    if not fitting or not measuring:
        return None

    def pooled(patients: frozenset[str]) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        shares = [_patient(name, records, finished, seed) for name in sorted(patients)]
        return np.concatenate([share[0] for share in shares], axis=1), np.concatenate([share[1] for share in shares])

    try:
        temperature = fit_dropout_temperature(*pooled(fitting))
    except UncertaintyError:
        return None
    logits, truth = pooled(measuring)
    before, after = mean_of_scaled_runs(logits, 1.0), mean_of_scaled_runs(logits, temperature)
    return FittedTemperature(
        temperature=temperature,
        fitted_on=len(fitting),
        measured_on=len(measuring),
        ece_before=measure_reliability(before, truth).expected_calibration_error,
        ece_after=measure_reliability(after, truth).expected_calibration_error,
        brier_before=brier_score(before, truth),
        brier_after=brier_score(after, truth),
    )


def _patient(
    name: str, records: Sequence[dict[str, Any]], finished: FinishedStructures, seed: int
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """(T, N) logits and (N,) truth of a patient; no more than of one structure, so that each patient counts alike."""
    bands = [finished.arrays(record["key"]) for record in records if record["patient"] == name]
    logits, truth = np.concatenate([b["logits"] for b in bands], axis=1), np.concatenate([b["truth"] for b in bands])
    drawn = np.random.default_rng([seed, *name.encode()]).permutation(len(truth))[:VOXELS]
    return logits[:, drawn], truth[drawn]


def halves(modality_by_patient: dict[str, str], seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """Patients shuffled, then dealt to two halves, one modality after the other so that both halves hold all."""
    names = sorted(modality_by_patient)
    shuffled = [names[place] for place in np.random.default_rng(seed).permutation(len(names))]
    dealt = sorted(shuffled, key=lambda name: modality_by_patient[name])
    return frozenset(dealt[::2]), frozenset(dealt[1::2])
