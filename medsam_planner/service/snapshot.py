"""The state of a workbench at one moment. A reader takes one snapshot and never sees half of a change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import index_from_lps
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.search import PlanResult
from medsam_planner.report.assessment import Assessment
from medsam_planner.report.decision import Decision
from medsam_planner.service.body_box import BodyBox
from medsam_planner.service.core.plan_review import PlanReview
from medsam_planner.service.core.structure_list import Deleted
from medsam_planner.service.display import Plane, SliceDisplay
from medsam_planner.service.held_plan import HeldPlan
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.read_plan import ReadPlan
from medsam_planner.service.structure import Role, Structure
from medsam_planner.volumes import StudyVolume
from prompts import PositionLpsMm

__all__ = ["Snapshot"]

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A workbench at one moment; replaced as a whole, never edited."""

    first_version: int = 0
    version: int = 0
    """Higher with every change: `first_version`, and the number of the session's last record."""
    work: str = ""
    """Identifier of the session."""
    load_study: Callable[[], StudyVolume] | None = field(default=None, repr=False)
    """Gives the open study, which is read again where it is no longer in memory."""
    structures: Mapping[str, Structure] = field(default_factory=lambda: _NOTHING)
    deleted: tuple[Deleted, ...] = ()
    """The structures that can be restored, the one deleted last at the end."""
    active: str = ""
    """Name of the structure being worked on; empty without a study."""
    displays: Mapping[Plane, SliceDisplay] = field(default_factory=lambda: _NOTHING)
    windows: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: _NOTHING)
    """Presets of the display window, each with its ``centre`` and ``width``."""
    body: BodyBox | None = None
    """Box around the body, which a view is zoomed to at first; None where body and air cannot be told apart."""
    draft: PlanDraft = field(default_factory=PlanDraft)
    read: ReadPlan | None = None
    """The last plan, as long as it holds."""
    plan_job: str | None = None
    """Which job made it."""
    tool: str = ""
    """Which tool of the plan is shown; empty without a plan."""
    chosen: int = 0
    """Number of the alternative that is shown."""
    review: PlanReview = field(default_factory=PlanReview)
    """Lines placed by hand, and the decision on the plan."""
    lost_decision: Decision | None = None
    """The acceptance that the last plan has lost."""
    has_report: bool = False
    """Whether the plan has a report to open."""
    is_being_written: bool = False
    """Whether its surfaces and a report of it are being written."""
    report_problem: str = ""
    """Why the last report could not be written."""
    notes: tuple[str, ...] = ()
    """What could not be written beside the plan, and why."""
    has_archive: bool = False
    download_notes: tuple[str, ...] = ()
    """What could not be written of the archive, and why."""
    newer: frozenset[str] = frozenset()
    """Structures whose 3D result came after the plan."""
    lost: tuple[str, ...] = ()
    """What of the session could not be read, in words."""

    @property
    def study(self) -> StudyVolume | None:
        """The open study.

        Raises
        ------
        StudyError
            If it cannot be read.
        """
        return None if self.load_study is None else self.load_study()

    @property
    def held(self) -> HeldPlan | None:
        """The last plan with what persons have done to it, as long as it holds."""
        return None if self.read is None or self.plan_job is None else HeldPlan(self.plan_job, self.read, self.review)

    @property
    def plan(self) -> PlanResult | None:
        """The plan of the tool that is shown, with the lines placed by hand, as long as it holds."""
        return self.plans.get(self.tool)

    @property
    def plans(self) -> Mapping[str, PlanResult]:
        """By tool: its plan, with the lines placed by hand after those that were found."""
        return {} if self.held is None else self.held.paths

    @property
    def margin_statements(self) -> tuple[MarginStatement, ...]:
        """Why each margin of the plan is as wide as it is."""
        return () if self.read is None else self.read.margin_statements

    @property
    def assessment(self) -> Assessment | None:
        """Verdict and cautions of the plan."""
        return None if self.read is None else self.read.assessment

    @property
    def structure(self) -> Structure | None:
        """The structure being worked on."""
        return self.structures.get(self.active)

    @property
    def is_plan_outdated(self) -> bool:
        """Whether prompts of a structure in the plan changed since its 3D result, or that result since the plan."""
        planned = [one for one in self.structures.values() if one.role is not Role.IGNORE]
        return any(one.is_stale or one.name in self.newer for one in planned)

    @property
    def chosen_trajectory_lps_mm(self) -> NDArray[np.float64] | None:
        """(2, 3) entry and target of the alternative that is shown, LPS mm; None without one."""
        if self.plan is None or not self.plan.alternatives:
            return None
        one = self.plan.alternatives[min(self.chosen, len(self.plan.alternatives) - 1)]
        return np.array([one.entry_lps_mm, one.target_lps_mm], dtype=np.float64)

    def slice_of(self, plane: Plane, position_lps_mm: PositionLpsMm) -> int:
        """Index of the slice of `plane` that contains a position."""
        display = self.displays[plane]
        return int(np.rint(index_from_lps(display.affine, position_lps_mm)[display.axis]))
