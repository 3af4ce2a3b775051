"""``plan.json``: the plan for other programs. Strict JSON; the same plan gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.multi_tool import JointPlan
from medsam_planner.planning.problem import PlanningProblem
from medsam_planner.planning.search import PlanResult

__all__ = ["SCHEMA_VERSION", "alternative_entry", "plan_document"]

SCHEMA_VERSION = 2


def plan_document(found: JointPlan, problems: Mapping[str, PlanningProblem]) -> dict[str, Any]:
    """A plan of one or several tools as plain JSON values; positions in LPS mm, the best alternative of each first.

    ``tools`` holds every tool. The entries of the first tool are repeated at the top level, where files of schema 1 had
    the only tool, except ``feasible``, which there covers all tools. Infinite values are None.
    """
    tools = [{"name": name, **_tool_entry(plan, problems[name])} for name, plan in found.plans.items()]
    return {
        **tools[0],
        "schema_version": SCHEMA_VERSION,
        "frame": "LPS",
        "unit": "mm",
        "feasible": found.feasible,
        "tools": tools,
        "min_tool_gap_mm": found.min_gap_mm,
        "tool_gaps": [
            {
                "first": gap.first,
                "second": gap.second,
                "certified_gap_mm": gap.certified_mm,
                "first_point_lps_mm": list(gap.first_point_lps_mm),
                "second_point_lps_mm": list(gap.second_point_lps_mm),
            }
            for gap in found.gaps
        ],
        "tool_relaxations": list(found.relaxations),
    }


def _tool_entry(plan: PlanResult, problem: PlanningProblem) -> dict[str, Any]:
    limits, settings, tool = problem.limits, problem.settings, problem.tool
    return {
        "feasible": plan.feasible,
        "checked_against": [structure.name for structure in problem.structures],
        "alternatives": [alternative_entry(alternative) for alternative in plan.alternatives],
        "relaxations": [
            {
                "constraint": relaxation.constraint,
                "amount": relaxation.amount,
                "unit": relaxation.unit,
                "relaxed_to": relaxation.relaxed_to,
                "witness_entry_lps_mm": _number_list(relaxation.witness_lps_mm[0]),
                "witness_target_lps_mm": _number_list(relaxation.witness_lps_mm[1]),
                "text": relaxation.text,
            }
            for relaxation in plan.relaxations
        ],
        "reasons": list(plan.reasons),
        "nearest_miss": None
        if plan.nearest_miss is None
        else {
            "entry_lps_mm": _number_list(plan.nearest_miss.trajectory_lps_mm[0]),
            "target_lps_mm": _number_list(plan.nearest_miss.trajectory_lps_mm[1]),
            "structure": plan.nearest_miss.structure,
            "shortage_mm": plan.nearest_miss.shortage_mm,
        },
        "candidate_count": plan.candidate_count,
        "feasible_count": plan.feasible_count,
        "tool": {
            "radius_mm": tool.radius_mm,
            "entry_error_mm": tool.entry_error_mm,
            "target_error_mm": tool.target_error_mm,
        },
        "limits": {
            "max_length_mm": _finite(limits.max_length_mm),
            "min_length_mm": limits.min_length_mm,
            "max_entry_angle_deg": limits.max_entry_angle_deg,
            "min_clearance_mm": _finite(limits.min_clearance_mm),
        },
        "structures": [
            {"name": structure.name, "role": type(structure).__name__, "mask_samples": len(structure.mask_samples)}
            for structure in problem.structures
        ],
        "seed": settings.seed,
    }


def alternative_entry(alternative: Alternative) -> dict[str, Any]:
    """One path as plain JSON values, as ``plan.json`` has it."""
    profile = alternative.clearance_profile
    return {
        "entry_lps_mm": list(alternative.entry_lps_mm),
        "target_lps_mm": list(alternative.target_lps_mm),
        "certified_clearance_mm": _finite(alternative.certified_clearance_mm),
        "sampled_clearance_mm": _finite(alternative.sampled_clearance_mm),
        "limiting_structure": alternative.limiting_structure,
        "limiting_point_lps_mm": list(alternative.limiting_point_lps_mm),
        "clearance_mm_by_structure": {
            name: _finite(clearance) for name, clearance in alternative.clearance_mm_by_structure.items()
        },
        "hit_probability": alternative.hit_probability,
        "hit_probability_interval": list(alternative.hit_probability_interval),
        "hit_probability_by_structure": alternative.hit_probability_by_structure,
        "length_mm": alternative.length_mm,
        "entry_angle_deg": alternative.entry_angle_deg,
        "bone_density_hu": alternative.bone_density_hu,
        "tool_density_hu": alternative.tool_density_hu,
        "screw_grades": [
            {
                "corridor": grade.corridor,
                "planned": grade.planned,
                "breach_mm": grade.breach_mm,
                "share_by_grade": grade.share_by_grade,
                "mask_samples": grade.mask_samples,
            }
            for grade in alternative.screw_grades
        ],
        "crossings": _crossings(alternative),
        "value_profile": _values(alternative),
        "score": alternative.score,
        "reason": alternative.reason,
        "by_hand": alternative.is_by_hand,
        "clearance_profile": {
            "distance_mm": _number_list(profile.distance_mm),
            "clearance_mm_by_structure": {
                name: _number_list(clearance) for name, clearance in profile.clearance_mm_by_structure.items()
            },
        },
    }


def _crossings(alternative: Alternative) -> list[dict[str, Any]] | None:
    """Null where there was no image to read crossings from; an empty list means that nothing is crossed."""
    if alternative.crossings is None:
        return None
    return [
        {
            "kind": crossing.kind.value,
            "from_mm": round(crossing.from_mm, 4),
            "to_mm": round(crossing.to_mm, 4),
            "mean_value": None if crossing.mean_value is None else round(crossing.mean_value, 4),
        }
        for crossing in alternative.crossings
    ]


def _values(alternative: Alternative) -> dict[str, Any] | None:
    profile = alternative.value_profile
    if profile is None:
        return None
    return {
        "unit": profile.unit,
        "distance_mm": _number_list(profile.distance_mm),
        "value": _number_list(profile.value),
    }


def _number_list(values: np.ndarray) -> list[float | None]:
    return [_finite(round(float(value), 4)) for value in values]


def _finite(value: float) -> float | None:
    """JSON has no infinity: an unbounded value is null."""
    return value if math.isfinite(value) else None
