"""One self-contained HTML file per plan."""

from __future__ import annotations

from medsam_planner.report.html import write_report
from medsam_planner.report.model import RISK_NAME, PlannedTool, PlanReport

__all__ = ["RISK_NAME", "PlanReport", "PlannedTool", "write_report"]
