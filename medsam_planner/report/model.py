"""What a report is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import highdicom

from medsam_planner.errors import GeometryError
from medsam_planner.planning.structures import StructureRole
from medsam_planner.provenance import PlanProvenance
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import StudyVolume
from prompts import PromptLog

if TYPE_CHECKING:
    from medsam_planner.mesh import Surface
    from medsam_planner.planning.margins import MarginStatement
    from medsam_planner.planning.mask_flaws import MaskFlaw
    from medsam_planner.planning.multi_tool import JointPlan
    from medsam_planner.planning.search import PlanResult
    from medsam_planner.planning.structure_evidence import StructureEvidence
    from medsam_planner.planning.surroundings import Surroundings
    from medsam_planner.planning.tool import Tool
    from medsam_planner.provenance import PropagationTrace
    from medsam_planner.report.decision import Decision
    from medsam_planner.segmentation.surface_explanation import WhyHere

__all__ = ["RISK_NAME", "PlanReport", "PlannedTool"]


RISK_NAME = "best_clearance_mm"
"""Name of the values of :attr:`PlanReport.risk_surface`, mm: what ``planning.search.risk_map_mm`` finds."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTool:
    """One tool and its plan."""

    name: str
    plan: PlanResult
    tool: Tool


@dataclass(frozen=True, slots=True, eq=False)
class PlanReport:
    """Everything one plan's report shows. Volumes share the study's grid; positions are LPS mm.

    Raises
    ------
    GeometryError
        If a mask or margin lies on another grid than the study.
    """

    title: str
    study: StudyVolume
    segmentations: Mapping[str, SegmentationResult]
    """By structure."""
    roles: Mapping[str, StructureRole]
    """By structure, in the order of the legend."""
    tools: tuple[PlannedTool, ...]
    """All of them; the first is the one that pictures are drawn for."""
    joint: JointPlan
    margins_mm: Mapping[str, highdicom.Volume | float] = field(default_factory=dict)
    """By structure: safety margin belonging to each voxel of the structure, or one for all."""
    surfaces: Mapping[str, Surface] = field(default_factory=dict)
    widened_surfaces: Mapping[str, Surface] = field(default_factory=dict)
    """By structure to avoid: where its margin ends."""
    risk_surface: Surface | None = None
    """Where the tool may enter, with the best clearance from each vertex as the values :data:`RISK_NAME`."""
    prompts: Mapping[str, PromptLog] = field(default_factory=dict)
    provenance: PlanProvenance | None = None
    masks: Mapping[str, highdicom.Volume] = field(default_factory=dict)
    """Structures that came as masks and were not segmented here, such as a drawn no-go region."""
    true_clearance_mm: Mapping[str, float] | None = None
    """By structure: clearance of the best alternative from the true structure in mm, tool radius subtracted. Known
    for phantoms only."""
    display_window: tuple[float, float] | None = None
    """Lowest and highest grey value; None chooses by modality."""
    why_here: Mapping[str, WhyHere] = field(default_factory=dict)
    """By tool: why the surface lies where it limits the best alternative."""
    margin_statements: tuple[MarginStatement, ...] = ()
    """Why each margin is as wide as it is, and what it guarantees."""
    surroundings: Surroundings | None = None
    """What the image alone says of places that nobody segmented."""
    evidence: Mapping[str, StructureEvidence] = field(default_factory=dict)
    """By structure."""
    flaws: Mapping[str, tuple[MaskFlaw, ...]] = field(default_factory=dict)
    """By structure: why its mask cannot bear a statement on how exact it is."""
    decision: Decision | None = None
    """What a person decided on it; None where nobody has."""
    created: str | None = None
    """When the plan was made, as it shall be printed. Never read from the clock: same plan, same bytes."""

    def __post_init__(self) -> None:
        shape = tuple(self.study.spatial_shape)
        named = [(name, result.mask) for name, result in self.segmentations.items()]
        named += list(self.masks.items())
        named += [(name, margin) for name, margin in self.margins_mm.items() if isinstance(margin, highdicom.Volume)]
        if self.risk_surface is not None and RISK_NAME not in self.risk_surface.values:
            raise GeometryError(
                f"Expected the risk surface with the values '{RISK_NAME}', got {sorted(self.risk_surface.values)}; "
                "add them with with_values()."
            )
        for name, volume in named:
            if tuple(volume.spatial_shape) != shape:
                raise GeometryError(
                    f"Expected '{name}' on the study's grid {shape}, got {tuple(volume.spatial_shape)}; "
                    "resample it first."
                )

    def mask(self, name: str) -> highdicom.Volume | None:
        """The mask of a structure, or None when only a role or a surface is known."""
        if name in self.segmentations:
            return self.segmentations[name].mask
        return self.masks.get(name)

    def trace(self, name: str) -> PropagationTrace | None:
        """How the mask of a structure was grown, where that is known."""
        if name in self.segmentations:
            return self.segmentations[name].trace
        return self.evidence[name].trace if name in self.evidence else None

    def structures(self) -> tuple[str, ...]:
        """Every named structure, those with a role first."""
        return tuple(dict.fromkeys([*self.roles, *self.segmentations, *self.masks]))

    @property
    def plan(self) -> PlanResult:
        """Of the first tool."""
        return self.tools[0].plan

    @property
    def tool(self) -> Tool:
        """The first one."""
        return self.tools[0].tool

    def seen_from(self, tool: PlannedTool) -> PlanReport:
        """The same report with `tool` as its first."""
        return replace(self, tools=(tool, *(other for other in self.tools if other.name != tool.name)))
