"""Pictures and tables of one report, made once for the page, the PDF and the key image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from medsam_planner.drawing.panel import Panel
from medsam_planner.geometry import axis_letters, spacing_mm
from medsam_planner.io.fault_log import attempted
from medsam_planner.progress import Progress
from medsam_planner.report.model import PlanReport
from medsam_planner.report.sections import ToolSection, tool_sections
from medsam_planner.report.views3d import views_3d

__all__ = ["ReportParts", "report_parts"]


@dataclass(frozen=True, slots=True, eq=False)
class ReportParts:
    """What takes time to draw, and what every form of the report says of the study."""

    sections: Sequence[ToolSection]
    """One for each tool."""
    views: Sequence[Panel]
    """In three dimensions."""
    missing: Sequence[str]
    """Why views are missing."""
    study_rows: Sequence[tuple[str, str]]
    """Modality, series, grid and voxel."""


def report_parts(report: PlanReport, progress: Progress | None = None) -> ReportParts:
    """Draw the pictures of a report."""
    sections = tool_sections(report, progress)
    missing: list[str] = []
    views = attempted(missing, "The 3D views", partial(views_3d, report, sections[0].scene, progress)) or ()
    affine = report.study.affine
    rows = [
        *_source_rows(report),
        ("grid", " × ".join(str(count) for count in report.study.spatial_shape) + " voxels"),
        ("voxel", " × ".join(f"{step:.2f}" for step in spacing_mm(affine)) + " mm"),
        ("axes run", ", ".join(f"{low} → {high}" for low, high in axis_letters(affine))),
    ]
    return ReportParts(sections, tuple(views), tuple(missing), rows)


def _source_rows(report: PlanReport) -> list[tuple[str, str]]:
    source = report.study.source
    if source is None:
        return []
    facts = [("modality", source.modality + (" (inferred)" if source.modality_is_inferred else ""))]
    if source.series_description:
        facts.append(("series", source.series_description))
    return facts
