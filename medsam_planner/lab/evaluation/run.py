"""Evaluate weights on every structure of a folder of cases, and write the results as JSON, CSV and HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.files import write_json
from medsam_planner.lab.evaluation.case_choice import ChosenCases, EvaluationOptions, choose_cases
from medsam_planner.lab.evaluation.cases import Case, Structure, files_sha256, size_class, trained_on
from medsam_planner.lab.evaluation.csv_export import write_csv
from medsam_planner.lab.evaluation.finished import FinishedStructures, scoring_version
from medsam_planner.lab.evaluation.metrics import metrics_of
from medsam_planner.lab.evaluation.protocols import (
    FirstPrompts,
    InteractionScores,
    Protocol,
    ellipse_dice,
    first_prompts,
    simulate,
)
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.references import read_structures, spread_labels
from medsam_planner.lab.evaluation.summary import GroupSummary, summarise
from medsam_planner.lab.evaluation.survey import survey
from medsam_planner.progress import Progress, track
from medsam_planner.provenance import versions
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import BoxedArray
from prompts.masks import mask_box

__all__ = ["Evaluated", "evaluate"]


CHALLENGE_LIMIT_S = 90.0
"""Seconds per class of a case, for all six predictions together (CVPR 2025 interactive 3D segmentation)."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Results of an evaluation."""

    records: list[StructureRecord]
    rows: list[GroupSummary]
    cautions: list[str]
    against: str | None
    page: Path
    cases: dict[str, Case]
    """The evaluated cases, by name."""
    finished: FinishedStructures
    """The folder of the masks."""


def evaluate(root: Path, out: Path, options: EvaluationOptions, *, progress: Progress | None = None) -> Evaluated:
    """Run a protocol over a folder of cases and write evaluation.json, .csv and .html into `out`.

    Finished structures are kept in ``out/finished``; a later call with the same settings takes them from there.

    Parameters
    ----------
    root : Path
        Folder of cases; see :mod:`medsam_planner.lab.evaluation.cases`.
    out : Path
        Created when absent.
    options : EvaluationOptions
        What is evaluated, and how.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Raises
    ------
    ConfigError
        If no case is left to evaluate, or `out` holds an evaluation with other settings.
    WeightsError
        If the weights, or those compared with, cannot be loaded.
    """
    from medsam_planner.lab.evaluation.html_page import write_page

    if options.protocol is Protocol.SLICES:
        raise ConfigError("Expected a protocol with propagation to 3D; evaluate 'slices' with evaluate_slices.")
    model = load_model(options.model, engine=options.engine)
    other = None if options.against is None else load_model(options.against)
    chosen = choose_cases(root, options, model, other)
    settings = _settings(options, model, other)
    finished = FinishedStructures(out, settings)
    records = list(_records(chosen, options, (model, other), finished, progress))
    if not records:
        raise ConfigError(f"Expected labels in the {len(chosen.cases)} chosen cases of {root}, all are empty.")
    rows = summarise(records, options.protocol, seed=options.seed)
    cautions = [*chosen.cautions(), *_too_slow(records, options.protocol)]
    document = {
        "schema_version": 1,
        "protocol": options.protocol.value,
        "settings": settings,
        "provenance": {
            "model": options.model,
            "weights_sha256": model.weights_sha256,
            "trained_on": trained_on(model),
            "against": options.against,
            "against_sha256": None if other is None else other.weights_sha256,
            "versions": versions(),
            "left_out_as_seen": list(chosen.left_out),
            "seen_by_baseline": list(chosen.baseline_trained_on),
        },
        "cautions": cautions,
        "summary": [row.as_json() for row in rows],
        "structures": [record.as_json() for record in records],
    }
    write_json(out / "evaluation.json", document)
    write_csv(out / "evaluation.csv", records)
    cases = {case.name: case for case in chosen.cases}
    page = write_page(out / "evaluation.html", document, records, rows, finished, cases, worst=options.worst)
    return Evaluated(records, rows, cautions, options.against, page, cases, finished)


def _too_slow(records: Sequence[StructureRecord], protocol: Protocol) -> list[str]:
    """Name the cases slower than the challenge allows. Their scores stay: its machine is another one."""
    if protocol is not Protocol.CVPR25:
        return []
    slow = []
    for case in sorted({record.case for record in records}):
        seconds = [record.metric("total_s") for record in records if record.case == case]
        if sum(seconds) > CHALLENGE_LIMIT_S * len(seconds):
            slow.append(case)
    if not slow:
        return []
    return [
        f"{len(slow)} cases took longer than the challenge's {CHALLENGE_LIMIT_S:.0f} s per class (first {slow[0]}). "
        "They keep their scores, because this is not the machine of the challenge."
    ]


def _settings(options: EvaluationOptions, model: PromptableModel, other: PromptableModel | None) -> dict[str, Any]:
    """Everything that decides a score. The choice of cases is not part of it: more can be added later."""
    return {
        "protocol": options.protocol.value,
        "weights_sha256": model.weights_sha256,
        "against_sha256": None if other is None else other.weights_sha256,
        "corrections": options.corrections,
        "triplanar": options.triplanar,
        "seed": options.seed,
        "scoring": scoring_version(model),
    }


def _records(
    chosen: ChosenCases,
    options: EvaluationOptions,
    models: tuple[PromptableModel, PromptableModel | None],
    finished: FinishedStructures,
    progress: Progress | None,
) -> Iterator[StructureRecord]:
    whole = options.protocol is Protocol.CVPR25  # the challenge wants a whole class, however many parts it has
    wanted = spread_labels(chosen.cases, options.per_group, options.most)
    cases = [case for case in chosen.cases if case.name in wanted]
    total = sum(len(labels) for labels in wanted.values())
    structures = (
        structure
        for case in cases
        for structure in read_structures(case, largest_part=not whole, labels=wanted[case.name])
    )
    hashes = {case.name: files_sha256(case) for case in cases}
    for structure in track(structures, "structures", progress, total=total):
        files = hashes[structure.case.name]
        found = finished.find(structure.key, files)
        if found is not None:
            record = StructureRecord.from_json(found)
        else:
            record, masks = _evaluated(structure, options, models, files)
            finished.keep(record.as_json(), masks)
        yield replace(record, is_trained_on=structure.case.name in chosen.trained_on)


def _evaluated(
    structure: Structure,
    options: EvaluationOptions,
    models: tuple[PromptableModel, PromptableModel | None],
    files: str,
) -> tuple[StructureRecord, dict[str, BoxedArray]]:
    """Evaluate the weights, and those compared with, on one structure."""
    case, opening = structure.case, first_prompts(structure, options.protocol, options.seed)
    model, against = models
    interaction, first, final, metrics = _interaction(structure, options, model, opening)
    record = StructureRecord(
        key=structure.key,
        files_sha256=files,
        case=case.name,
        patient=case.patient,
        modality=case.modality,
        anatomy=case.anatomy,
        group=case.group,
        label=structure.label,
        structure=structure.name,
        volume_ml=structure.volume_ml,
        size=size_class(structure.volume_ml),
        spacing_mm=tuple(spacing_mm(structure.volume.affine).tolist()),
        axis=opening.axis,
        slice_index=opening.slice_index,
        first_prompts=opening.prompts,
        ellipse_slice_dice=ellipse_dice(structure, opening),
        failure=interaction.failure,
        metrics=metrics,
        interaction=interaction,
    )
    if against is not None:
        other, _, _, others = _interaction(structure, options, against, opening)
        record = replace(record, against_failure=other.failure, against_metrics=others, against_interaction=other)
    masks = {"truth": structure.reference, "first": first, "final": final}
    return record, {name: BoxedArray.cut(mask, mask_box(mask)) for name, mask in masks.items()}


def _interaction(
    structure: Structure, options: EvaluationOptions, model: PromptableModel, opening: FirstPrompts
) -> tuple[InteractionScores, NDArray[np.bool_], NDArray[np.bool_], dict[str, float | None]]:
    session = Session(structure.volume, model, seed=options.seed)
    scores, first, final = simulate(
        session, structure, opening, corrections=options.corrections, triplanar=options.triplanar
    )
    surveyed = options.protocol is Protocol.SURVEY and scores.failure is None
    more = survey(session, structure, opening, scores, model) if surveyed else {}
    return scores, first, final, metrics_of(scores, options.protocol, more)
