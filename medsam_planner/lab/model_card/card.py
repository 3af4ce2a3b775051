"""The model card: intended use, training data, metrics and known failures of weights, on one page."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medsam_planner.engine.memory_model import open_compact
from medsam_planner.io.files import write_whole
from medsam_planner.lab.evaluation.cases import trained_on
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.worst_sheet import worst_first
from medsam_planner.lab.model_card.markdown_tables import (
    dropout_table,
    markdown_table,
    shapes_table,
    slices_table,
    volumes_table,
)
from medsam_planner.lab.model_card.measurements import SHAPES_PICTURE, WORST_PICTURE, Measurements
from medsam_planner.lab.model_card.training_data import data_sources
from medsam_planner.lab.training.config import TrainingConfig
from medsam_planner.provenance import versions

__all__ = ["write_card"]

_LISTED = 6
"""Worst structures listed on the card."""
_PROMPTED = {
    Protocol.BOX: "One loose 2D box on the middle slice, then corrections in 3D",
    Protocol.CLICK: "One click on the middle slice, then corrections in 3D",
    Protocol.SURVEY: "One loose 2D box, masks offered for it, and corrections in 3D; a single click; a painted wall",
    Protocol.CVPR25: "Range, box and clicks, comparable with the CVPR 2025 protocol",
}


def write_card(weights: Path, config: TrainingConfig, config_text: str, measured: Measurements) -> Path:
    """Write ``compact.md`` beside the weights.

    Parameters
    ----------
    weights : Path
        With the temperature in their metadata, where one was fitted.
    config : TrainingConfig
        The entries of the training file.
    config_text : str
        The text of the training file.
    measured : Measurements
        Results of the evaluation.

    Returns
    -------
    Path
        The same arguments and versions give the same bytes.

    Raises
    ------
    ConfigError
        If a ``meta.json`` of the data is not a JSON object.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medsam_planner.lab.model_card", ""),
        autoescape=False,  # Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    model = open_compact(weights)
    names = trained_on(model) or ()
    text = environment.get_template("card.md").render(
        model=model,
        metadata=model.metadata,
        parameters_m=sum(parameter.numel() for parameter in model.network.parameters()) / 1e6,
        megabytes=weights.stat().st_size / 1e6,
        config=config,
        config_text=config_text.strip(),
        sources=_sources_table(names, config),
        is_measured=bool(measured.volumes or measured.slices),
        is_procedural=measured.is_procedural,
        evaluation=config.evaluation,
        counted=_counted,
        volumes=[
            (_PROMPTED[kind], kind.value, volumes_table(one.rows, kind)) for kind, one in measured.volumes.items()
        ],
        slices=slices_table(measured.slices, seed=config.evaluation.seed) if measured.slices else "",
        dropout=measured.dropout,
        dropout_table="" if measured.dropout is None else dropout_table(measured.dropout.rows),
        shapes=shapes_table(measured.shapes) if measured.shapes else "",
        shapes_picture=SHAPES_PICTURE,
        worst_picture=WORST_PICTURE,
        worst=_worst(measured),
        versions=", ".join(f"{name} {number}" for name, number in versions().items()),
    )
    path = weights.with_suffix(".md")
    return write_whole(path, text)


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("" if count == 1 else "s")


def _sources_table(names: tuple[str, ...], config: TrainingConfig) -> str:
    return markdown_table(
        ["data", "items (patients)", "licence"],
        [
            [source.what, f"{source.items} ({source.patients})" if source.items else "synthetic", source.licence]
            for source in data_sources(names, config.data.root)
        ],
    )


def _worst(measured: Measurements) -> list[dict[str, Any]]:
    """The structures with the lowest final Dice of the first protocol."""
    for evaluated in measured.volumes.values():
        return [
            {
                "name": f"{record.structure} ({record.key})",
                "ml": _two_digits(record.volume_ml),
                "slice": record.metrics.get("slice_dice"),
                "first": record.metrics["first_dice"],
                "final": record.metrics["final_dice"],
            }
            for record in worst_first(evaluated.records)[:_LISTED]
        ]
    return []


def _two_digits(value: float) -> str:
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{max(digits, 0)}f}"
