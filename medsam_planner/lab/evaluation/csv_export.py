"""The records of an evaluation as one CSV row per structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from medsam_planner.io.files import write_whole
from medsam_planner.lab.evaluation.records import StructureRecord

__all__ = ["write_csv"]

_COLUMNS = {
    "case": "case",
    "patient": "patient",
    "modality": "modality",
    "anatomy": "anatomy",
    "label": "label",
    "structure": "structure",
    "seen": "is_trained_on",
    "volume_ml": "volume_ml",
    "size": "size",
    "slice_index": "slice_index",
    "failure": "failure",
    "ellipse_slice_dice": "ellipse_slice_dice",
}
"""Columns before the metrics: heading → field of the record."""


def write_csv(path: Path, records: Sequence[StructureRecord]) -> None:
    """Write the columns that describe the structure, then its metrics, then those of the compared weights.

    Parameters
    ----------
    path : Path
        Of the CSV file.
    records : sequence of StructureRecord
        At least one. The columns of compared weights begin with ``against_``; an empty cell is a metric that does not
        exist.
    """
    metrics, compared = list(records[0].metrics), list(records[0].against_metrics or ())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *metrics, *(f"against_{name}" for name in compared)])
    for record in records:
        cells = [getattr(record, field) for field in _COLUMNS.values()]
        cells += [record.metrics[name] for name in metrics]
        cells += [(record.against_metrics or {})[name] for name in compared]
        writer.writerow(["" if cell is None else cell for cell in cells])
    write_whole(path, text.getvalue())
