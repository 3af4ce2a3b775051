"""Evaluate MC dropout: how well its uncertainty ranks errors (Spearman, AUSE).

Each structure is prompted with one loose box. The metrics are over a band around the surface of the reference, because
over a whole volume the many background voxels that are correct and certain dominate every metric.
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
from medsam_planner.lab.evaluation.cases import Structure, files_sha256, size_class
from medsam_planner.lab.evaluation.dropout_temperature import FittedTemperature, fit_temperature
from medsam_planner.lab.evaluation.finished import FinishedStructures, scoring_version
from medsam_planner.lab.evaluation.protocols import Protocol, first_prompts
from medsam_planner.lab.evaluation.records import DropoutRecord
from medsam_planner.lab.evaluation.references import read_structures, spread_labels
from medsam_planner.lab.evaluation.slices import slice_segmenter
from medsam_planner.lab.evaluation.statistics import Estimate, mean_over_patients
from medsam_planner.lab.evaluation.summary import size_rank
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.sampling import sample_passes
from medsam_planner.propagation.sources import source_named
from medsam_planner.propagation.structure import StructureTracker
from medsam_planner.provenance import versions
from xai.calibration import BAND_MM
from xai.errors import UncertaintyError

__all__ = ["DropoutEvaluated", "DropoutRow", "evaluate_dropout"]

VOXELS = 10_000
"""At most so many voxels are sampled from the band of a structure, so that large structures do not dominate."""
_ALMOST_ONE = np.float32(1 - 6e-8)
_ROUNDING = 0.01
"""Error of a logit that was converted to a float32 probability and back."""
METRICS = ("variance_rank", "entropy_rank", "variance_ause", "entropy_ause", "unranked_ause", "error_rate")


@dataclass(frozen=True, slots=True)
class DropoutRow:
    """Means over the structures of a group."""

    kind: str
    """``"all"``, ``"modality"`` or ``"size"``."""
    name: str
    metrics: dict[str, Estimate]
    """``variance_rank`` and ``entropy_rank``: Spearman's correlation of the uncertainty with the error;
    ``variance_ause`` and ``entropy_ause``: area under the sparsification error curve; ``unranked_ause``: that area for
    a random order; ``error_rate``: share of wrong voxels."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values under the keys of ``dropout.json``."""
        return {"figures" if name == "metrics" else name: value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class DropoutEvaluated:
    """Results of the evaluation of MC dropout."""

    rows: list[DropoutRow]
    temperature: FittedTemperature | None
    """None with fewer than two patients, or where no temperature is best."""
    passes: int
    """Stochastic passes per structure."""
    structures: int
    """Structures measured, without those that could not be segmented or fill their image."""


def evaluate_dropout(
    root: Path, out: Path, options: EvaluationOptions, *, passes: int = 16, progress: Progress | None = None
) -> DropoutEvaluated:
    """Evaluate MC dropout on every structure of the cases the weights were not trained on; write dropout.json.

    Finished structures are kept in ``out/finished``; a later call goes on from there.

    Parameters
    ----------
    root : Path
        Folder of cases.
    out : Path
        Created when absent.
    options : EvaluationOptions
        Without effect: protocol, corrections, triplanar.
    passes : int
        Stochastic passes per structure.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Raises
    ------
    ConfigError
        If no case is left to evaluate, no structure could be measured, or `out` holds results of other settings.
    """
    model = load_model(options.model, engine=options.engine)
    chosen = choose_cases(root, options, model)
    settings = {
        # The hash of the tensors, not of the whole file: the fitted temperature is written into the file.
        "tensors_sha256": model.tensors_sha256,
        "scoring": scoring_version(model),
        "runs": passes,
        "seed": options.seed,
        "band_mm": BAND_MM,
        "voxels": VOXELS,
    }
    finished = FinishedStructures(out, settings)
    records = [one for one in _records(chosen, model, options, passes, finished, progress) if one.metrics]
    if not records:
        raise ConfigError(f"Expected structures with a surface in the {len(chosen.cases)} chosen cases, found none.")
    rows = [_row("all", "all, never trained on", records, options.seed)]
    for modality in sorted({one.modality for one in records}):
        rows.append(_row("modality", modality, [one for one in records if one.modality == modality], options.seed))
    for size in sorted({one.size for one in records}, key=size_rank):
        rows.append(_row("size", size, [one for one in records if one.size == size], options.seed))
    temperature = fit_temperature(records, finished, options.seed)
    document = {
        "schema_version": 1,
        "settings": settings,
        "provenance": {"model": options.model, "weights_sha256": model.weights_sha256, "versions": versions()},
        "summary": [row.as_json() for row in rows],
        "temperature": None if temperature is None else asdict(temperature),
        "structures": [record.as_json() for record in records],
    }
    write_json(out / "dropout.json", document)
    return DropoutEvaluated(rows, temperature, passes, len(records))


def _records(
    chosen: ChosenCases,
    model: PromptableModel,
    options: EvaluationOptions,
    passes: int,
    finished: FinishedStructures,
    progress: Progress | None,
) -> Iterator[DropoutRecord]:
    wanted = spread_labels(chosen.cases, options.per_group, options.most)
    cases = [case for case in chosen.cases if case.name in wanted]
    total = sum(len(labels) for labels in wanted.values())
    structures = (one for case in cases for one in read_structures(case, labels=wanted[case.name]))
    hashes = {case.name: files_sha256(case) for case in cases}
    segmenter: SliceSegmenter | None = None
    for structure in track(structures, "dropout passes", progress, total=total):
        files = hashes[structure.case.name]
        found = finished.find(structure.key, files)
        if found is not None:
            yield DropoutRecord.from_json(found)
            continue
        if segmenter is None or segmenter.volume is not structure.volume:
            segmenter = slice_segmenter(structure, model)
        band = _band(structure, segmenter, options.seed, passes)
        record = DropoutRecord(
            key=structure.key,
            files_sha256=files,
            patient=structure.case.patient,
            modality=structure.case.modality,
            size=size_class(structure.volume_ml),
            metrics=_metrics(band) if band else None,
        )
        finished.keep_arrays(record.as_json(), band or {})
        yield record


def _band(structure: Structure, segmenter: SliceSegmenter, seed: int, count: int) -> dict[str, NDArray[Any]] | None:
    """Voxels sampled from the band: ``logits`` (T, N) float16, ``truth`` (N,) and ``wrong`` (N,) bool."""
    from scipy.special import logit

    from xai.calibration import surface_band
    from xai.errors import EmptyStructureError

    try:
        band = surface_band(structure.reference, spacing_mm(structure.volume.affine))
        prompts = first_prompts(structure, Protocol.BOX, seed).prompts
        passes = StructureTracker(segmenter).run(prompts)
        sampled = sample_passes(segmenter, passes, source_named("dropout"), samples=count, seed=seed)
    except (EmptyStructureError, MedsamPlannerError):  # it fills its image, or could not be segmented
        return None
    places = np.argwhere(band)
    if len(places) > VOXELS:
        rng = np.random.default_rng([seed, *structure.key.encode()])
        places = places[np.sort(rng.choice(len(places), VOXELS, replace=False))]
    low, high = (np.array([getattr(part, end) for part in sampled.band.box]) for end in ("start", "stop"))
    within = ((places >= low) & (places < high)).all(axis=1)
    deterministic, reference = passes.probability[tuple(places.T)], structure.reference[tuple(places.T)]
    # Where nothing was sampled every pass has the deterministic prediction.
    with np.errstate(divide="ignore"):
        logits = np.repeat(logit(np.minimum(deterministic, _ALMOST_ONE))[None], count, axis=0)
    number = np.full(len(places), -1)
    number[within] = sampled.band.numbers()[tuple((places[within] - low).T)]
    logits[:, number >= 0] = sampled.logits[:, number[number >= 0]]
    logits[logits < OUTSIDE_LOGIT + _ROUNDING] = -np.inf  # outside every crop, where a temperature has no effect
    wrong = reference != (deterministic > 0.5)
    return {"logits": logits.astype(np.float16), "truth": reference, "wrong": wrong}


def _metrics(band: dict[str, NDArray[Any]]) -> dict[str, float | None]:
    from scipy.special import expit

    from xai.ranking import (
        area_under_sparsification_error,
        rank_correlation,
        unranked_area_under_sparsification_error,
    )
    from xai.uncertainty import predictive_entropy

    probabilities, wrong = expit(band["logits"].astype(np.float32)), band["wrong"].astype(np.float64)
    variance, entropy = probabilities.var(axis=0), predictive_entropy(probabilities)
    return {
        "variance_rank": _if_defined(lambda: rank_correlation(variance, wrong)),
        "entropy_rank": _if_defined(lambda: rank_correlation(entropy, wrong)),
        "variance_ause": _if_defined(lambda: area_under_sparsification_error(variance, wrong)),
        "entropy_ause": _if_defined(lambda: area_under_sparsification_error(entropy, wrong)),
        "unranked_ause": _if_defined(lambda: unranked_area_under_sparsification_error(wrong)),
        "error_rate": float(wrong.mean()),
    }


def _if_defined(metric: Callable[[], float]) -> float | None:
    """None where no voxel is wrong, or the uncertainty is the same everywhere."""
    try:
        return metric()
    except UncertaintyError:
        return None


def _row(kind: str, name: str, records: Sequence[DropoutRecord], seed: int) -> DropoutRow:
    metrics = {}
    for metric in METRICS:
        known = [(value, one.patient) for one in records if (value := (one.metrics or {}).get(metric)) is not None]
        if known:
            values, patients = zip(*known, strict=True)
            metrics[metric] = mean_over_patients(values, patients, seed=seed)
    return DropoutRow(kind, name, metrics)
