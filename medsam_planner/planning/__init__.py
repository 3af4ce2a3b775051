"""Plan straight tools that avoid some structures and stay inside others; margins grow with the uncertainty."""

from __future__ import annotations

from medsam_planner.planning.clearance import Clearance, clearance
from medsam_planner.planning.hit import HitProbability, hit_probability
from medsam_planner.planning.margins import margin_from_spread, masks_from_spread
from medsam_planner.planning.problem import Limits, SearchSettings, Weights
from medsam_planner.planning.request import (
    CalibratedRule,
    EntryRequest,
    PlanRequest,
    SpreadRule,
    StructureRequest,
    TargetRequest,
    ToolRequest,
)
from medsam_planner.planning.structures import Avoid, StayInside, StructureRole
from medsam_planner.planning.surroundings import BoneRule
from medsam_planner.planning.tool import Tool

__all__ = [
    "Avoid",
    "BoneRule",
    "CalibratedRule",
    "Clearance",
    "EntryRequest",
    "HitProbability",
    "Limits",
    "PlanRequest",
    "SearchSettings",
    "SpreadRule",
    "StayInside",
    "StructureRequest",
    "StructureRole",
    "TargetRequest",
    "Tool",
    "ToolRequest",
    "Weights",
    "clearance",
    "hit_probability",
    "margin_from_spread",
    "masks_from_spread",
]
