"""A case file: what to plan, in TOML.

::

    title = "Needle to the lesion past the vessel"

    [study]
    path = "ct/"                       # relative to the case file

    [tool]
    radius_mm = 1.0                    # entry_error_mm, target_error_mm

    [target]
    point_lps_mm = [12.0, -30.5, 88.0] # or mask = "lesion.nii.gz", or structure = "lesion"
    radius_mm = 2.0

    [entry]
    skin = true                        # or mask = "bone.nii.gz", or structure = "bone": its surface is entered
    centre_lps_mm = [60.0, -80.0, 90.0]
    radius_mm = 40.0

    [[structures]]
    name = "vessel"
    role = "avoid"                     # or "inside"
    mask = "run/vessel/mask.nii.gz"    # without it, the structure of that name in the prompt file
    spread = "run/vessel/boundary_spread_mm.nii.gz"
    base_margin_mm = 2.0
    spread_factor = 2.0                # or, for a margin with a stated confidence (mask and maps of one run):
                                       # calibration = "calibration.json", alpha = 0.1

    [limits]
    max_length_mm = 120
    max_entry_angle_deg = 45

    [unsegmented_bone]                 # CT: what is as dense as bone and was not segmented is avoided by default,
    avoid = false                      # unless the tool must stay inside bone; true or false decides it
    above_hu = 226                     # what reaches it counts as bone
    margin_mm = 0.0

Several tools that must keep apart, such as electrodes, come instead of ``[tool]``, ``[target]`` and ``[entry]``::

    min_tool_gap_mm = 2.0              # at the top: certified room between every two tools

    [[tools]]
    name = "amygdala"
    radius_mm = 0.4
    target = { point_lps_mm = [12.0, -30.5, 88.0], radius_mm = 1.5 }
    entry = { skin = true, centre_lps_mm = [60.0, -80.0, 90.0], radius_mm = 20.0 }

Reading a case touches no image: it checks every entry, and that the files named are there.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medsam_planner.errors import ConfigError
from medsam_planner.planning.problem import Limits, SearchSettings, Weights
from medsam_planner.planning.request import (
    ALPHA,
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
from prompts.text_file import read_text_file

__all__ = [
    "AskedTool",
    "BoneTable",
    "EntryTable",
    "LimitsTable",
    "NamedToolTable",
    "PlanCase",
    "SearchTable",
    "StructureTable",
    "StudyTable",
    "TargetTable",
    "ToolTable",
    "WeightsTable",
    "read_case",
]

Millimetres = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Position = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=3, max_length=3)]


_MARGIN, _LIMITS, _WEIGHTS, _SEARCH, _BONE = SpreadRule(), Limits(), Weights(), SearchSettings(), BoneRule()
"""What a file leaves out."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)


class StudyTable(_Table):
    """Where the study lies. May be left out where the study is named on the command line."""

    path: Path
    series: str | None = None
    resample_tilt: bool = False
    modality: Literal["CT", "MR"] | None = None
    """Where the files do not say, as ``--modality`` of the other commands."""


class ToolTable(_Table):
    """The straight tool."""

    radius_mm: Annotated[float, Field(gt=0, le=20, allow_inf_nan=False)]
    entry_error_mm: Millimetres = ENTRY_ERROR_MM
    target_error_mm: Millimetres = TARGET_ERROR_MM


class TargetTable(_Table):
    """What must be reached: a ball, the voxels of a mask, or a segmented structure."""

    point_lps_mm: Position | None = None
    radius_mm: Millimetres = 0.0
    mask: Path | None = None
    structure: str | None = None

    def request(self, mask_name: str) -> TargetRequest:
        """With the name under which its own mask is known."""
        point = None if self.point_lps_mm is None else _position(self.point_lps_mm)
        return TargetRequest(point, self.radius_mm, self.structure if self.mask is None else mask_name)

    @model_validator(mode="after")
    def _one_of_three(self) -> TargetTable:
        if sum(given is not None for given in (self.point_lps_mm, self.mask, self.structure)) != 1:
            raise ValueError("expected exactly one of point_lps_mm, mask and structure")
        return self


class EntryTable(_Table):
    """Where the tool may enter: the part of a surface inside a ball."""

    skin: bool = False
    mask: Path | None = None
    structure: str | None = None
    centre_lps_mm: Position | None = None
    radius_mm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def request(self, mask_name: str) -> EntryRequest:
        """With the name under which its own mask is known."""
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
class AskedTool:
    """One tool of a case, whichever way it was written down."""

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
    """File of `medsam-planner calibrate`; takes the place of the three entries above."""
    alpha: Annotated[float, Field(gt=0, lt=1)] = ALPHA
    """Share of patients on whom the calibrated margin may fail."""
    free_entry_mm: Millimetres = 0.0

    def request(self) -> StructureRequest:
        """What is asked of it."""
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

    max_length_mm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _LIMITS.max_length_mm
    min_length_mm: Millimetres = _LIMITS.min_length_mm
    max_entry_angle_deg: Annotated[float, Field(gt=0, le=180)] = _LIMITS.max_entry_angle_deg
    min_clearance_mm: Annotated[float, Field(allow_inf_nan=False)] = _LIMITS.min_clearance_mm


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

    candidates: Annotated[int, Field(ge=10, le=2_000_000)] = _SEARCH.candidates
    alternatives: Annotated[int, Field(ge=1, le=20)] = _SEARCH.alternatives
    min_separation_mm: Millimetres = _SEARCH.min_separation_mm
    hit_draws: Annotated[int, Field(ge=1, le=100_000)] = _SEARCH.hit_draws
    seed: Annotated[int, Field(ge=0)] = _SEARCH.seed


class PlanCase(_Table):
    """A whole case; paths are absolute after :func:`read_case`."""

    title: str = "Trajectory plan"
    study: StudyTable | None = None
    tool: ToolTable | None = None
    target: TargetTable | None = None
    entry: EntryTable | None = None
    tools: list[NamedToolTable] = []
    min_tool_gap_mm: Millimetres = 0.0
    structures: list[StructureTable] = []
    limits: LimitsTable = LimitsTable()
    unsegmented_bone: BoneTable = BoneTable()
    weights: WeightsTable = WeightsTable()
    search: SearchTable = SearchTable()

    @model_validator(mode="after")
    def _names_differ(self) -> PlanCase:
        for what, tables in (("structures", self.structures), ("tools", self.tools)):
            names = [table.name for table in tables]
            if len(set(names)) < len(names):
                raise ValueError(f"expected {what} with different names, got {names}")
        return self

    @model_validator(mode="after")
    def _ends_keep_their_names(self) -> PlanCase:
        taken = sorted(self.end_names() & {table.name for table in self.structures})
        if taken:
            raise ValueError(
                f"expected structures with other names than {taken}: so are the masks of entry and target called"
            )
        return self

    @model_validator(mode="after")
    def _one_tool_or_several(self) -> PlanCase:
        single = {"tool": self.tool, "target": self.target, "entry": self.entry}
        if self.tools:
            given = [name for name, table in single.items() if table is not None]
            if given:
                raise ValueError(
                    f"expected either [[tools]] or [tool], [target] and [entry], got [[tools]] and {given}"
                )
            if len(self.tools) < 2:
                raise ValueError("expected at least two [[tools]]; one is written as [tool], [target] and [entry]")
            return self
        absent = [name for name, table in single.items() if table is None]
        if absent:
            raise ValueError(f"{' and '.join(absent)} missing: expected [tool], [target] and [entry], or [[tools]]")
        return self

    def asked_tools(self) -> tuple[AskedTool, ...]:
        """The only tool under the name ``tool``, or all of several."""
        if self.tool is not None and self.target is not None and self.entry is not None:
            return (AskedTool("tool", self.tool, self.target, self.entry),)
        return tuple(AskedTool(table.name, table, table.target, table.entry) for table in self.tools)

    def request(self) -> PlanRequest:
        """What the file asks for."""
        return PlanRequest(
            tools=tuple(
                ToolRequest(
                    Tool(asked.tool.radius_mm, asked.tool.entry_error_mm, asked.tool.target_error_mm),
                    asked.target.request(self._end_name("target", asked)),
                    asked.entry.request(self._end_name("entry", asked)),
                    asked.name,
                )
                for asked in self.asked_tools()
            ),
            structures=tuple(table.request() for table in self.structures),
            title=self.title,
            min_tool_gap_mm=self.min_tool_gap_mm,
            limits=Limits(**self.limits.model_dump()),
            bone_rule=BoneRule(**self.unsegmented_bone.model_dump()),
            weights=Weights(**self.weights.model_dump()),
            search=SearchSettings(**self.search.model_dump()),
        )

    def end_masks(self) -> dict[str, Path]:
        """Masks that entries and targets bring along, by the names they are known by."""
        found = {}
        for asked in self.asked_tools():
            for place, mask in (("entry", asked.entry.mask), ("target", asked.target.mask)):
                if mask is not None:
                    found[self._end_name(place, asked)] = mask
        return found

    def end_names(self) -> set[str]:
        """Names that structures cannot have, as masks of entries and targets and the skin do."""
        skin = {SKIN} if any(asked.entry.skin for asked in self.asked_tools()) else set()
        return skin | set(self.end_masks())

    def _end_name(self, place: str, asked: AskedTool) -> str:
        if self.tool is not None or (place == "entry" and len({one.entry.mask for one in self.asked_tools()}) == 1):
            return place
        return f"{place} of {asked.name}"


def _position(values: list[float]) -> tuple[float, float, float]:
    x, y, z = values
    return x, y, z


EndTable = TypeVar("EndTable", TargetTable, EntryTable)


def read_case(path: Path) -> PlanCase:
    """Read and check a case file.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is missing, unknown or wrong; the message names every one.
    """
    try:
        document = tomllib.loads(read_text_file(path, "a case file", ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Expected TOML in {path}: {error}.") from error
    try:
        case = PlanCase.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_told(mistake) for mistake in error.errors())) from error
    return _with_places(case, path)


def _told(mistake: object) -> str:
    """One mistake: the place in the file, what is wrong, what came."""
    if not isinstance(mistake, dict):
        return str(mistake)
    place = ".".join(str(part) for part in mistake["loc"]) or "case"
    message = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] in ("missing", "extra_forbidden"):
        return f"{place}: {'is missing' if mistake['type'] == 'missing' else 'is no entry of a case file'}"
    came = mistake.get("input")
    got = f", got {came!r}" if not isinstance(came, dict | list) or len(str(came)) < 60 else ""
    return f"{place}: {message[:1].lower()}{message[1:]}{got}"


def _with_places(case: PlanCase, path: Path) -> PlanCase:
    """Make the paths absolute, and refuse those that lead nowhere."""
    folder = path.resolve().parent
    absent: list[str] = []

    def place(key: str, stated: Path | None) -> Path | None:
        if stated is None:
            return None
        whole = stated if stated.is_absolute() else folder / stated
        if not whole.exists():
            absent.append(f"{key} = {whole}")
        return whole

    structures = [
        structure.model_copy(
            update={
                "mask": place(f"structures[{structure.name}].mask", structure.mask),
                "spread": place(f"structures[{structure.name}].spread", structure.spread),
                "calibration": place(f"structures[{structure.name}].calibration", structure.calibration),
            }
        )
        for structure in case.structures
    ]
    study = case.study and case.study.model_copy(update={"path": place("study.path", case.study.path)})

    def placed(key: str, table: EndTable) -> EndTable:
        return table.model_copy(update={"mask": place(f"{key}.mask", table.mask)})

    target = case.target and placed("target", case.target)
    entry = case.entry and placed("entry", case.entry)
    tools = [
        table.model_copy(
            update={
                "target": placed(f"tools[{table.name}].target", table.target),
                "entry": placed(f"tools[{table.name}].entry", table.entry),
            }
        )
        for table in case.tools
    ]
    if absent:
        raise ConfigError(f"{path} names files that do not exist: {'; '.join(absent)}.")
    return case.model_copy(
        update={"structures": structures, "study": study, "target": target, "entry": entry, "tools": tools}
    )
