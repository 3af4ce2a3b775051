"""Ask for every structure of the cases, keep what came, and write what it amounts to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
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
from medsam_planner.lab.evaluation.cases import (
    Case,
    Structure,
    files_sha256,
    label_values,
    read_structures,
    size_class,
    spread_labels,
    trained_on,
)
from medsam_planner.lab.evaluation.csv_export import write_csv
from medsam_planner.lab.evaluation.finished import FinishedStructures, scoring_version
from medsam_planner.lab.evaluation.metrics import figures_of
from medsam_planner.lab.evaluation.protocols import Answer, FirstPrompts, Protocol, ask, ellipse_dice, first_prompts
from medsam_planner.lab.evaluation.summary import GroupSummary, summarise
from medsam_planner.lab.evaluation.survey import survey
from medsam_planner.progress import Progress, track
from medsam_planner.provenance import versions
from medsam_planner.segmentation.session import Session
from medsam_planner.volumes import BoxedArray
from prompts.masks import mask_box

__all__ = ["Evaluated", "evaluate"]


CHALLENGE_LIMIT_S = 90.0
"""Seconds for each class of a case, all six answers together (CVPR 2025 interactive 3D segmentation)."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What an evaluation left in its folder."""

    records: list[dict[str, Any]]
    rows: list[GroupSummary]
    cautions: list[str]
    against: str | None
    page: Path
    cases: dict[str, Case]
    """Those asked for, by name."""
    finished: FinishedStructures
    """Where the masks are."""


def evaluate(root: Path, out: Path, options: EvaluationOptions, *, progress: Progress | None = None) -> Evaluated:
    """Run a protocol over a folder of cases and write evaluation.json, .csv and .html into `out`.

    What is finished is kept in ``out/finished`` and not asked again by a later call with the same settings.

    Raises
    ------
    ConfigError
        If no case is left to ask for, or `out` holds an evaluation made otherwise.
    WeightsError
        If the weights, or those compared with, cannot be loaded.
    """
    from medsam_planner.lab.evaluation.html_page import write_page

    if options.protocol is Protocol.SLICES:
        raise ConfigError("Expected a protocol that carries a prompt to 3D; 'slices' has a function of its own.")
    model = load_model(options.model)
    other = None if options.against is None else load_model(options.against)
    chosen = choose_cases(root, options, model, other)
    settings = _settings(options, model, other)
    finished = FinishedStructures(out, settings)
    records = list(_records(chosen, options, (model, other), finished, progress))
    if not records:
        raise ConfigError(f"Expected labels in the {len(chosen.cases)} chosen cases of {root}, all are empty.")
    rows = summarise(records, options.protocol, seed=options.seed)
    cautions = [*chosen.cautions(), *_late(records, options.protocol)]
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
            "seen_by_baseline": list(chosen.seen_by_baseline),
        },
        "cautions": cautions,
        "summary": [row.as_json() for row in rows],
        "structures": records,
    }
    write_json(out / "evaluation.json", document)
    write_csv(out / "evaluation.csv", records)
    cases = {case.name: case for case in chosen.cases}
    page = write_page(out / "evaluation.html", document, rows, finished, cases, worst=options.worst)
    return Evaluated(records, rows, cautions, options.against, page, cases, finished)


def _late(records: list[dict[str, Any]], protocol: Protocol) -> list[str]:
    """The challenge sets a case to zero that takes too long on its machine; on another machine that is only said."""
    if protocol is not Protocol.CVPR25:
        return []
    late = []
    for case in sorted({record["case"] for record in records}):
        seconds = [record["figures"]["total_s"] for record in records if record["case"] == case]
        if sum(seconds) > CHALLENGE_LIMIT_S * len(seconds):
            late.append(case)
    if not late:
        return []
    return [
        f"{len(late)} cases took longer here than the challenge's {CHALLENGE_LIMIT_S:.0f} s a class (first {late[0]}); "
        "they keep their scores, as this is not its machine."
    ]


def _settings(options: EvaluationOptions, model: PromptableModel, other: PromptableModel | None) -> dict[str, Any]:
    """All that decides a score; not which cases, so that an evaluation can be widened."""
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
) -> Iterator[dict[str, Any]]:
    whole = options.protocol is Protocol.CVPR25  # the challenge asks for a class, however many parts it has
    if options.per_group is None:
        wanted = {case.name: tuple(label_values(case, options.most)) for case in chosen.cases}
    else:
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
        record = finished.find(structure.key, files)
        if record is None:
            record, masks = _asked(structure, options, models, files)
            finished.keep(record, masks)
        yield record | {"seen": structure.case.name in chosen.seen}


def _asked(
    structure: Structure,
    options: EvaluationOptions,
    models: tuple[PromptableModel, PromptableModel | None],
    files: str,
) -> tuple[dict[str, Any], dict[str, BoxedArray]]:
    """Ask the weights, and those compared with, for one structure."""
    case, asked = structure.case, first_prompts(structure, options.protocol, options.seed)
    model, against = models
    answer, first, final, figures = _answer(structure, options, model, asked)
    record: dict[str, Any] = {
        "key": structure.key,
        "files_sha256": files,
        "case": case.name,
        "patient": case.patient,
        "modality": case.modality,
        "anatomy": case.anatomy,
        "group": case.group,
        "label": structure.label,
        "structure": structure.name,
        "volume_ml": structure.volume_ml,
        "size": size_class(structure.volume_ml),
        "spacing_mm": spacing_mm(structure.volume.affine).tolist(),
        "axis": asked.axis,
        "slice_index": asked.slice_index,
        "first_prompts": [{"kind": type(prompt).__name__.lower(), **asdict(prompt)} for prompt in asked.prompts],
        "ellipse_slice_dice": ellipse_dice(structure, asked),
        "failure": answer.failure,
        "figures": figures,
        "answer": asdict(answer),
        "against_failure": None,
        "against_figures": None,
        "against_answer": None,
    }
    if against is not None:
        other, _, _, others = _answer(structure, options, against, asked)
        record["against_failure"] = other.failure
        record["against_figures"] = others
        record["against_answer"] = asdict(other)
    masks = {"truth": structure.truth, "first": first, "final": final}
    return record, {name: BoxedArray.cut(mask, mask_box(mask)) for name, mask in masks.items()}


def _answer(
    structure: Structure, options: EvaluationOptions, model: PromptableModel, asked: FirstPrompts
) -> tuple[Answer, NDArray[np.bool_], NDArray[np.bool_], dict[str, float | None]]:
    session = Session(structure.volume, model, seed=options.seed)
    answer, first, final = ask(session, structure, asked, corrections=options.corrections, triplanar=options.triplanar)
    surveyed = options.protocol is Protocol.SURVEY and answer.failure is None
    more = survey(session, structure, asked, answer, model) if surveyed else {}
    return answer, first, final, figures_of(answer, options.protocol, more)
