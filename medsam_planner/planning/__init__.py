"""Straight tools past what must be avoided and inside what must hold them, with margins that follow confidence."""

from __future__ import annotations

from medsam_planner.planning.clearance import Clearance, clearance
from medsam_planner.planning.hit import HitProbability, hit_probability
from medsam_planner.planning.margins import margin_from_spread, masks_from_spread
from medsam_planner.planning.structures import Avoid, StayInside
from medsam_planner.planning.tool import Tool

__all__ = [
    "Avoid",
    "Clearance",
    "HitProbability",
    "StayInside",
    "Tool",
    "clearance",
    "hit_probability",
    "margin_from_spread",
    "masks_from_spread",
]
