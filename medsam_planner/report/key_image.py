"""The key picture of a plan, notice burnt in: along the tool twice, across it at the tightest place, and in 3D."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.drawing.panel import Panel
from medsam_planner.drawing.raster import font, panel_image
from medsam_planner.report.assessment import assess
from medsam_planner.report.model import PlanReport
from medsam_planner.report.parts import ReportParts

__all__ = ["key_picture"]

_CELL = 620
_CAPTION, _HEAD, _FOOT, _GAP = 26, 74, 40, 8


def key_picture(report: PlanReport, parts: ReportParts) -> NDArray[np.uint8]:
    """Four pictures of the first tool under the verdict; the patient is not named in them.

    Returns
    -------
    (rows, columns, 3) uint8
        RGB.
    """
    from PIL import Image, ImageDraw

    panels = _chosen(parts)
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    width = columns * (_CELL + _GAP) + _GAP
    height = _HEAD + lines * (_CELL + _CAPTION + _GAP) + _FOOT
    sheet = Image.new("RGB", (width, height), "#111417")
    draw = ImageDraw.Draw(sheet)
    verdict = assess(report).verdict
    _line(draw, report.title, (_GAP + 2, 10), width, 22, "#ffffff")
    _line(draw, verdict.headline, (_GAP + 2, 42), width, 18, "#ffd24a")
    for count, panel in enumerate(panels):
        left = _GAP + (count % columns) * (_CELL + _GAP)
        top = _HEAD + (count // columns) * (_CELL + _CAPTION + _GAP)
        scale = _CELL / max(panel.columns, panel.rows)
        picture = panel_image(panel, scale)
        sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (_CELL - picture.height) // 2))
        _line(draw, panel.caption, (left, top + _CELL + 3), _CELL, 15, "#c8d0d8")
    draw.rectangle([0, height - _FOOT, width, height], fill="#fff4d6")
    draw.text((width / 2, height - _FOOT / 2), RESEARCH_USE_NOTICE, fill="#5c3d00", font=font(20), anchor="mm")
    return np.asarray(sheet, dtype=np.uint8)


def _chosen(parts: ReportParts) -> list[Panel]:
    section = parts.sections[0]
    tightest = [panel for panel in section.across if panel.is_highlighted][:1]
    chosen = [*section.lengthwise, *tightest, *parts.views[:1]]
    return chosen or [panel for _, row in section.orthogonal for panel in row][:4]


def _line(draw, text: str, place: tuple[float, float], width: float, size: int, colour: str) -> None:  # type: ignore[no-untyped-def]
    """One line of text, made smaller until it fits."""
    while size > 9 and draw.textlength(text, font=font(size)) > width - 2 * _GAP:
        size -= 1
    draw.text(place, text, fill=colour, font=font(size))
