"""The table of single slices over a folder of cases, with its scores as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.lab.evaluation.case_choice import EvaluationOptions, choose_cases
from medsam_planner.lab.evaluation.cases import trained_on
from medsam_planner.lab.evaluation.finished import scoring_version
from medsam_planner.lab.evaluation.slices import EndQuality, SliceScores, end_quality, score_slices, slice_table
from medsam_planner.progress import Progress, track
from medsam_planner.provenance import versions

__all__ = ["evaluate_slices"]

_SAID = ("case", "patient", "group", "label", "axis", "index", "area_px", "seen")


def evaluate_slices(
    root: Path, out: Path, options: EvaluationOptions, *, progress: Progress | None = None
) -> tuple[str, list[str]]:
    """Ask for slices in many ways; write evaluation.json and evaluation.csv into `out`.

    Returns
    -------
    str, list of str
        The table of mean Dice with the weights' hash and the ends' figures, and what its reader must know.

    Raises
    ------
    ConfigError
        If other weights to compare with were named (the table has no pairs), or no slice could be asked for.
    """
    if options.against is not None:
        raise ConfigError("Expected no --against with the protocol 'slices': its table compares kinds of prompts.")
    model = load_model(options.model)
    chosen = choose_cases(root, options, model)
    scores: list[SliceScores] = []
    ends: list[tuple[float, float, float]] = []
    for case in track(chosen.cases, "cases", progress):
        for structure, segmenter, found in score_slices(model, case, seed=options.seed, most=options.most):
            scores += found
            ends += end_quality(structure, segmenter)
    if not scores:
        raise ConfigError(f"Expected a structure of 20 pixels or more on a slice of the {len(chosen.cases)} cases.")
    at_ends = None
    if ends:
        past, last, area = (float(value) for value in np.mean(ends, axis=0))
        at_ends = EndQuality(past, last, area, len(ends))
    rows = [asdict(score) | {"seen": score.case in chosen.seen} for score in scores]
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
            "slices": rows,
        },
    )
    _write_csv(out / "evaluation.csv", rows)
    told = [f"weights {model.weights_sha256}", slice_table(scores)]
    if at_ends is not None:
        told.append(
            f"At {at_ends.ends} ends, prompted with the neighbour's mask: predicted IoU {at_ends.beyond_end:.3f} one "
            f"slice past the end, {at_ends.at_last_slice:.3f} on the last slice; past it "
            f"{at_ends.area_beyond_over_last:.2f} of the last slice's area is found."
        )
    return "\n".join(told), chosen.cautions()


def _write_csv(path: Path, rows: Sequence[dict[str, object]]) -> None:
    kinds = list(dict.fromkeys(kind for row in rows for kind in dict(row["dice"])))  # type: ignore[call-overload]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_SAID, *kinds])
    for row in rows:
        values = dict(row["dice"])  # type: ignore[call-overload]
        writer.writerow([*(row[name] for name in _SAID), *(values.get(kind, "") for kind in kinds)])
    write_whole(path, text.getvalue())
