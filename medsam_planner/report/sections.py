"""What the page says about each tool: pictures, the chart of its clearance, its tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medsam_planner.drawing.panel import Panel
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.progress import Progress
from medsam_planner.report.assessment import assess_tool
from medsam_planner.report.model import PlannedTool, PlanReport
from medsam_planner.report.plan_scene import Scene, build_scene
from medsam_planner.report.planes import across_panels, lengthwise_panels, orthogonal_panels
from medsam_planner.report.profile_charts import ClearanceCurve, clearance_chart, value_chart
from medsam_planner.report.table_rows import StructureRow, structure_rows
from medsam_planner.report.verdict import Verdict
from medsam_planner.report.why_picture import WhyPicture, why_picture

__all__ = ["ToolSection", "tool_sections"]


@dataclass(frozen=True, slots=True, eq=False)
class ToolSection:
    """One tool on the page."""

    planned: PlannedTool
    scene: Scene
    verdict: Verdict
    orthogonal: list[tuple[str, list[Panel]]]
    lengthwise: list[Panel]
    across: list[Panel]
    clearance_chart: str | None
    value_chart: str | None
    structures: list[StructureRow]
    why: WhyPicture | None

    @property
    def name(self) -> str:
        """Of the tool."""
        return self.planned.name

    @property
    def best(self) -> Alternative | None:
        """What is planned; None without a plan."""
        return self.planned.plan.alternatives[0] if self.planned.plan.alternatives else None


def tool_sections(report: PlanReport, progress: Progress | None) -> list[ToolSection]:
    """One section for each tool, in the report's order."""
    return [_section(report.seen_from(tool), tool, progress) for tool in report.tools]


def _section(report: PlanReport, tool: PlannedTool, progress: Progress | None) -> ToolSection:
    scene = build_scene(report)
    why = report.why_here.get(tool.name)
    return ToolSection(
        planned=tool,
        scene=scene,
        verdict=assess_tool(report).verdict,
        orthogonal=orthogonal_panels(scene, progress),
        lengthwise=lengthwise_panels(scene),
        across=across_panels(scene, progress),
        clearance_chart=_clearance(report, scene),
        value_chart=_values(report),
        structures=structure_rows(report, scene),
        why=None if why is None else why_picture(why, report.study.affine),
    )


def _values(report: PlanReport) -> str | None:
    if report.surroundings is None or not report.plan.alternatives:
        return None
    best = report.plan.alternatives[0]
    if best.value_profile is None:
        return None
    bone_above = report.surroundings.bone_above_hu if report.surroundings.has_hounsfield_units else None
    return value_chart(best.value_profile, best.crossings or (), bone_above=bone_above)


def _clearance(report: PlanReport, scene: Scene) -> str | None:
    if scene.path is None or not report.plan.alternatives:
        return None
    best = report.plan.alternatives[0]
    profile = best.clearance_profile
    colour_by_name = {style.name: style.colour for style in scene.structures}
    curves = [
        ClearanceCurve(name, colour_by_name.get(name, "#808080"), profile.distance_mm, clearance)
        for name, clearance in profile.clearance_mm_by_structure.items()
        if np.isfinite(clearance).any()
    ]
    if not curves:
        return None
    limiting = scene.path.limiting_lps_mm
    return clearance_chart(
        curves,
        certified_mm=best.certified_clearance_mm,
        limiting_depth_mm=None if limiting is None else scene.path.depth_mm(limiting),
        limiting=best.limiting_structure,
    )
