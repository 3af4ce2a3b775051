"""The page and the tables of a study's analysis."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE, flat_rows
from medsam_planner.io.files import write_whole
from medsam_planner.io.output_folder import OutputFolder
from medsam_planner.io.spreadsheet import spreadsheet_cell
from medsam_planner.lab.readers.checklist import CheckedItem

__all__ = ["Analysed", "Section", "figure_names", "write_csv", "write_figures", "write_study_page"]


@dataclass(frozen=True, slots=True)
class Analysed:
    """What an analysis has written, and what it says in short."""

    page: Path
    headline: str
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the page."""

    title: str
    about: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Sequence[Mapping[str, bytes]] = ()
    """As :func:`~medsam_planner.lab.readers.figures.drawn` gives them."""


def write_study_page(
    path: Path, document: Mapping[str, Any], sections: Sequence[Section], checked: Sequence[CheckedItem]
) -> Path:
    """Write one self-contained HTML file.

    Parameters
    ----------
    path : Path
    document : mapping
        The content of ``study.json``: title, cautions, settings, versions.
    sections : sequence of Section
    checked : sequence of CheckedItem
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medsam_planner.lab.readers", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["uri"] = lambda svg: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    text = environment.get_template("study.html").render(
        notice=RESEARCH_USE_NOTICE,
        style=(Path(__file__).parents[2] / "drawing" / "page.css").read_text(encoding="utf-8"),
        document=document,
        sections=sections,
        checked=checked,
        answered=sum(bool(item.answer) for item in checked),
        provenance=flat_rows({"settings": document["settings"], "versions": document["versions"]}),
    )
    return write_whole(path, text)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows that have the same keys, with a heading; an empty cell is a value that does not exist.

    Texts that a spreadsheet would take for a formula begin with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    writer.writerows(["" if value is None else spreadsheet_cell(value) for value in row.values()] for row in rows)
    return write_whole(path, text.getvalue())


def figure_names(figures: Iterable[str]) -> list[str]:
    """The files of some figures in the folder of results."""
    return [f"figures/{name}.{kind}" for name in figures for kind in ("svg", "pdf")]


def write_figures(folder: OutputFolder, pictures: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write figures, by name, as :func:`~medsam_planner.lab.readers.figures.drawn` gives them."""
    for name, files in pictures.items():
        for kind, content in files.items():
            write_whole(folder / f"figures/{name}.{kind}", content)
