"""The tables of a plan file and their checks; the format is shown in :mod:`medsam_planner.planning.plan_file`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medsam_planner.planning.lengths import FARTHEST_MM, LARGEST_MM
from medsam_planner.planning.problem import Limits, SearchSettings, Weights
from medsam_planner.planning.request import (
    ALPHA,
    CANDIDATES,
    LARGEST_TOOL_RADIUS_MM,
    MOST_ALTERNATIVES,
    MOST_HIT_DRAWS,
    TITLE,
    CalibratedRule,
    EntryRequest,
    PlanRequest,
    SpreadRule,
    StructureRequest,
    TargetRequest,
    ToolRequest,
)
from medsam_planner.planning.structures import StructureRole
from medsam_planner.planning.surroundings import BONE_BOUNDS_HU, BoneRule
from medsam_planner.planning.tool import ENTRY_ERROR_MM, TARGET_ERROR_MM, Tool
from prompts.names import SKIN

__all__ = [
    "BoneTable",
    "EntryTable",
    "LimitsTable",
    "NamedToolTable",
    "PlanFile",
    "PlanFileTool",
    "Position",
    "SearchTable",
    "StructureTable",
    "StudyTable",
    "TargetTable",
    "ToolTable",
    "WeightsTable",
]

Millimetres = Annotated[float, Field(ge=0, le=LARGEST_MM, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=-FARTHEST_MM, le=FARTHEST_MM, allow_inf_nan=False)]
Position = Annotated[list[Coordinate], Field(min_length=3, max_length=3)]


_LANDMARK = "landmark:"
_MARGIN, _LIMITS, _WEIGHTS, _SEARCH, _BONE = SpreadRule(), Limits(), Weights(), SearchSettings(), BoneRule()
"""Defaults of what a file leaves out."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyTable(_Table):
    """Where the study lies. May be left out where the study is named on the command line."""

    path: Path
    series: str | None = None
    volume: Annotated[int, Field(ge=1)] | None = None
    """Which volume, where the series holds several."""
    resample_tilt: bool = False
    modality: Literal["CT", "MR"] | None = None
    """Where the files do not say, as ``--modality`` of the other commands."""


class ToolTable(_Table):
    """The straight tool."""

    radius_mm: Annotated[float, Field(gt=0, le=LARGEST_TOOL_RADIUS_MM, allow_inf_nan=False)]
    entry_error_mm: Millimetres = ENTRY_ERROR_MM
    target_error_mm: Millimetres = TARGET_ERROR_MM


class TargetTable(_Table):
    """What must be reached: a ball, around a point or a landmark, the voxels of a mask, or a segmented structure.

    ``target = "landmark:AC"`` is short for ``target = { landmark = "AC" }``.
    """

    point_lps_mm: Position | None = None
    radius_mm: Millimetres = 0.0
    mask: Path | None = None
    structure: str | None = None
    landmark: Annotated[str, Field(min_length=1)] | None = None

    def request(self, mask_name: str) -> TargetRequest:
        """The same for a plan request; `mask_name` names its own mask, if it has one."""
        point = None if self.point_lps_mm is None else _position(self.point_lps_mm)
        structure = self.structure if self.mask is None else mask_name
        return TargetRequest(point, self.radius_mm, structure, self.landmark)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        if not given.startswith(_LANDMARK) or given == _LANDMARK:
            raise ValueError(f'expected a table, or "{_LANDMARK}NAME"')
        return {"landmark": given.removeprefix(_LANDMARK)}

    @model_validator(mode="after")
    def _one_of_four(self) -> TargetTable:
        if sum(given is not None for given in (self.point_lps_mm, self.mask, self.structure, self.landmark)) != 1:
            raise ValueError("expected exactly one of point_lps_mm, mask, structure and landmark")
        return self


class EntryTable(_Table):
    """Where the tool may enter: the part of a surface inside a ball."""

    skin: bool = False
    mask: Path | None = None
    structure: str | None = None
    centre_lps_mm: Position | None = None
    radius_mm: Annotated[float, Field(gt=0, le=LARGEST_MM)] | None = None

    def request(self, mask_name: str) -> EntryRequest:
        """The same for a plan request; `mask_name` names its own mask, if it has one."""
        centre = None if self.centre_lps_mm is None else _position(self.centre_lps_mm)
        return EntryRequest(self.structure if self.mask is None else mask_name, centre, self.radius_mm)

    @model_validator(mode="after")
    def _one_surface(self) -> EntryTable:
        if sum((self.skin, self.mask is not None, self.structure is not None)) != 1:
            raise ValueError("expected exactly one of skin = true, mask and structure")
        if (self.centre_lps_mm is None) != (self.radius_mm is None):
            raise ValueError("expected centre_lps_mm and radius_mm together, or neither")
        return self


class NamedToolTable(ToolTable):
    """One of several tools."""

    name: Annotated[str, Field(min_length=1)]
    target: TargetTable
    entry: EntryTable


@dataclass(frozen=True, slots=True)
class PlanFileTool:
    """One tool of a plan file, whether it is written as ``[tool]`` or as one of ``[[tools]]``."""

    name: str
    tool: ToolTable
    target: TargetTable
    entry: EntryTable


class StructureTable(_Table):
    """A structure to avoid or to stay inside, and how wide its margin is."""

    name: Annotated[str, Field(min_length=1)]
    role: Literal["avoid", "inside"]
    mask: Path | None = None
    spread: Path | None = None
    base_margin_mm: Millimetres = _MARGIN.base_mm
    spread_factor: Millimetres = _MARGIN.factor
    max_margin_mm: Millimetres = _MARGIN.cap_mm
    calibration: Path | None = None
    """File written by `medsam-planner calibrate`; replaces the three entries above."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = ALPHA
    """Share of patients on whom the calibrated margin may fail."""
    free_entry_mm: Millimetres = 0.0

    def request(self) -> StructureRequest:
        """The structure of a plan request."""
        margin = SpreadRule(self.base_margin_mm, self.spread_factor, self.max_margin_mm)
        return StructureRequest(
            self.name,
            StructureRole(self.role),
            margin if self.calibration is None else CalibratedRule(self.calibration, self.alpha),
            self.free_entry_mm,
        )

    @model_validator(mode="after")
    def _sensible(self) -> StructureTable:
        if self.max_margin_mm < self.base_margin_mm:
            raise ValueError(
                f"expected max_margin_mm ({self.max_margin_mm}) to be at least base_margin_mm ({self.base_margin_mm})"
            )
        by_hand = {"base_margin_mm", "spread_factor", "max_margin_mm"} & self.model_fields_set
        if self.calibration is not None and by_hand:
            raise ValueError(f"expected either calibration and alpha or {' and '.join(sorted(by_hand))}, got both")
        if self.calibration is None and "alpha" in self.model_fields_set:
            raise ValueError("expected a calibration beside alpha: no other margin has a stated confidence")
        if self.role == "avoid" and self.free_entry_mm:
            raise ValueError('free_entry_mm belongs to role = "inside"')
        if self.spread is not None and self.mask is None:
            raise ValueError("expected a mask beside the spread")
        return self


class LimitsTable(_Table):
    """Hard limits; see :class:`medsam_planner.planning.problem.Limits`."""

    max_length_mm: Annotated[float, Field(gt=0, le=LARGEST_MM)] = _LIMITS.max_length_mm
    min_length_mm: Millimetres = _LIMITS.min_length_mm
    max_entry_angle_deg: Annotated[float, Field(gt=0, le=180)] = _LIMITS.max_entry_angle_deg
    min_clearance_mm: Annotated[float, Field(ge=-LARGEST_MM, le=LARGEST_MM)] = _LIMITS.min_clearance_mm


class BoneTable(_Table):
    """Bone that nobody segmented; see :class:`medsam_planner.planning.surroundings.BoneRule`."""

    avoid: bool | None = _BONE.avoid
    above_hu: Annotated[float, Field(ge=BONE_BOUNDS_HU[0], le=BONE_BOUNDS_HU[1])] = _BONE.above_hu
    margin_mm: Millimetres = _BONE.margin_mm


class WeightsTable(_Table):
    """Soft weights; see :class:`medsam_planner.planning.problem.Weights`."""

    clearance: Weight = _WEIGHTS.clearance
    length: Weight = _WEIGHTS.length
    angle: Weight = _WEIGHTS.angle
    hit_probability: Weight = _WEIGHTS.hit_probability
    bone_density: Weight = _WEIGHTS.bone_density


class SearchTable(_Table):
    """Effort; see :class:`medsam_planner.planning.problem.SearchSettings`."""

    candidates: Annotated[int, Field(ge=CANDIDATES[0], le=CANDIDATES[1])] = _SEARCH.candidates
    alternatives: Annotated[int, Field(ge=1, le=MOST_ALTERNATIVES)] = _SEARCH.alternatives
    min_separation_mm: Millimetres = _SEARCH.min_separation_mm
    hit_draws: Annotated[int, Field(ge=1, le=MOST_HIT_DRAWS)] = _SEARCH.hit_draws
    seed: Annotated[int, Field(ge=0)] = _SEARCH.seed


class PlanFile(_Table):
    """A whole plan file; paths are absolute after :func:`medsam_planner.planning.plan_file.read_plan_file`."""

    title: str = TITLE
    study: StudyTable | None = None
    tool: ToolTable | None = None
    target: TargetTable | None = None
    entry: EntryTable | None = None
    tools: list[NamedToolTable] = []
    min_tool_gap_mm: Millimetres = 0.0
    landmarks: Path | None = None
    """Landmark file that targets name points of."""
    registration: Path | None = None
    """``transform.json`` of ``medsam-planner register``: its error widens entry and target errors."""
    structures: list[StructureTable] = []
    limits: LimitsTable = LimitsTable()
    unsegmented_bone: BoneTable = BoneTable()
    weights: WeightsTable = WeightsTable()
    search: SearchTable = SearchTable()

    @model_validator(mode="after")
    def _names_differ(self) -> PlanFile:
        for what, tables in (("structures", self.structures), ("tools", self.tools)):
            names = [table.name for table in tables]
            if len(set(names)) < len(names):
                raise ValueError(f"expected {what} with different names, got {names}")
        return self

    @model_validator(mode="after")
    def _landmarks_are_given(self) -> PlanFile:
        tables = [self.target, *(tool.target for tool in self.tools)]
        named = [table.landmark for table in tables if table is not None and table.landmark is not None]
        if named and self.landmarks is None:
            raise ValueError(f"expected landmarks = FILE at the top, because targets name the landmarks {named}")
        return self

    @model_validator(mode="after")
    def _ends_keep_their_names(self) -> PlanFile:
        taken = sorted(self.end_names() & {table.name for table in self.structures})
        if taken:
            raise ValueError(
                f"expected structures with other names than {taken}, which are the names of the masks of entry and "
                "target"
            )
        return self

    @model_validator(mode="after")
    def _one_tool_or_several(self) -> PlanFile:
        single = {"tool": self.tool, "target": self.target, "entry": self.entry}
        if self.tools:
            given = [name for name, table in single.items() if table is not None]
            if given:
                raise ValueError(
                    f"expected either [[tools]] or [tool], [target] and [entry], got [[tools]] and {given}"
                )
            return self
        absent = [name for name, table in single.items() if table is None]
        if absent:
            raise ValueError(f"{' and '.join(absent)} missing: expected [tool], [target] and [entry], or [[tools]]")
        return self

    def all_tools(self) -> tuple[PlanFileTool, ...]:
        """The only tool under the name ``tool``, or all of several."""
        if self.tool is not None and self.target is not None and self.entry is not None:
            return (PlanFileTool("tool", self.tool, self.target, self.entry),)
        return tuple(PlanFileTool(table.name, table, table.target, table.entry) for table in self.tools)

    def request(self) -> PlanRequest:
        """The plan request of the file."""
        return PlanRequest(
            tools=tuple(
                ToolRequest(
                    Tool(tool.tool.radius_mm, tool.tool.entry_error_mm, tool.tool.target_error_mm),
                    tool.target.request(self._end_name("target", tool)),
                    tool.entry.request(self._end_name("entry", tool)),
                    tool.name,
                )
                for tool in self.all_tools()
            ),
            structures=tuple(table.request() for table in self.structures),
            title=self.title,
            min_tool_gap_mm=self.min_tool_gap_mm,
            limits=Limits(**self.limits.model_dump()),
            bone_rule=BoneRule(**self.unsegmented_bone.model_dump()),
            weights=Weights(**self.weights.model_dump()),
            search=SearchSettings(**self.search.model_dump()),
            landmarks=self.landmarks,
            registration=self.registration,
        )

    def end_masks(self) -> dict[str, Path]:
        """Masks that are given for entries and targets, by name."""
        found = {}
        for tool in self.all_tools():
            for place, mask in (("entry", tool.entry.mask), ("target", tool.target.mask)):
                if mask is not None:
                    found[self._end_name(place, tool)] = mask
        return found

    def end_names(self) -> set[str]:
        """Names that structures cannot have, because masks of entries and targets or the skin have them."""
        skin = {SKIN} if any(tool.entry.skin for tool in self.all_tools()) else set()
        return skin | set(self.end_masks())

    def _end_name(self, place: str, tool: PlanFileTool) -> str:
        if self.tool is not None or (place == "entry" and len({one.entry.mask for one in self.all_tools()}) == 1):
            return place
        return f"{place} of {tool.name}"


def _position(values: list[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z
