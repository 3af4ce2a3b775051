"""What the review panel and the handles on the slices show, as ``viewer/review.js`` reads it."""

from __future__ import annotations

import math
from typing import Any

from medsam_planner.planning.alternatives import Alternative
from medsam_planner.report.decision import NOT_DECIDED
from medsam_planner.report.verdict import crossed
from medsam_planner.service.core.actors import Right
from medsam_planner.service.redaction import without_folders
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Role
from medsam_planner.service.workbench import Workbench
from ui import wording

__all__ = ["SLIDERS", "review_scene"]

SLIDERS = {
    "tool_radius_mm": (0.2, 6.0, 0.05),
    "base_margin_mm": (0.0, 10.0, 0.25),
    "entry_error_mm": (0.0, 6.0, 0.1),
    "target_error_mm": (0.0, 6.0, 0.1),
    "alpha": (0.01, 0.5, 0.01),
}
"""Least and largest value and step of each slider, by field of the plan draft."""


def review_scene(workbench: Workbench) -> dict[str, Any]:
    """The review as a JSON document; positions in LPS mm.

    Parameters
    ----------
    workbench : Workbench
        With an open study.

    Returns
    -------
    dict
        ``lines`` are the alternatives of the tool that is shown, ``chosen`` the number of the one that is;
        ``draft_line`` goes from the entry to the target that were set, or is None.
    """
    now, draft = workbench.snapshot, workbench.draft
    plan = now.plan
    set_line = None
    if draft.entry_lps_mm is not None and draft.target_lps_mm is not None:
        set_line = {"entry": list(draft.entry_lps_mm), "target": list(draft.target_lps_mm)}
    return {
        "plan": now.plan_job,
        "tool": now.tool,
        "tools": [] if now.read is None else list(now.read.tools),
        "planned_tools": [one.name for one in draft.other_tools],
        "lines": [] if plan is None else [_line(one) for one in plan.alternatives],
        "chosen": now.chosen,
        "draft_line": set_line,
        "radius_mm": draft.tool_radius_mm,
        "allowance_mm": [draft.tool_radius_mm + draft.entry_error_mm, draft.tool_radius_mm + draft.target_error_mm],
        "colours": {one.name: one.colour for one in now.structures.values()},
        "is_calibrated": draft.calibration is not None,
        "sliders": [
            {"name": name, "label": wording.DRAFT_LABELS[name], "value": getattr(draft, name), "range": list(limits)}
            for name, limits in SLIDERS.items()
        ],
        "can_undo": now.review.can_undo,
        "can_redo": now.review.can_redo,
        "asks_name": not workbench.own.actor.has_account,
        "may_decide": workbench.work is None or _may_decide(workbench),
        "is_outdated": now.is_plan_outdated,
        "report": _report(workbench),
        "decision": _decision(now),
        "avoided": [one.name for one in now.structures.values() if one.role is not Role.IGNORE],
    }


def _may_decide(workbench: Workbench) -> bool:
    work = workbench.require_work()
    right = workbench.service.rights.of(workbench.own.actor, work.study)
    return right is not None and right >= Right.PLAN


def _report(workbench: Workbench) -> str:
    """What is to be said of the report."""
    now = workbench.snapshot
    if now.read is None:
        return ""
    if now.is_being_written:
        return wording.WRITING_REPORT
    if now.report_problem:
        return wording.NO_REPORT.format(without_folders(now.report_problem, workbench.service.settings))
    if not now.has_report:
        return "No report was written of this plan."
    return "" if now.review.is_written else "The report does not tell the last changes yet."


def _decision(now: Snapshot) -> dict[str, str]:
    if now.review.decision is not None:
        return {"kind": now.review.decision.kind.value, "text": now.review.decision.text}
    if now.lost_decision is not None:
        return {"kind": now.lost_decision.kind.value, "text": now.lost_decision.text}
    return {"kind": "undecided", "text": NOT_DECIDED if now.read is not None else ""}


def _line(one: Alternative) -> dict[str, Any]:
    profile = one.clearance_profile
    return {
        "entry": list(one.entry_lps_mm),
        "target": list(one.target_lps_mm),
        "certified_mm": _finite(one.certified_clearance_mm),
        "limiting": one.limiting_structure,
        "limiting_point": list(one.limiting_point_lps_mm),
        "clearance_mm": {name: _finite(value) for name, value in one.clearance_mm_by_structure.items()},
        "hit": one.hit_probability,
        "hit_interval": list(one.hit_probability_interval),
        "hit_by_structure": one.hit_probability_by_structure,
        "length_mm": one.length_mm,
        "angle_deg": one.entry_angle_deg,
        "crossed": crossed(one),
        "by_hand": one.is_by_hand,
        "reason": one.reason,
        "crossings": None
        if one.crossings is None
        else [{"kind": each.kind.value, "from_mm": each.from_mm, "to_mm": each.to_mm} for each in one.crossings],
        "profile": {
            "distance_mm": [round(float(value), 2) for value in profile.distance_mm],
            "clearance_mm": {
                name: [_finite(round(float(value), 2)) for value in values]
                for name, values in profile.clearance_mm_by_structure.items()
            },
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
