"""Measure trained weights: MC dropout and its temperature, the protocols, and the hard shapes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medsam_planner.engine.compact_weights import annotate_weights
from medsam_planner.engine.memory_model import open_compact
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.lab.evaluation.case_choice import EvaluationOptions
from medsam_planner.lab.evaluation.cases import cases_trained_on, find_cases, trained_on
from medsam_planner.lab.evaluation.dropout_run import DropoutEvaluated, evaluate_dropout
from medsam_planner.lab.evaluation.finished import scoring_version
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.run import Evaluated, evaluate
from medsam_planner.lab.evaluation.slice_run import evaluate_slices
from medsam_planner.lab.evaluation.slices import SliceScores
from medsam_planner.lab.evaluation.worst_sheet import worst_first, write_sheet
from medsam_planner.lab.model_card.hard_shapes import write_hard_shapes
from medsam_planner.lab.model_card.procedural_cases import write_procedural_cases
from medsam_planner.lab.training.config import TrainingConfig
from medsam_planner.lab.training.data_folder import case_folders
from medsam_planner.progress import Progress

__all__ = ["SHAPES_PICTURE", "WORST_PICTURE", "Measurements", "measure"]

SHAPES_PICTURE = "compact_failures.png"
"""Picture of the hard shapes: synthetic, so that it may be published."""
WORST_PICTURE = "compact_worst.png"
"""Picture of the worst structures of the cases; it may show patients."""
_PICTURED = 6


@dataclass(frozen=True, slots=True)
class Measurements:
    """Results of all measurements; empty where the training file names no protocol."""

    is_procedural: bool = False
    """Whether procedural cases took the place of real ones."""
    volumes: dict[Protocol, Evaluated] = field(default_factory=dict)
    slices: list[SliceScores] = field(default_factory=list)
    dropout: DropoutEvaluated | None = None
    shapes: list[StructureRecord] = field(default_factory=list)
    """The hard shapes, the worst first."""


def measure(weights: Path, config: TrainingConfig, *, progress: Progress | None = None) -> Measurements:
    """Measure weights as the training file says, write the temperature into them, and picture the worst structures.

    Finished work is kept in ``evaluation/`` of the output folder, under names that depend on the weights, the settings
    and the versions of propagation and scoring, and is not measured again.

    Parameters
    ----------
    weights : Path
        The fitted temperature is written into this file.
    config : TrainingConfig
        The entries of the training file.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Raises
    ------
    ConfigError
        If there is no case to measure on.
    OperationCancelledError
        If cancellation was requested; finished work is kept.
    """
    chosen = config.evaluation
    if not chosen.protocols:
        return Measurements()
    root, is_procedural = _cases(weights, config)

    def options(protocol: Protocol, **changed: Any) -> EvaluationOptions:
        settings: dict[str, Any] = {"corrections": chosen.corrections, "seed": chosen.seed}
        settings |= {"most": chosen.most, "per_group": chosen.per_group}
        return EvaluationOptions(protocol=protocol, model=str(weights), **(settings | changed))

    dropout = None
    if chosen.dropout_runs:
        # Named by the tensors alone: the fitted temperature changes the file, and a resumed call would miss the folder.
        out = _folder("dropout", (model := open_compact(weights)).tensors_sha256, model, config)
        dropout = evaluate_dropout(root, out, options(Protocol.BOX), passes=chosen.dropout_runs, progress=progress)
        if dropout.temperature is not None:
            annotate_weights(weights, {"temperature": repr(dropout.temperature.temperature)})
    volumes: dict[Protocol, Evaluated] = {}
    slices: list[SliceScores] = []
    for protocol in (Protocol(name) for name in chosen.protocols):
        out = _folder(protocol.value, (model := open_compact(weights)).weights_sha256, model, config)
        if protocol is Protocol.SLICES:
            slices = _slices(root, out, options(protocol), progress)
        else:
            volumes[protocol] = evaluate(root, out, options(protocol), progress=progress)
    for evaluated in list(volumes.values())[:1]:
        worst = worst_first(evaluated.records)[:_PICTURED]
        write_sheet(config.out / WORST_PICTURE, worst, evaluated.cases, evaluated.finished, named_by="key")
    shapes = evaluate(
        write_hard_shapes(config.out / "evaluation" / "shape_cases"),
        _folder("shapes", (model := open_compact(weights)).weights_sha256, model, config),
        options(Protocol.BOX, most=None, per_group=None, worst=0),
        progress=progress,
    )
    ranked = worst_first(shapes.records)
    write_sheet(config.out / SHAPES_PICTURE, ranked, shapes.cases, shapes.finished)
    return Measurements(is_procedural, volumes, slices, dropout, ranked)


def _cases(weights: Path, config: TrainingConfig) -> tuple[Path, bool]:
    """The folder of cases, and whether they are procedural: real ones if some were held out."""
    root = None if config.data.root is None else config.data.root / "cases"
    if root is not None and root.is_dir() and case_folders(root, exclude=()):
        cases = find_cases(root)
        if len(cases_trained_on(cases, trained_on(open_compact(weights)) or ())) < len(cases):
            return root, False
    procedural = config.out / "evaluation" / "cases"
    count, seed = config.evaluation.procedural_cases, config.evaluation.seed
    return write_procedural_cases(procedural, count=count, side=config.data.procedural_side, seed=seed), True


def _folder(name: str, weights_sha256: str, model: PromptableModel, config: TrainingConfig) -> Path:
    """A folder whose name depends on everything that decides the metrics."""
    chosen = config.evaluation
    stated = [weights_sha256, scoring_version(model), chosen.corrections, chosen.seed, chosen.dropout_runs]
    stated += [chosen.most, chosen.per_group]
    return config.out / "evaluation" / f"{name}-{hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:8]}"


def _slices(root: Path, out: Path, options: EvaluationOptions, progress: Progress | None) -> list[SliceScores]:
    """Scores on single slices; finished ones belong to these weights, as the name of the folder depends on them."""
    path = out / "evaluation.json"
    if not path.is_file():
        evaluate_slices(root, out, options, progress=progress)
    return [SliceScores.from_json(row) for row in json.loads(path.read_text(encoding="utf-8"))["slices"]]
