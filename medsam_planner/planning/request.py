"""What is asked of a plan, in one shape: plan file, page, demonstrations and Python all fill in a PlanRequest.

Defaults are stated here and in the classes this one holds, and nowhere else. Structures are named; what is known of
each (its mask, its uncertainty) is handed in beside the request. Positions are LPS mm.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medsam_planner.errors import PlanningError
from medsam_planner.planning.problem import Limits, SearchSettings, Weights
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.surroundings import BoneRule
from medsam_planner.planning.tool import Tool

__all__ = [
    "ALPHA",
    "SKIN",
    "CalibratedRule",
    "EntryRequest",
    "PlanRequest",
    "SpreadRule",
    "StructureRequest",
    "TargetRequest",
    "ToolRequest",
]

ALPHA = 0.1
"""Miscoverage of a calibrated margin, unless another is asked for."""
SKIN = "skin"
"""Name of the body that is found in the study itself, where a tool enters through no named structure."""


@dataclass(frozen=True, slots=True)
class SpreadRule:
    """A margin of ``min(base + factor × boundary spread, cap)``: a rule of thumb, without a stated confidence.

    Raises
    ------
    PlanningError
        If a number is negative or not finite, or the cap lies below the base.
    """

    base_mm: float = 2.0
    """Where all stochastic passes agree, and everywhere where there were none."""
    factor: float = 2.0
    """Millimetres of margin per millimetre of spread."""
    cap_mm: float = 10.0

    def __post_init__(self) -> None:
        values = (self.base_mm, self.factor, self.cap_mm)
        if not all(math.isfinite(value) and value >= 0 for value in values) or self.cap_mm < self.base_mm:
            raise PlanningError(f"Expected 0 <= base_mm <= cap_mm and factor >= 0 for a margin, got {self}.")


@dataclass(frozen=True, slots=True)
class CalibratedRule:
    """A margin that was measured on patients: it holds with confidence ``1 − alpha`` on patients like them.

    Raises
    ------
    PlanningError
        If `alpha` does not lie between 0 and 1.
    """

    calibration: Path
    """File of ``medsam-planner calibrate``."""
    alpha: float = ALPHA
    """Share of patients on whom the margin may fail."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise PlanningError(f"Expected alpha between 0 and 1, got {self.alpha}.")


@dataclass(frozen=True, slots=True)
class StructureRequest:
    """A structure to avoid or to stay inside.

    Raises
    ------
    PlanningError
        If its role is another one, or only a corridor could have a free entry.
    """

    name: str
    role: StructureRole = StructureRole.AVOID
    margin: SpreadRule | CalibratedRule = field(default_factory=SpreadRule)
    free_entry_mm: float = 0.0
    """Path after the entry that need not lie inside a corridor."""

    def __post_init__(self) -> None:
        if self.role not in (StructureRole.AVOID, StructureRole.INSIDE):
            raise PlanningError(f"Expected '{self.name}' to be avoided or to stay inside, got {self.role}.")
        if self.free_entry_mm and self.role is not StructureRole.INSIDE:
            raise PlanningError(f"Expected a free entry of a structure to stay inside, got one of '{self.name}'.")


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """What a tool must reach: a ball, or every voxel of a structure.

    Raises
    ------
    PlanningError
        If neither is given.
    """

    point_lps_mm: tuple[float, float, float] | None = None
    radius_mm: float = 0.0
    structure: str | None = None
    """Its voxels are the target; with a point it only names what the point lies in."""

    def __post_init__(self) -> None:
        if self.point_lps_mm is None and self.structure is None:
            raise PlanningError("Expected a target: a point, or the name of a structure.")


@dataclass(frozen=True, slots=True)
class EntryRequest:
    """Where a tool may enter: the surface of a structure, or the part of it inside a ball.

    Raises
    ------
    PlanningError
        If the ball has a middle and no radius, or the reverse.
    """

    structure: str | None = None
    """None: the skin."""
    centre_lps_mm: tuple[float, float, float] | None = None
    radius_mm: float | None = None

    def __post_init__(self) -> None:
        if (self.centre_lps_mm is None) != (self.radius_mm is None):
            raise PlanningError("Expected centre_lps_mm and radius_mm of an entry together, or neither.")

    @property
    def surface(self) -> str:
        """Name of what is entered."""
        return SKIN if self.structure is None else self.structure


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One straight tool."""

    tool: Tool
    target: TargetRequest
    entry: EntryRequest = field(default_factory=EntryRequest)
    name: str = "tool"


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """A whole plan: one tool, or several that must keep apart.

    Raises
    ------
    PlanningError
        If there is no tool, two tools or two structures have one name, or one has the name of the skin.
    """

    tools: tuple[ToolRequest, ...]
    structures: tuple[StructureRequest, ...] = ()
    title: str = "Trajectory plan"
    min_tool_gap_mm: float = 0.0
    """Certified clearance between every two tools."""
    limits: Limits = field(default_factory=Limits)
    bone_rule: BoneRule = field(default_factory=BoneRule)
    weights: Weights = field(default_factory=Weights)
    search: SearchSettings = field(default_factory=SearchSettings)

    def __post_init__(self) -> None:
        if not self.tools:
            raise PlanningError("Expected at least one tool to plan, got none.")
        for what, named in (("tools", self.tools), ("structures", self.structures)):
            names = [one.name for one in named]
            if len(set(names)) < len(names):
                raise PlanningError(f"Expected {what} with different names, got {names}.")
        if any(one.name == SKIN for one in self.structures) and any(tool.entry.surface == SKIN for tool in self.tools):
            raise PlanningError(
                f"Expected structures with other names than '{SKIN}', which the body found in the study is called. "
                "Rename it."
            )

    def as_entry(self) -> dict[str, Any]:
        """As plain JSON values, calibrations by the names of their files."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, StructureRole):
        return value.value
    if isinstance(value, Path):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
