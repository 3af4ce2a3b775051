"""Write one plan as one HTML file that needs nothing else: no network, no scripts, no other files."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE, flat_rows, number, percent, place, plain
from medsam_planner.drawing.pictures import colour_bar_uri
from medsam_planner.geometry import axis_letters
from medsam_planner.io.files import write_whole
from medsam_planner.io.patient_identity import identity_rows
from medsam_planner.planning.structures import StructureRole
from medsam_planner.progress import Progress, track
from medsam_planner.report.assessment import assess
from medsam_planner.report.decision import decision_html
from medsam_planner.report.faithfulness import faithfulness_rows
from medsam_planner.report.model import PlanReport
from medsam_planner.report.parts import ReportParts, report_parts
from medsam_planner.report.profile_charts import trace_chart
from medsam_planner.report.table_rows import prompt_rows, stop_rows, trace_rows
from medsam_planner.report.verdict import crossed
from medsam_planner.report.views3d import risk_scale, spread_scale
from medsam_planner.report.widened_surface import WIDENED_TRIANGLES

__all__ = ["render_html", "write_report"]


def write_report(
    report: PlanReport, path: FilePath | str, progress: Progress | None = None, *, parts: ReportParts | None = None
) -> FilePath:
    """Write the report of one plan.

    Parameters
    ----------
    report : PlanReport
        What to report.
    path : Path
        The HTML file; its folder is made when absent. An existing file is replaced in one step, never left half
        written.
    progress : Progress, optional
        Told of each stage.
    parts : ReportParts, optional
        Pictures of this report that were drawn before.

    Returns
    -------
    Path
        The file written. The same report gives the same bytes.
    """
    return write_whole(path, render_html(report, progress, parts=parts))


def render_html(report: PlanReport, progress: Progress | None = None, *, parts: ReportParts | None = None) -> str:
    """The report as one HTML text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("medsam_planner.report", ""), jinja2.PackageLoader("medsam_planner.drawing", "")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        crossed=crossed, number=number, percent=percent, place=place, plain=plain, colour_bar=colour_bar_uri
    )
    style = (FilePath(__file__).parents[1] / "drawing" / "page.css").read_text(encoding="utf-8")
    return environment.get_template("plan.html").render(
        **_context(report, parts or report_parts(report, progress), progress), style=style
    )


def _context(report: PlanReport, parts: ReportParts, progress: Progress | None) -> dict[str, Any]:
    sections = parts.sections
    assessment = assess(report)
    scene = sections[0].scene
    affine = report.study.affine
    letters = axis_letters(affine)
    traces = []
    for name, result in track(list(report.segmentations.items()), "propagation charts", progress):
        if result.trace.records:
            chart = trace_chart(result.trace, letters[result.trace.axis])
            traces.append((name, chart, stop_rows(result.trace), trace_rows(result.trace)))
    return {
        "report": report,
        "notice": RESEARCH_USE_NOTICE,
        "verdict": assessment.verdict,
        "decision": decision_html(report.decision),
        "cautions": [caution.text for caution in assessment.cautions],
        "sections": sections,
        "is_several": len(sections) > 1,
        "scene": scene,
        "views": parts.views,
        "missing_views": parts.missing,
        "identity": identity_rows(report.study),
        "spread_scale": spread_scale(report),
        "risk_scale": risk_scale(report),
        "widened_triangles": f"{WIDENED_TRIANGLES:,}",
        "prompts": [
            (name, prompt_rows(log, affine, tuple(report.study.spatial_shape))) for name, log in report.prompts.items()
        ],
        "traces": traces,
        "faithfulness": [
            (name, faithfulness_rows(result.faithfulness))
            for name, result in report.segmentations.items()
            if result.faithfulness
        ],
        "provenance": flat_rows(report.provenance.as_json()) if report.provenance else [],
        "structure_provenance": [
            (name, flat_rows(result.provenance.as_json())) for name, result in report.segmentations.items()
        ],
        "has_corridor": StructureRole.INSIDE in report.roles.values(),
        "study_rows": parts.study_rows,
    }
