"""The records as one CSV row for each structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medsam_planner.io.files import write_whole

__all__ = ["write_csv"]

_SAID = (
    "case",
    "patient",
    "modality",
    "anatomy",
    "label",
    "structure",
    "seen",
    "volume_ml",
    "size",
    "slice_index",
    "failure",
    "ellipse_slice_dice",
)


def write_csv(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write the columns that say what was asked, then every figure, then the baseline's as ``against_…``.

    An empty cell is a figure that does not exist.
    """
    figures = list(records[0]["figures"])
    compared = list(records[0]["against_figures"] or ())
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_SAID, *figures, *(f"against_{name}" for name in compared)])
    for record in records:
        cells = [record[name] for name in _SAID] + [record["figures"][name] for name in figures]
        cells += [record["against_figures"][name] for name in compared]
        writer.writerow(["" if cell is None else cell for cell in cells])
    write_whole(path, text.getvalue())
