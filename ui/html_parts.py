"""What is known, as HTML: the study, its structures, the result of a 3D run, the paths that were found."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

from medsam_planner.drawing.formatting import percent, slice_number
from medsam_planner.geometry import axis_letters, spacing_mm
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.mask_flaws import find_flaws
from medsam_planner.planning.search import PlanResult
from medsam_planner.provenance import PropagationTrace, SliceRole, StopReason
from medsam_planner.report.assessment import Assessment
from medsam_planner.report.verdict import crossed
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.structure import Structure
from medsam_planner.volumes import StudyVolume
from prompts.masks import mask_box
from ui.wording import (
    NO_RESULT,
    NO_STRUCTURE,
    NO_STUDY,
    NO_WAY,
    OUTDATED,
    ROLE_LABELS,
    ROOM_IS,
    WHY_MARGINS,
    side_name,
    sources,
)
from xai.surface import surface_voxels

__all__ = ["links_html", "margins_html", "plan_html", "result_html", "structures_html", "study_html", "trace_sentences"]


def study_html(study: StudyVolume | None) -> str:
    """What is open."""
    if study is None or study.source is None:
        return f"<p>{NO_STUDY}</p>"
    source = study.source
    size = " × ".join(str(count) for count in study.spatial_shape)
    spacing = " × ".join(f"{step:.2f}" for step in spacing_mm(study.affine))
    guess = " (inferred from the values)" if source.modality_is_inferred else ""
    rows = [
        ("Study", source.path.name),
        ("Series", source.series_description),
        ("Modality", f"{source.modality}{guess}"),
        ("Voxels", f"{size}, {spacing} mm"),
        ("Note", " ".join(source.notes)),
    ]
    return _table((name, html.escape(value)) for name, value in rows if value)


def structures_html(structures: Sequence[Structure], active: str) -> str:
    """One line a structure: its colour, name, volume and role."""
    lines = []
    for structure in structures:
        volume = "not run" if structure.volume_ml is None else f"{structure.volume_ml:.2f} ml"
        stale = " (prompts changed since)" if structure.is_stale else ""
        strong = ' class="mv-active"' if structure.name == active else ""
        lines.append(
            f'<tr{strong}><td><span class="mv-swatch" style="background:{structure.colour}"></span>'
            f"{html.escape(structure.name)}</td><td>{volume}{stale}</td><td>{ROLE_LABELS[structure.role]}</td></tr>"
        )
    head = "<tr><th>Structure</th><th>Volume</th><th>In the plan</th></tr>"
    return f'<table class="mv-table">{head}{"".join(lines)}</table>' if lines else f"<p>{NO_STRUCTURE}</p>"


def result_html(structure: Structure | None) -> str:
    """What came out of the 3D run, in figures and plain words."""
    if structure is None or structure.result is None:
        return f"<p>{NO_RESULT}</p>"
    result = structure.result
    rows = [("Volume", f"{structure.volume_ml:.2f} ml")]
    if not structure.volume_ml:
        return (
            f"<p>The model found nothing where ‘{html.escape(structure.name)}’ was prompted. "
            "Draw a box on its middle slice.</p>"
        )
    rows.extend(_spread_rows(result))
    if result.faithfulness.get("overlap"):
        overlap = result.faithfulness["overlap"]
        rows.append(
            (
                "Saliency",
                f"{100 * overlap['energy_inside']:.0f} % of the evidence lies inside the mask; "
                f"by chance it would be {100 * overlap['chance']:.0f} %",
            )
        )
    rows.append(
        ("Slices", " ".join(trace_sentences(result.trace, axis_letters(result.mask.affine)[result.trace.axis])))
    )
    return _table((name, html.escape(value)) for name, value in rows)


def _spread_rows(result: SegmentationResult) -> list[tuple[str, str]]:
    if result.boundary_spread_mm is None:
        return []
    inside = np.asarray(result.mask.array, dtype=bool)
    box = mask_box(inside, grown=1)
    spread = result.boundary_spread_mm.array[box][surface_voxels(inside[box])]
    if not spread.size:
        return []
    middle, widest = np.percentile(spread, (50, 95))
    flaws = find_flaws(
        result.mask,
        boundary_spread_mm=result.boundary_spread_mm,
        prompted_slices=result.trace.anchors(),
        axis=result.trace.axis,
    )
    if flaws:
        told = f"How unsure is not known: the mask {', '.join(flaw.text for flaw in flaws)}."
    else:
        told = f"Unsure by up to {_mm(middle)} on one half of it, by up to {_mm(widest)} on 95 %."
    runs = f"{result.provenance.samples} runs: {sources(result.provenance.uncertainty)}."
    return [("Surface", f"{told} {runs}")]


def _mm(length: float) -> str:
    return "0.1 mm" if length < 0.1 else f"{length:.1f} mm"


def trace_sentences(trace: PropagationTrace, letters: tuple[str, str]) -> list[str]:
    """How far the mask travelled from the prompted slices, and why it stopped at each end.

    Parameters
    ----------
    trace : PropagationTrace
    letters : (str, str)
        Patient direction at the low and at the high end of the trace's axis.
    """
    anchors = trace.anchors()
    if not anchors:
        return []
    filled = [record for record in trace.records if record.role is not SliceRole.REFUSED and record.area_mm2 > 0]
    prompted = ", ".join(str(slice_number(index)) for index in anchors)
    sentences = [f"{len({record.index for record in filled})} slices, grown from slice {prompted}."]
    for record in trace.records:
        if record.stop in (None, StopReason.MET, StopReason.NOT_HERE):
            continue
        if record.index <= anchors[0]:
            where = f"Towards the {side_name(letters[0])}"
        elif record.index >= anchors[-1]:
            where = f"Towards the {side_name(letters[1])}"
        else:
            where = "Between two prompted slices"
        sentences.append(f"{where} it stopped at slice {slice_number(record.index)}: {record.stop.value}.")
    return sentences


def plan_html(plan: PlanResult, chosen: int, *, is_outdated: bool) -> str:
    """The alternatives as a table, or what to relax."""
    warning = f'<p class="mv-warning">{OUTDATED}</p>' if is_outdated else ""
    if not plan.feasible:
        listed = "".join(f"<li>{html.escape(relaxation.text)}</li>" for relaxation in plan.relaxations)
        reasons = "".join(f"<p>{html.escape(reason)}</p>" for reason in plan.reasons)
        advice = f"<p>Any one of these makes a path possible:</p><ul>{listed}</ul>" if listed else f"<p>{NO_WAY}</p>"
        return f'{warning}{reasons}<p class="mv-verdict">No path keeps every limit.</p>{advice}'
    head = "".join(f"<th>{name}</th>" for name in ("", "Room", "Tightest at", "Hit", "Length", "Angle", "Goes through"))
    rows = []
    for number, one in enumerate(plan.alternatives):
        low, high = one.hit_probability_interval
        cells = (
            str(number + 1),
            f"{one.certified_clearance_mm:.1f} mm",
            html.escape(one.limiting_structure or "–"),
            f"{percent(one.hit_probability)} <small>({percent(low)}–{percent(high)})</small>",
            f"{one.length_mm:.0f} mm",
            f"{one.entry_angle_deg:.0f}°",
            html.escape(crossed(one)),
        )
        marked = ' class="mv-active"' if number == chosen else ""
        rows.append(f"<tr{marked}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    reason = html.escape(plan.alternatives[chosen].reason)
    return (
        f'{warning}<table class="mv-table" id="alternatives"><tr>{head}</tr>{"".join(rows)}</table><p>{reason}</p>'
        f'<p class="mv-hint">{ROOM_IS}</p>'
    )


def cautions_html(assessment: Assessment | None) -> str:
    """The verdict with what was checked, and what must be known beside it."""
    if assessment is None:
        return ""
    listed = "".join(f"<li>{html.escape(caution.text)}</li>" for caution in assessment.cautions)
    verdict = assessment.verdict
    head = f'<p class="mv-verdict">{html.escape(verdict.headline)}</p>'
    told = f'<ul class="mv-warning mv-notes">{listed}</ul>' if listed else ""
    return f'<div id="cautions" class="mv-{verdict.kind}">{head}{told}</div>'


def margins_html(statements: Sequence[MarginStatement]) -> str:
    """Why each margin is as wide as it is; what a promise does not hold for is a warning."""
    lines = []
    for one in statements:
        warning = ' class="mv-warning"' if one.voids else ""
        lines.append(f"<p{warning}>{html.escape(one.explanation)}</p>")
    return f'<div id="margins"><p class="mv-hint">{WHY_MARGINS}</p>{"".join(lines)}</div>' if lines else ""


def links_html(token: str, *, has_report: bool, has_archive: bool) -> str:
    """Where the report and the download lie."""
    links = []
    if has_report:
        links.append(f'<a href="files/{token}/report.html" target="_blank" rel="noopener">Open the report</a>')
    if has_archive:
        links.append(f'<a href="files/{token}/run.zip" download>Download everything (zip)</a>')
    return f'<div class="mv-links">{"".join(links)}</div>' if links else ""


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<table class="mv-table mv-facts">{lines}</table>'
