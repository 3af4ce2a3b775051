"""What a worker is asked when a person reviews a plan: to read a line, to plan at once, to write what was decided."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.planning.alternatives import Alternative
from medsam_planner.planning.clearance import trajectory_array
from medsam_planner.planning.line_reader import LineReading
from medsam_planner.planning.multi_tool import JointPlan, search_together
from medsam_planner.planning.plan_document import alternative_entry
from medsam_planner.planning.request import PlanRequest
from medsam_planner.planning.search import PlanResult
from medsam_planner.planning.tool import Tool
from medsam_planner.planning.tool_gap import tool_gap
from medsam_planner.progress import Progress
from medsam_planner.provenance import PlanOrigin
from medsam_planner.report.decision import Decision
from medsam_planner.report.verdict import crossed
from medsam_planner.service.core.drawn_surfaces import drawing_into
from medsam_planner.service.core.plan_memory import KeptPlan
from medsam_planner.service.core.requests import Known, Request
from medsam_planner.service.core.worker_memory import StudyKey, WorkerMemory
from medsam_planner.workflow.plan import plan_of_lines
from medsam_planner.workflow.written_plan import write_made_plan

__all__ = ["FOUND", "Document", "QuickPlan", "ReadLine", "ReviewedPlan"]

FOUND = "found.json"
"""``plan.json`` as the search has left it, once its report is written again: paths keep their numbers by it."""
_QUICK_CANDIDATES = 4000
"""Trajectories of the coarse round of a quick plan; the finer rounds look around the best of them as usual."""
_SAME_MM = 0.02
"""A clearance that is measured again may differ by this: twice the tolerance of the search."""


@dataclass(frozen=True, slots=True)
class ReviewedPlan:
    """A plan as a worker finds it."""

    session: str
    study: StudyKey
    request: PlanRequest
    origin: PlanOrigin
    known: Mapping[str, Known]
    """By structure."""

    def kept(self, memory: WorkerMemory) -> KeptPlan:
        """What is kept of it."""
        key = (self.study, tuple(sorted((name, str(one.path)) for name, one in self.known.items())))
        return memory.plans.find(
            key,
            self.request,
            memory.volume(self.study),
            lambda: {name: one.evidence(memory, self.study) for name, one in self.known.items()},
            self.origin,
        )


@dataclass(frozen=True, slots=True)
class ReadLine:
    """Measure one line that a person places."""

    plan: ReviewedPlan
    tool_name: str
    tool: Tool
    """May differ from that of the plan."""
    line_lps_mm: NDArray[np.float64]
    """(2, 3) entry, then target."""
    others_lps_mm: NDArray[np.float64]
    """(N, 2, 3) the lines of the plan: fields are built around them, too."""
    is_on_surface: bool
    """Whether the entry is moved along the line to the surface that is entered."""
    is_live: bool
    """Whether to leave out what takes long and is not there yet."""

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.plan.session

    def may_interrupt(self, running: Request) -> bool:
        """It changes nothing that a running request reads."""
        return True

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the measures as ``plan.json`` has them, and what is not certified about them."""
        begun_s = time.perf_counter()
        line = trajectory_array(np.asarray(self.line_lps_mm, dtype=np.float64)[None])
        kept = self.plan.kept(memory)
        lines = np.concatenate([line, self.others_lps_mm]) if len(self.others_lps_mm) else line
        kept.cover(line)
        kept.cover_samples(lines, memory.plans.pool)
        built: list[str] = []
        reader = kept.reader(self.tool_name, built)
        trajectory = reader.on_surface(line[0]) if self.is_on_surface else line[0]
        reading = reader.read(trajectory, self.tool, is_live=self.is_live)
        return {
            "line": _plain(alternative_entry(reading.line)),
            "crossed": crossed(reading.line),
            "not_certified": not_certified(reading, self.plan.request.tools[0].entry.surface),
            "broken_limits": list(reading.broken_limits),
            "is_at_surface": reading.is_at_surface,
            "is_hit_known": reading.is_hit_known,
            "margins": _margins(kept),
            "built": built,
            "took_ms": round(1000 * (time.perf_counter() - begun_s), 1),
        }


@dataclass(frozen=True, slots=True)
class QuickPlan:
    """Plan again in fields that are kept; ``plan.json`` alone is written."""

    plan: ReviewedPlan
    folder: Path

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.plan.session

    def may_interrupt(self, running: Request) -> bool:
        """It may take a second."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the summary of the plan, with what had to be computed anew."""
        begun_s = time.perf_counter()
        kept, built = self.plan.kept(memory), list[str]()
        inputs = kept.inputs
        ends = np.concatenate([one.targets_lps_mm for one in inputs.problems.values()])
        kept.cover(np.stack([ends, ends], axis=1))
        fields = {name: kept.fields_for(one.structures, built) for name, one in inputs.problems.items()}
        readers = {name: kept.reader(name, []) for name in inputs.problems}
        effort = min(_QUICK_CANDIDATES, self.plan.request.search.candidates)
        problems = {
            name: replace(one, settings=replace(one.settings, candidates=effort))
            for name, one in inputs.problems.items()
        }
        joint = search_together(
            problems,
            min_gap_mm=self.plan.request.min_tool_gap_mm,
            fields=fields,
            hit=next(iter(readers.values())).hit,
            progress=progress,
        )
        made = plan_of_lines(inputs, joint)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "plan.json", made.document())
        lines = [[one.entry_lps_mm, one.target_lps_mm] for found in joint.plans.values() for one in found.alternatives]
        if lines:
            kept.cover_samples(np.array(lines), memory.plans.pool)
        return {
            "plan": self.folder.name,
            "is_feasible": made.feasible,
            "notes": list(inputs.notes),
            "built": built,
            "took_ms": round(1000 * (time.perf_counter() - begun_s), 1),
        }


@dataclass(frozen=True, slots=True)
class Document:
    """Write the report and the DICOM objects of a plan as it stands, with the decision on it."""

    plan: ReviewedPlan
    lines: Mapping[str, tuple[Mapping[str, Any], ...]]
    """By tool, the paths as ``plan.json`` has them, the one that is shown first."""
    decision: Decision | None
    folder: Path

    @property
    def session(self) -> str:
        """Which session it is for."""
        return self.plan.session

    def may_interrupt(self, running: Request) -> bool:
        """It is long."""
        return False

    def run(self, memory: WorkerMemory, progress: Progress) -> dict[str, Any]:
        """Gives the summary of the plan.

        Raises
        ------
        PlanningError
            If a path has another clearance than it was shown with: what was decided on is then not what is written.
        """
        kept, built = self.plan.kept(memory), list[str]()
        inputs = kept.inputs
        plans = {}
        for name, entries in self.lines.items():
            ends = np.array([[one["entry_lps_mm"], one["target_lps_mm"]] for one in entries], dtype=np.float64)
            kept.cover(ends)
            reader = kept.reader(name, built)
            tool = inputs.problems[name].tool
            found = tuple(
                _measured_again(entry, reader.read(line, tool, is_live=False).line)
                for entry, line in zip(entries, ends, strict=True)
            )
            count = int(entries[0].get("candidate_count", 0)), int(entries[0].get("feasible_count", 0))
            plans[name] = PlanResult(True, found, (), *count)
        joint = _joint(plans, self.plan)
        made = plan_of_lines(inputs, joint, decision=self.decision)
        if not (self.folder / FOUND).exists():
            write_whole(self.folder / FOUND, (self.folder / "plan.json").read_text(encoding="utf-8"))
        written = write_made_plan(made, self.folder, draw=drawing_into(self.folder), progress=progress)
        return {"plan": self.folder.name, "is_feasible": written.feasible, "notes": list(written.notes)}


def not_certified(reading: LineReading, entered: str) -> list[str]:
    """What is not certified about a line, each as a sentence."""
    told = []
    line = reading.line
    if not line.clearance_mm_by_structure:
        told.append("No structure was checked.")
    if math.isinf(reading.below_surface_mm):
        where = "inside" if reading.below_surface_mm > 0 else "outside"
        told.append(f"The entry lies far {where} the {entered}: what lies before it was not checked.")
    elif not reading.is_at_surface:
        where = "below" if reading.below_surface_mm > 0 else "outside"
        told.append(
            f"The entry lies {abs(reading.below_surface_mm):.0f} mm {where} the surface of {entered}"
            + (": what lies before it was not checked." if reading.below_surface_mm > 0 else ".")
        )
    for one in line.crossings or ():
        if one.kind.value != "outside" or one.from_mm > 0 or one.length_mm > 5:
            named = {"bone": "unsegmented bone or as dense as bone", "air": "air", "outside": "space outside the body"}
            told.append(f"{one.from_mm:.0f} to {one.to_mm:.0f} mm: {named[one.kind.value]}, not checked.")
    if line.crossings is None or line.value_profile is None or line.value_profile.unit != "HU":
        told.append("Bone and air cannot be told from soft tissue in this study.")
    return told


def _measured_again(shown: Mapping[str, Any], found: Alternative) -> Alternative:
    before, now = shown["certified_clearance_mm"], found.certified_clearance_mm
    before = math.inf if before is None else float(before)
    if before != now and not abs(before - now) <= _SAME_MM:
        raise PlanningError(
            f"Expected the certified clearance that was shown, {before:.2f} mm, got {now:.2f} mm: the masks or their "
            "margins have changed since. Find paths again."
        )
    angle = shown["entry_angle_deg"]
    return replace(
        found,
        entry_angle_deg=found.entry_angle_deg if angle is None else float(angle),
        score=float(shown["score"]),
        reason=str(shown["reason"]),
        is_by_hand=bool(shown.get("by_hand", False)),
    )


def _joint(plans: Mapping[str, PlanResult], plan: ReviewedPlan) -> JointPlan:
    """The first lines of all tools together."""
    tools = {one.name: one.tool for one in plan.request.tools}
    names, least = list(plans), plan.request.min_tool_gap_mm
    ends = {
        name: np.array([one.alternatives[0].entry_lps_mm, one.alternatives[0].target_lps_mm])
        for name, one in plans.items()
    }
    gaps = [
        tool_gap(first, ends[first], tools[first], second, ends[second], tools[second])
        for number, first in enumerate(names)
        for second in names[number + 1 :]
    ]
    gaps.sort(key=lambda gap: gap.certified_mm)
    return JointPlan(not gaps or gaps[0].certified_mm >= least, plans, tuple(gaps), least)


def _margins(kept: KeptPlan) -> dict[str, list[float]]:
    """Smallest and largest margin by structure, mm."""
    return {name: [one.smallest_margin_mm, one.largest_margin_mm] for name, (_, one) in kept.fields.items()}


def _plain(value: Any) -> Any:
    """JSON has no NaN: what is not known is null."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
