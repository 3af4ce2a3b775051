"""The plan request, which plan files, the workbench, the demonstrations and Python code all fill in.

All defaults are stated here and in the classes that the request holds; the workbench adds starting values for the radii
of tool and entry region, which have no default. The request only names structures; their masks
and uncertainty are passed beside it. Positions are LPS mm.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medsam_planner.errors import PlanningError
from medsam_planner.planning.lengths import FARTHEST_MM, require_mm
from medsam_planner.planning.problem import Limits, SearchSettings, Weights
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.surroundings import BoneRule
from medsam_planner.planning.tool import Tool
from prompts.names import SKIN, UNSEGMENTED_BONE

__all__ = [
    "ALPHA",
    "CANDIDATES",
    "LARGEST_TOOL_RADIUS_MM",
    "MOST_ALTERNATIVES",
    "MOST_HIT_DRAWS",
    "TITLE",
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
TITLE = "Trajectory plan"
LARGEST_TOOL_RADIUS_MM = 20.0
CANDIDATES = (10, 2_000_000)
"""Least and most trajectories of the coarse round."""
MOST_ALTERNATIVES = 20
MOST_HIT_DRAWS = 100_000
_LARGEST_RADIUS_MM = 200.0
"""Largest radius of a target: no structure that one tool must reach is larger."""


@dataclass(frozen=True, slots=True)
class SpreadRule:
    """A margin of ``min(base + factor × boundary spread, cap)``: a rule of thumb, without a stated confidence.

    Raises
    ------
    PlanningError
        If a number is negative or above :data:`~medsam_planner.planning.lengths.LARGEST_MM`, or the cap lies below the
        base.
    """

    base_mm: float = 2.0
    """Margin where all stochastic passes agree, and everywhere if there were none."""
    factor: float = 2.0
    """Millimetres of margin per millimetre of spread."""
    cap_mm: float = 10.0

    def __post_init__(self) -> None:
        for name, of_what in (("base_mm", "margin"), ("cap_mm", "margin"), ("factor", "margin per mm of spread")):
            require_mm(getattr(self, name), f"{name} of a {of_what}")
        if self.cap_mm < self.base_mm:
            raise PlanningError(
                f"Expected a base margin of at most the largest margin, got {self.base_mm:g} and {self.cap_mm:g} mm."
            )


@dataclass(frozen=True, slots=True)
class CalibratedRule:
    """A margin calibrated on patients: it holds with confidence ``1 − alpha`` on patients like them.

    Raises
    ------
    PlanningError
        If `alpha` does not lie between 0 and 1.
    """

    calibration: Path
    """File written by ``medsam-planner calibrate``."""
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
        if not isinstance(self.name, str) or not self.name.strip():
            raise PlanningError(f"Expected the structure's name as text, got {self.name!r}.")
        if self.name == UNSEGMENTED_BONE:
            raise PlanningError(
                f"Expected another name than '{UNSEGMENTED_BONE}': that name is given to unsegmented bone. Rename it."
            )
        if self.role not in (StructureRole.AVOID, StructureRole.INSIDE):
            raise PlanningError(
                f"Expected the role of '{self.name}' as StructureRole.AVOID or StructureRole.INSIDE, got {self.role!r}."
            )
        if not isinstance(self.margin, SpreadRule | CalibratedRule):
            raise PlanningError(
                f"Expected the margin of '{self.name}' as a SpreadRule or a CalibratedRule, got {self.margin!r}."
            )
        require_mm(self.free_entry_mm, f"free_entry_mm of '{self.name}'")
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
    landmark: str | None = None
    """A point of the request's landmark file is the middle of the ball."""

    def __post_init__(self) -> None:
        if self.point_lps_mm is None and self.structure is None and self.landmark is None:
            raise PlanningError("Expected a target: a point, a landmark, or the name of a structure.")
        if self.landmark is not None and (self.point_lps_mm is not None or self.structure is not None):
            raise PlanningError(
                f"Expected the landmark '{self.landmark}' alone as a target, got a second one beside it."
            )
        if self.point_lps_mm is not None:
            object.__setattr__(self, "point_lps_mm", _position(self.point_lps_mm, "point_lps_mm of a target"))
        require_mm(self.radius_mm, "radius_mm of a target", most=_LARGEST_RADIUS_MM)


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
        if self.centre_lps_mm is not None:
            object.__setattr__(self, "centre_lps_mm", _position(self.centre_lps_mm, "centre_lps_mm of an entry"))
            require_mm(self.radius_mm, "radius_mm of an entry")

    @property
    def surface(self) -> str:
        """Name of what is entered."""
        return SKIN if self.structure is None else self.structure


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One straight tool.

    Raises
    ------
    PlanningError
        If a part is of another type, the name is empty, or the tool's radius is not in (0, 20] mm.
    """

    tool: Tool
    target: TargetRequest
    entry: EntryRequest = field(default_factory=EntryRequest)
    name: str = "tool"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise PlanningError(f"Expected the tool's name as text, got {self.name!r}.")
        for part, kind in (("tool", Tool), ("target", TargetRequest), ("entry", EntryRequest)):
            value = getattr(self, part)
            if not isinstance(value, kind):
                raise PlanningError(f"Expected {part} of '{self.name}' as {kind.__name__}, got {value!r}.")
        if not 0 < self.tool.radius_mm <= LARGEST_TOOL_RADIUS_MM:
            raise PlanningError(
                f"Expected the radius of '{self.name}' above 0 and at most {LARGEST_TOOL_RADIUS_MM:g} mm, got "
                f"{self.tool.radius_mm:g} mm."
            )


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
    title: str = TITLE
    min_tool_gap_mm: float = 0.0
    """Certified clearance between every two tools."""
    limits: Limits = field(default_factory=Limits)
    bone_rule: BoneRule = field(default_factory=BoneRule)
    weights: Weights = field(default_factory=Weights)
    search: SearchSettings = field(default_factory=SearchSettings)
    landmarks: Path | None = None
    """File of the landmarks that targets name."""
    registration: Path | None = None
    """File written by ``medsam-planner register``, if anything was moved from another series: its error at entry and
    target widens those of each tool."""

    def __post_init__(self) -> None:
        for name, kind in _PARTS.items():
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise PlanningError(f"Expected {name} of a plan request as {kind.__name__}, got {value!r}.")
        for name, kind in (("tools", ToolRequest), ("structures", StructureRequest)):
            given = getattr(self, name)
            if not isinstance(given, tuple | list) or not all(isinstance(one, kind) for one in given):
                raise PlanningError(f"Expected {name} of a plan request as a tuple of {kind.__name__}, got {given!r}.")
            object.__setattr__(self, name, tuple(given))
        if not self.tools:
            raise PlanningError("Expected at least one tool to plan, got none.")
        for name in ("landmarks", "registration"):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), Path):
                raise PlanningError(f"Expected {name} of a plan request as a Path, got {getattr(self, name)!r}.")
        if self.landmarks is None and any(one.target.landmark is not None for one in self.tools):
            raise PlanningError("Expected a landmark file (landmarks = ...), because a target names a landmark.")
        require_mm(self.min_tool_gap_mm, "min_tool_gap_mm")
        for what, count, (least, most) in (
            ("candidates", self.search.candidates, CANDIDATES),
            ("alternatives", self.search.alternatives, (1, MOST_ALTERNATIVES)),
            ("hit_draws", self.search.hit_draws, (1, MOST_HIT_DRAWS)),
        ):
            if not least <= count <= most:
                raise PlanningError(f"Expected {what} of the search from {least} to {most}, got {count}.")
        for what, named in (("tools", self.tools), ("structures", self.structures)):
            names = [one.name for one in named]
            if len(set(names)) < len(names):
                raise PlanningError(f"Expected {what} with different names, got {names}.")
        if any(one.name == SKIN for one in self.structures) and any(tool.entry.surface == SKIN for tool in self.tools):
            raise PlanningError(
                f"Expected structures with other names than '{SKIN}', the name of the body found in the study. "
                "Rename it."
            )

    def as_entry(self) -> dict[str, Any]:
        """As plain JSON values, calibrations by the names of their files."""
        return _plain(asdict(self))


_PARTS: dict[str, type] = {
    "title": str,
    "limits": Limits,
    "bone_rule": BoneRule,
    "weights": Weights,
    "search": SearchSettings,
}


def _position(value: object, what: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(number) for number in np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise PlanningError(f"Expected {what} as three numbers, LPS mm, got {value!r}.") from error
    if not all(abs(number) <= FARTHEST_MM for number in (x, y, z)):
        raise PlanningError(f"Expected {what} as three numbers, LPS mm, none beyond {FARTHEST_MM:g} mm, got {value!r}.")
    return x, y, z


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, StructureRole):
        return value.value
    if isinstance(value, Path):
        return value.name
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
