"""The protocol of single slices over a folder of cases, with its scores as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.lab.evaluation.case_choice import EvaluationOptions, choose_cases
from medsam_planner.lab.evaluation.cases import trained_on
from medsam_planner.lab.evaluation.finished import scoring_version
from medsam_planner.lab.evaluation.references import spread_labels
from medsam_planner.lab.evaluation.slices import EndQuality, SliceScores, end_quality, score_slices, slice_table
from medsam_planner.progress import Progress, track
from medsam_planner.provenance import versions

__all__ = ["evaluate_slices"]

_COLUMNS = ("case", "patient", "group", "label", "axis", "index", "area_px", "seen")


def evaluate_slices(
    root: Path, out: Path, options: EvaluationOptions, *, progress: Progress | None = None
) -> tuple[str, list[str]]:
    """Score many kinds of prompts on single slices; write evaluation.json and evaluation.csv into `out`.

    Parameters
    ----------
    root : Path
        Folder of cases.
    out : Path
        Created when absent.
    options : EvaluationOptions
        What is evaluated, and how.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Returns
    -------
    str, list of str
        The table of mean Dice with the hash of the weights and the metrics at the ends, and cautions for its reader.

    Raises
    ------
    ConfigError
        If other weights to compare with were named (the table has no pairs), or no slice could be scored.
    """
    if options.against is not None:
        raise ConfigError("Expected no --against with the protocol 'slices': its table compares kinds of prompts.")
    model = load_model(options.model, engine=options.engine)
    chosen = choose_cases(root, options, model)
    scores: list[SliceScores] = []
    ends: list[tuple[float, float, float]] = []
    wanted = spread_labels(chosen.cases, options.per_group, options.most)
    for case in track([case for case in chosen.cases if case.name in wanted], "cases", progress):
        for structure, segmenter, found in score_slices(model, case, seed=options.seed, labels=wanted[case.name]):
            scores += [replace(one, is_trained_on=case.name in chosen.trained_on) for one in found]
            ends += end_quality(structure, segmenter)
    if not scores:
        raise ConfigError(f"Expected a structure of 20 pixels or more on a slice of the {len(chosen.cases)} cases.")
    at_ends = None
    if ends:
        past, last, area = (float(value) for value in np.mean(ends, axis=0))
        at_ends = EndQuality(past, last, area, len(ends))
    open_run_folder(out)
    write_json(
        out / "evaluation.json",
        {
            "schema_version": 1,
            "protocol": options.protocol.value,
            "settings": {
                "seed": options.seed,
                "most": options.most,
                "only": list(options.only),
                "scoring": scoring_version(model),
            },
            "provenance": {
                "model": options.model,
                "weights_sha256": model.weights_sha256,
                "trained_on": trained_on(model),
                "left_out_as_seen": list(chosen.left_out),
                "versions": versions(),
            },
            "cautions": chosen.cautions(),
            "ends": None if at_ends is None else asdict(at_ends),
            "slices": [one.as_json() for one in scores],
        },
    )
    _write_csv(out / "evaluation.csv", scores)
    lines = [f"weights {model.weights_sha256}", slice_table(scores)]
    if at_ends is not None:
        lines.append(
            f"At {at_ends.ends} ends, prompted with the mask of the neighbouring slice: predicted IoU "
            f"{at_ends.beyond_end:.3f} one slice past the end, {at_ends.at_last_slice:.3f} on the last slice; the area "
            f"segmented past the end is {at_ends.area_beyond_over_last:.2f} of the last slice's."
        )
    return "\n".join(lines), chosen.cautions()


def _write_csv(path: Path, scores: Sequence[SliceScores]) -> None:
    kinds = list(dict.fromkeys(kind for one in scores for kind in one.dice))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *kinds])
    for one in scores:
        row = one.as_json()
        writer.writerow([*(row[name] for name in _COLUMNS), *(one.dice.get(kind, "") for kind in kinds)])
    write_whole(path, text.getvalue())
