"""The worst structures of an evaluation on one PNG, for the model card."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from medsam_planner.drawing.formatting import number, slice_number
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import whole_file
from medsam_planner.lab.evaluation.cases import Case
from medsam_planner.lab.evaluation.finished import FinishedStructures
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.slice_panels import PREDICTION_COLOUR, REFERENCE_COLOUR, ShownSlice, shown_slices

__all__ = ["worst_first", "write_sheet"]

_STRUCTURES_ABREAST = 3
_PICTURE_INCHES, _GAP_INCHES, _TEXT_INCHES = 1.6, 0.04, 0.4
_DPI = 100
_COLOURS = 96
"""A palette keeps the file small; two outlines over grey need no more."""
_OUTSIDE_STUDY = "#1c1c1c"


def worst_first(records: Sequence[StructureRecord]) -> list[StructureRecord]:
    """Structures the weights were not trained on, the lowest final 3D Dice first."""
    held_out = [record for record in records if not record.is_trained_on]
    return sorted(held_out, key=lambda one: (one.metric("final_dice"), one.key))


def write_sheet(
    path: Path,
    records: Sequence[StructureRecord],
    cases: Mapping[str, Case],
    finished: FinishedStructures,
    *,
    named_by: Literal["structure", "key"] = "structure",
) -> Path:
    """Picture each structure twice: its prompted slice after the first prompt, its worst slice after all corrections.

    Parameters
    ----------
    path : Path
        Of the PNG; the same records give the same bytes.
    records : sequence of StructureRecord
        In the order of the pictures.
    cases : mapping of str to Case
        By name.
    finished : FinishedStructures
        The folder of the masks.
    named_by : {"structure", "key"}
        Field of the record that is written above its pictures.

    Raises
    ------
    ConfigError
        If there is no record.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    if not records:
        raise ConfigError("Expected structures to picture, got none.")
    step, row_inches = _PICTURE_INCHES + _GAP_INCHES, _PICTURE_INCHES + _TEXT_INCHES
    width = 2 * _STRUCTURES_ABREAST * step
    height = -(-len(records) // _STRUCTURES_ABREAST) * row_inches + 0.3
    figure = Figure(figsize=(width, height), dpi=_DPI)
    FigureCanvasAgg(figure)
    for place, record in enumerate(records):
        row, column = divmod(place, _STRUCTURES_ABREAST)
        dices = [number(record.metrics[name], 2) for name in ("slice_dice", "final_dice")]
        captions = (f"slice Dice {dices[0]}", f"3D Dice {dices[1]}")
        for side, (shown, caption) in enumerate(zip(_slices(record, cases, finished), captions, strict=True)):
            left, top = (2 * column + side) * step, height - row * row_inches
            place_in_figure = (left / width, (top - row_inches) / height, _PICTURE_INCHES / width)
            axes = figure.add_axes((*place_in_figure, _PICTURE_INCHES / height))
            _draw(axes, shown)
            label = f"slice {slice_number(shown.index)}, {caption}"
            figure.text(left / width + 0.003, (top - 0.36) / height, label, fontsize=7, va="bottom")
            if side == 0:
                name = getattr(record, named_by)
                figure.text(left / width + 0.003, (top - 0.2) / height, name, fontsize=8, va="bottom", weight="bold")
    lines = [Line2D([], [], color=colour, linewidth=1.5) for colour in (REFERENCE_COLOUR, PREDICTION_COLOUR)]
    names = [
        "reference",
        "prediction (left: on the prompted slice; right: after the last correction, on its worst slice)",
    ]
    figure.legend(lines, names, loc="lower left", ncols=2, frameon=False, fontsize=8, borderpad=0.1)
    _save(figure, path)
    return path


def _slices(record: StructureRecord, cases: Mapping[str, Case], finished: FinishedStructures) -> list[ShownSlice]:
    case = cases[record.case]
    image = case.read_image()
    return shown_slices(record, image, finished)


def _draw(axes: Any, shown: ShownSlice) -> None:
    low, high = shown.window
    axes.set(xticks=[], yticks=[], facecolor=_OUTSIDE_STUDY)
    axes.imshow(shown.grey, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
    for mask, colour in ((shown.reference, REFERENCE_COLOUR), (shown.prediction, PREDICTION_COLOUR)):
        if (mask > 0.5).any():
            axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.1)


def _save(figure: Any, path: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    picture = Image.open(buffer).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    with whole_file(path) as stream:
        picture.save(stream, format="PNG", optimize=True)
