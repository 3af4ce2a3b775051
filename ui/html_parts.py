"""HTML of the open study, its structures, the 3D result, and the plan."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

from medsam_planner.drawing.formatting import percent, slice_number
from medsam_planner.geometry import axis_letters, spacing_mm
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.search import PlanResult
from medsam_planner.provenance import PropagationTrace, SliceRole, StopReason, made_by_hand
from medsam_planner.report.assessment import Assessment
from medsam_planner.report.decision import Decision
from medsam_planner.report.verdict import crossed
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.core.packing import ARCHIVE
from medsam_planner.service.known_spread import why_unknown
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Structure
from medsam_planner.volumes import StudyVolume
from prompts.masks import mask_box
from ui.wording import (
    CLEARANCE_IS,
    NO_REPORT,
    NO_RESULT,
    NO_STUDY,
    NO_WAY,
    OUTDATED,
    WHY_MARGINS,
    WRITING_REPORT,
    notes_html,
    side_name,
    sources,
)
from xai.surface import surface_voxels

__all__ = [
    "decision_banner",
    "download_html",
    "margins_html",
    "plan_html",
    "report_html",
    "result_html",
    "study_html",
    "trace_sentences",
]


def study_html(study: StudyVolume | None) -> str:
    """Table of the open study."""
    if study is None or study.source is None:
        return f"<p>{NO_STUDY}</p>"
    source = study.source
    size = " × ".join(str(count) for count in study.spatial_shape)
    spacing = " × ".join(f"{step:.2f}" for step in spacing_mm(study.affine))
    guess = " (inferred from the values)" if source.modality_is_inferred else ""
    rows = [
        ("Study", "" if source.is_identified is False else source.path.name),
        ("Series", source.series_description),
        ("Modality", f"{source.modality}{guess}"),
        ("Voxels", f"{size}, {spacing} mm"),
        ("Note", " ".join(source.notes)),
    ]
    return _table((name, html.escape(value)) for name, value in rows if value)


def result_html(structure: Structure | None) -> str:
    """Metrics of the 3D result, and where the propagation ended."""
    result = None if structure is None else structure.result
    if structure is None or result is None:
        return f"<p>{NO_RESULT}</p>"
    rows = [("Volume", f"{structure.volume_ml:.2f} ml")]
    if not structure.volume_ml:
        return (
            f"<p>The model found nothing where ‘{html.escape(structure.name)}’ was prompted. "
            "Draw a box on its middle slice.</p>"
        )
    rows.extend(_spread_rows(result))
    if by_hand := made_by_hand(structure.steps.log(), result.trace):
        rows.append(("By hand", f"The mask was {by_hand}. A margin’s guarantee does not cover it."))
    if result.faithfulness.get("overlap"):
        overlap = result.faithfulness["overlap"]
        rows.append(
            (
                "Saliency",
                f"{100 * overlap['energy_inside']:.0f} % of the saliency lies inside the mask "
                f"({100 * overlap['chance']:.0f} % expected by chance)",
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
    unknown = why_unknown(result)
    if unknown is not None:
        text = f"Unknown: the mask {unknown}."
    else:
        text = f"Boundary spread up to {_mm(middle)} on half of the surface, up to {_mm(widest)} on 95 % of it."
    passes = f"{result.provenance.samples} stochastic passes: {sources(result.provenance.uncertainty)}."
    return [("Uncertainty", f"{text} {passes}")]


def _mm(length: float) -> str:
    return "0.1 mm" if length < 0.1 else f"{length:.1f} mm"


def trace_sentences(trace: PropagationTrace, letters: tuple[str, str]) -> list[str]:
    """How far the mask was propagated from the prompted slices, and why it stopped at each end.

    Parameters
    ----------
    trace : PropagationTrace
    letters : (str, str)
        Patient direction at the low and at the high end of the trace's axis.
    """
    anchors = trace.anchors()
    if not anchors:
        return []
    filled = [record for record in trace.records if record.role is not SliceRole.STOPPED and record.area_mm2 > 0]
    prompted = [str(slice_number(record.index)) for record in trace.records if record.role is SliceRole.ANCHOR]
    origin = f", propagated from slice {', '.join(prompted)}" if prompted else ""
    sentences = [f"{len({record.index for record in filled})} slices{origin}."]
    if given := sum(record.role is SliceRole.GIVEN for record in trace.records):
        sentences.append(f"{given} with a mask by hand, which all stochastic passes keep.")
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


_COLUMNS = ("", "Clearance", "Closest to", "Hit probability", "Length", "Entry angle", "Passes through")


def plan_html(plan: PlanResult, chosen: int, *, is_outdated: bool) -> str:
    """Table of the alternatives, or which limits to relax."""
    warning = f'<p class="mv-warning">{OUTDATED}</p>' if is_outdated else ""
    if not plan.feasible:
        listed = "".join(f"<li>{html.escape(relaxation.text)}</li>" for relaxation in plan.relaxations)
        reasons = "".join(f"<p>{html.escape(reason)}</p>" for reason in plan.reasons)
        relax = f"<p>Each of these changes alone makes a path possible:</p><ul>{listed}</ul>"
        advice = relax if listed else f"<p>{NO_WAY}</p>"
        return f'{warning}{reasons}<p class="mv-verdict">No path satisfies all limits.</p>{advice}'
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = []
    for number, one in enumerate(plan.alternatives):
        low, high = one.hit_probability_interval
        cells = (
            f"{number + 1}{' by hand' if one.is_by_hand else ''}",
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
        f'<p class="mv-hint">{CLEARANCE_IS}</p>'
    )


def decision_banner(decision: Decision | None) -> str:
    """What was decided on the plan, or why an acceptance no longer holds; empty where nothing was."""
    if decision is None:
        return ""
    return f'<div class="rv-decision rv-{decision.kind.value}" role="status">{html.escape(decision.text)}</div>'


def cautions_html(assessment: Assessment | None) -> str:
    """Verdict of the plan, with its cautions."""
    if assessment is None:
        return ""
    listed = "".join(f"<li>{html.escape(caution.text)}</li>" for caution in assessment.cautions)
    verdict = assessment.verdict
    head = f'<p class="mv-verdict">{html.escape(verdict.headline)}</p>'
    cautions = f'<ul class="mv-warning mv-notes">{listed}</ul>' if listed else ""
    return f'<div id="cautions" class="mv-{verdict.kind}">{head}{cautions}</div>'


def margins_html(statements: Sequence[MarginStatement]) -> str:
    """Why each margin is as wide as it is; a margin without a guarantee is a warning."""
    lines = []
    for one in statements:
        warning = ' class="mv-warning"' if one.voids else ""
        lines.append(f"<p{warning}>{html.escape(one.explanation)}</p>")
    return f'<div id="margins"><p class="mv-hint">{WHY_MARGINS}</p>{"".join(lines)}</div>' if lines else ""


def report_html(now: Snapshot, token: str) -> str:
    """Link to the report, and whether one is being written."""
    link = f'<a href="files/{token}/report.html" target="_blank" rel="noopener">Open the report</a>'
    told = (
        WRITING_REPORT if now.is_being_written else NO_REPORT.format(now.report_problem) if now.report_problem else ""
    )
    words = f'<span class="mv-hint">{html.escape(told)}</span>' if told else ""
    return f'<div class="mv-links">{link if now.has_report else ""} {words}</div>' if now.has_report or told else ""


def download_html(token: str, notes: Iterable[str]) -> str:
    """Link to the archive, and what is to be said of it."""
    link = f'<a href="files/{token}/{ARCHIVE}" download>Download (zip)</a>'
    return f'<div class="mv-links">{link}</div>{notes_html(notes)}'


def _table(rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<table class="mv-table mv-study">{lines}</table>'
