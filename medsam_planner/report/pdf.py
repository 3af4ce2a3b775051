"""The report of one plan as a PDF, which every PACS can show: patient and notice on every page."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE, number, percent, place
from medsam_planner.drawing.panel import Panel
from medsam_planner.drawing.raster import panel_image
from medsam_planner.io.patient_identity import identity_rows
from medsam_planner.report.assessment import assess
from medsam_planner.report.decision import NOT_DECIDED
from medsam_planner.report.model import PlanReport
from medsam_planner.report.parts import ReportParts
from medsam_planner.report.sections import ToolSection
from medsam_planner.report.verdict import crossed

if TYPE_CHECKING:
    from medsam_planner.planning.alternatives import Alternative

__all__ = ["render_pdf"]

_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_MARGIN_MM = 15.0
_FRAME_PADDING = 6.0
"""Points that reportlab leaves on each side of a page's frame."""
_INK, _MUTED, _RULE = "#1f2933", "#52606d", "#d9e2ec"
_VERDICT_COLOURS = {"feasible": "#1b7f4b", "infeasible": "#b3261e"}
_TIGHT = "#8a5a00"


def render_pdf(report: PlanReport, parts: ReportParts) -> bytes:
    """The report as a PDF of A4 pages.

    Parameters
    ----------
    report : PlanReport
    parts : ReportParts
        Pictures and tables, from :func:`medsam_planner.report.parts.report_parts` of the same report.

    Returns
    -------
    bytes
        The same report gives the same bytes.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    _register_fonts()
    identity = "   ".join(f"{name}: {value}" for name, value in identity_rows(report.study))
    stream = io.BytesIO()
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        leftMargin=_MARGIN_MM * mm,
        rightMargin=_MARGIN_MM * mm,
        topMargin=24 * mm,
        bottomMargin=20 * mm,
        title=report.title,
        author="MedSAM Planner",
        subject=RESEARCH_USE_NOTICE,
        invariant=1,
    )

    def page(canvas: Any, template: Any) -> None:
        _frame(canvas, template, report.title, identity)

    document.build(list(_story(report, parts)), onFirstPage=page, onLaterPages=page)
    return stream.getvalue()


def _register_fonts() -> None:
    """DejaVu, which comes with Matplotlib: reportlab's own fonts have no letters beyond Latin 1."""
    import matplotlib
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    if _FONT in pdfmetrics.getRegisteredFontNames():
        return
    folder = f"{matplotlib.get_data_path()}/fonts/ttf"
    for name in (_FONT, _BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{folder}/{name}.ttf"))
    pdfmetrics.registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)


def _frame(canvas: Any, template: Any, title: str, identity: str) -> None:
    """What stands on every page: whom it is of, and what it may not be used for."""
    from reportlab.lib.units import mm

    width, height = template.pagesize
    left, right = _MARGIN_MM * mm, width - _MARGIN_MM * mm
    canvas.saveState()
    canvas.setFillColor(_INK)
    top = height - 11 * mm
    if identity:
        canvas.setFont(_BOLD, _fitting(canvas, identity, right - left, 9.0))
        canvas.drawString(left, top, identity)
    canvas.setFillColor(_MUTED)
    canvas.setFont(_FONT, _fitting(canvas, title, right - left, 8.0, _FONT))
    canvas.drawString(left, top - 5 * mm, title)
    canvas.setStrokeColor(_RULE)
    canvas.line(left, top - 7 * mm, right, top - 7 * mm)
    canvas.setFillColor("#fff4d6")
    canvas.rect(left, 8 * mm, right - left, 7 * mm, stroke=0, fill=1)
    canvas.setFillColor("#5c3d00")
    canvas.setFont(_BOLD, 9)
    canvas.drawString(left + 2 * mm, 10.5 * mm, RESEARCH_USE_NOTICE)
    canvas.setFont(_FONT, 8)
    canvas.drawRightString(right - 2 * mm, 10.5 * mm, f"page {template.page}")
    canvas.restoreState()


def _fitting(canvas: Any, text: str, width: float, size: float, name: str = _BOLD) -> float:
    """The size at which a line fits the page."""
    needed = canvas.stringWidth(text, name, size)
    return size if needed <= width else max(size * width / needed, 4.0)


def _story(report: PlanReport, parts: ReportParts) -> Iterator[Any]:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph, Spacer

    body = ParagraphStyle("body", fontName=_FONT, fontSize=9, leading=12.5, textColor=_INK, spaceAfter=3)
    heading = ParagraphStyle("h2", parent=body, fontName=_BOLD, fontSize=12, leading=16, spaceBefore=8, keepWithNext=1)
    small = ParagraphStyle("small", parent=body, fontSize=8, leading=10.5, textColor=_MUTED)
    assessment = assess(report)
    found = assessment.verdict
    headline = ParagraphStyle(
        "verdict", parent=heading, fontSize=14, leading=18, textColor=_VERDICT_COLOURS.get(found.kind, _TIGHT)
    )
    yield Paragraph(escape(report.title), ParagraphStyle("h1", parent=heading, fontSize=15, leading=19))
    yield Paragraph(escape(" · ".join(f"{name}: {value}" for name, value in parts.study_rows)), small)
    decided = NOT_DECIDED if report.decision is None else report.decision.text
    yield Paragraph(escape(decided), ParagraphStyle("decision", parent=body, fontName=_BOLD))
    yield Paragraph(escape(found.headline), headline)
    for sentence in found.sentences:
        yield Paragraph(escape(sentence), body)
    for caution in assessment.cautions:
        yield Paragraph(f"• {escape(caution.text)}", body)
    for section in parts.sections:
        name = f" of {section.name}" if len(parts.sections) > 1 else ""
        yield Paragraph(f"Paths{escape(name)}", heading)
        yield _table(_path_rows(section), small, [0.06, 0.19, 0.19, 0.09, 0.08, 0.12, 0.15, 0.12])
        yield Paragraph(f"Structures{escape(name)}", heading)
        yield _table(_structure_rows(section), small, [0.3, 0.1, 0.12, 0.18, 0.15, 0.15])
        for label, panels in _pictures(section):
            yield from _row_of_pictures(label, panels, heading, small)
    if parts.views:
        yield from _row_of_pictures("3D", list(parts.views)[:4], heading, small)
    if report.margin_statements:
        yield Paragraph("Margins", heading)
        for statement in report.margin_statements:
            yield Paragraph(escape(statement.explanation), body)
    yield Spacer(1, 6)
    yield Paragraph("Positions are in millimetres in the patient frame of DICOM.", small)


def _pictures(section: ToolSection) -> list[tuple[str, list[Panel]]]:
    rows = [*section.orthogonal]
    if section.lengthwise:
        rows = [("Along the tool", list(section.lengthwise)), *rows, ("Across the tool", list(section.across))]
    return rows


def _path_rows(section: ToolSection) -> list[list[str]]:
    rows = [["", "entry", "target", "length, mm", "angle", "certified clearance, mm", "limited by", "hit probability"]]
    for count, path in enumerate(section.planned.plan.alternatives, start=1):
        rows.append(
            [
                str(count),
                place(path.entry_lps_mm),
                place(path.target_lps_mm),
                number(path.length_mm),
                f"{number(path.entry_angle_deg, 0)}°",
                number(path.certified_clearance_mm),
                "; ".join(one for one in (path.limiting_structure or "–", _through(path)) if one),
                percent(path.hit_probability),
            ]
        )
    return rows if len(rows) > 1 else [["No path satisfies every constraint."]]


def _through(path: Alternative) -> str:
    return "" if path.crossings is None else f"goes through {crossed(path)}"


def _structure_rows(section: ToolSection) -> list[list[str]]:
    rows = [["structure", "role", "volume, mL", "margin, mm", "certified clearance, mm", "hit probability"]]
    for one in section.structures:
        name = f"{one.name} (the mask {one.flaws})" if one.flaws else one.name
        rows.append([name, one.role, one.volume_ml, one.margin_mm, one.clearance_mm, one.hit])
    return rows


def _table(rows: Sequence[Sequence[str]], style: Any, shares: Sequence[float]) -> Any:
    from reportlab.platypus import Paragraph, Table, TableStyle

    cells = [[Paragraph(escape(text), style) for text in row] for row in rows]
    widths = [share * _width() for share in shares][: len(rows[0])] if len(rows[0]) > 1 else [_width()]
    table = Table(cells, colWidths=widths, repeatRows=1, hAlign="LEFT")
    table.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.4, _RULE),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 0),
                ("RIGHTPADDING", (0, 0), (-1, -1), 5),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ]
        )
    )
    return table


def _width() -> float:
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.units import mm

    return float(A4[0] - 2 * _MARGIN_MM * mm) - 2 * _FRAME_PADDING


def _row_of_pictures(label: str, panels: Sequence[Panel], heading: Any, small: Any) -> Iterator[Any]:
    """Pictures side by side, at most four in a row, with their captions."""
    from reportlab.platypus import Image, KeepTogether, Paragraph, Table, TableStyle

    for first in range(0, len(panels), 4):
        row = panels[first : first + 4]
        width = _width() / max(len(row), 2)
        cells = [
            [
                Image(io.BytesIO(_jpeg(panel)), width=width - 6, height=(width - 6) * panel.rows / panel.columns),
                Paragraph(escape(panel.caption), small),
            ]
            for panel in row
        ]
        table = Table([cells], colWidths=[width] * len(row), hAlign="LEFT")
        table.setStyle(
            TableStyle(
                [
                    ("LEFTPADDING", (0, 0), (-1, -1), 0),
                    ("RIGHTPADDING", (0, 0), (-1, -1), 6),
                    ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ]
            )
        )
        yield KeepTogether([*([] if first else [Paragraph(escape(label), heading)]), table])


def _jpeg(panel: Panel) -> bytes:
    stream = io.BytesIO()
    panel_image(panel, 1.5).save(stream, format="JPEG", quality=88)
    return stream.getvalue()
