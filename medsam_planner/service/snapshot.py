"""What a page shows, as it stood at one moment. Readers take one snapshot and never see half of a change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import index_from_lps
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.search import PlanResult
from medsam_planner.report.assessment import Assessment
from medsam_planner.service.display import Plane, SliceDisplay
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.structure import Structure
from medsam_planner.volumes import StudyVolume
from prompts import PositionLpsMm

__all__ = ["Snapshot"]

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A workbench at one moment; replaced whole, never edited."""

    version: int = 0
    """Higher with every change."""
    study: StudyVolume | None = None
    study_number: int = 0
    """Counts the studies this page opened."""
    structures: Mapping[str, Structure] = field(default_factory=lambda: _NOTHING)
    active: str = ""
    """Name of the structure being worked on; empty without a study."""
    displays: Mapping[Plane, SliceDisplay] = field(default_factory=lambda: _NOTHING)
    windows: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: _NOTHING)
    draft: PlanDraft = field(default_factory=PlanDraft)
    plan: PlanResult | None = None
    chosen: int = 0
    """Alternative that is drawn."""
    margin_statements: tuple[MarginStatement, ...] = ()
    """Of the plan: why each margin is as wide as it is."""
    assessment: Assessment | None = None
    """Of the plan: its verdict and what must be known beside it."""
    notes: tuple[str, ...] = ()
    """What could not be made beside the plan or the download, and why."""
    has_report: bool = False
    has_archive: bool = False

    @property
    def structure(self) -> Structure | None:
        """The one being worked on."""
        return self.structures.get(self.active)

    @property
    def chosen_trajectory_lps_mm(self) -> NDArray[np.float64] | None:
        """(2, 3) entry and target of the alternative that is drawn; None without a path."""
        if self.plan is None or not self.plan.alternatives:
            return None
        one = self.plan.alternatives[min(self.chosen, len(self.plan.alternatives) - 1)]
        return np.array([one.entry_lps_mm, one.target_lps_mm], dtype=np.float64)

    def slice_of(self, plane: Plane, position_lps_mm: PositionLpsMm) -> int:
        """The slice of a plane that holds a place."""
        display = self.displays[plane]
        return int(np.rint(index_from_lps(display.affine, position_lps_mm)[display.axis]))
