"""A plan request while it is being entered: target and entry may still be missing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medsam_planner.errors import PlanningError
from medsam_planner.planning.problem import Limits
from medsam_planner.planning.request import ALPHA, SpreadRule, StructureRequest, TargetRequest
from medsam_planner.planning.tool import ENTRY_ERROR_MM, TARGET_ERROR_MM
from prompts import PositionLpsMm

__all__ = ["MOST_TOOLS", "PlanDraft", "ToolEnds", "next_tool_name"]

MOST_TOOLS = 20
"""Most tools of one plan on the page."""
_MARGIN, _LIMITS = SpreadRule(), Limits()
_STRUCTURE, _TARGET = StructureRequest("any"), TargetRequest((0.0, 0.0, 0.0))


@dataclass(frozen=True, slots=True)
class ToolEnds:
    """Where one of several tools goes; its radius and its errors are those of all tools."""

    name: str
    target_lps_mm: PositionLpsMm
    entry_lps_mm: PositionLpsMm
    """Centre of its entry region."""


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan request that may be incomplete; positions in LPS mm.

    Defaults are those of the request. The radii of tool and entry region have none there and only start with a value.

    :func:`medsam_planner.service.plan_inputs.request_of` makes a complete one of it.
    """

    target_lps_mm: PositionLpsMm | None = None
    target_radius_mm: float = _TARGET.radius_mm
    entry_lps_mm: PositionLpsMm | None = None
    """Centre of the entry region."""
    entry_radius_mm: float = 15.0
    tool_radius_mm: float = 1.0
    entry_error_mm: float = ENTRY_ERROR_MM
    target_error_mm: float = TARGET_ERROR_MM
    """Placement error of the tool at each end."""
    base_margin_mm: float = _MARGIN.base_mm
    margin_factor: float = _MARGIN.factor
    margin_cap_mm: float = _MARGIN.cap_mm
    max_length_mm: float = _LIMITS.max_length_mm
    max_angle_deg: float = _LIMITS.max_entry_angle_deg
    free_entry_mm: float = _STRUCTURE.free_entry_mm
    """Length of the path after the entry that need not lie inside a corridor."""
    calibration: Path | None = None
    """A file of ``medsam-planner calibrate``; it replaces `base_margin_mm`, `margin_factor` and `margin_cap_mm`."""
    alpha: float = ALPHA
    """Miscoverage of a calibrated margin: 0.1 for a confidence of 90 %."""
    other_tools: tuple[ToolEnds, ...] = ()
    """Tools planned together with the one whose target and entry are set."""
    avoid_bone: bool = True
    """Whether to avoid unsegmented bone in a CT, unless the tool must stay inside bone."""

    def tools(self) -> tuple[ToolEnds, ...]:
        """The ends of every tool: those that were put aside, and the one whose target and entry are set."""
        if self.target_lps_mm is None or self.entry_lps_mm is None:
            return self.other_tools
        name = next_tool_name(self.other_tools) if self.other_tools else "tool"
        return (*self.other_tools, ToolEnds(name, self.target_lps_mm, self.entry_lps_mm))

    def with_numbers(self, numbers: Mapping[str, Any]) -> PlanDraft:
        """Copy with numbers that a person entered.

        Parameters
        ----------
        numbers : mapping
            By name of a field.

        Raises
        ------
        PlanningError
            If a number is missing, negative or not finite.
        """
        entered: dict[str, Any] = {}
        for name, value in numbers.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
                raise PlanningError(f"Expected a number of at least 0 for {name.replace('_', ' ')}, got {value!r}.")
            entered[name] = float(value)
        return replace(self, **entered)


def next_tool_name(tools: Sequence[ToolEnds]) -> str:
    """The first of ``tool 1``, ``tool 2`` … that is not taken."""
    taken = {one.name for one in tools}
    return next(name for number in itertools.count(1) if (name := f"tool {number}") not in taken)
