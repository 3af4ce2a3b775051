"""Read a plan back from its ``plan.json``, for those who show it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.planning.alternatives import Alternative, ClearanceProfile
from medsam_planner.planning.crossings import Crossing, CrossingKind, ValueProfile
from medsam_planner.planning.margins import MarginStatement
from medsam_planner.planning.relaxations import Relaxation
from medsam_planner.planning.search import PlanResult
from medsam_planner.provenance import PlanOrigin
from medsam_planner.report.assessment import Assessment
from medsam_planner.report.cautions import Caution, CautionKind
from medsam_planner.report.verdict import Verdict
from medsam_planner.service.core.review_requests import FOUND

__all__ = ["ReadPlan", "found_plan", "read_alternative", "read_plan"]


@dataclass(frozen=True, slots=True, eq=False)
class ReadPlan:
    """What is shown of a plan."""

    plan: PlanResult
    """Of the first tool; without the grades of screws and the nearest miss."""
    margin_statements: tuple[MarginStatement, ...]
    assessment: Assessment
    """Its verdict has no sentences."""
    notes: tuple[str, ...]
    request: Mapping[str, Any]
    """What was planned, as :meth:`PlanRequest.as_entry` gives it."""
    tools: Mapping[str, PlanResult]
    """By tool."""
    origin: PlanOrigin
    """Where the request came from."""


def found_plan(folder: Path) -> Path:
    """The ``plan.json`` of a plan as it was found: writing its report puts the path that is shown before the others."""
    kept = folder / FOUND
    return kept if kept.exists() else folder / "plan.json"


def read_plan(path: Path) -> ReadPlan:
    """Read a ``plan.json`` of this version.

    Raises
    ------
    PlanningError
        If it cannot be read.
    """
    try:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        tools = {one["name"]: _result(one) for one in document["tools"]}
        verdict = Verdict(document["verdict"]["kind"], document["verdict"]["headline"], ())
        cautions = tuple(
            Caution(CautionKind(one["kind"]), one["text"], one["structure"], one["is_unchecked"])
            for one in document["cautions"]
        )
        statements = tuple(
            MarginStatement(
                one["structure"], one["explanation"], one["guarantee_applies"], tuple(one["guarantee_voided_by"])
            )
            for one in document["margins"]
        )
        plan = next(iter(tools.values()))
        made = document["provenance"]
        origin = PlanOrigin(plan_file=made.get("case"), page=made.get("page", False))
        notes = tuple(document["notes"])
        return ReadPlan(plan, statements, Assessment(verdict, cautions), notes, made["request"], tools, origin)
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration) as error:
        raise PlanningError(f"The plan cannot be read ({error}). Find paths again.") from error


def _result(entry: Mapping[str, Any]) -> PlanResult:
    return PlanResult(
        feasible=entry["feasible"],
        alternatives=tuple(map(read_alternative, entry["alternatives"])),
        relaxations=tuple(map(_relaxation, entry["relaxations"])),
        candidate_count=entry["candidate_count"],
        feasible_count=entry["feasible_count"],
        reasons=tuple(entry["reasons"]),
    )


def read_alternative(entry: Mapping[str, Any]) -> Alternative:
    """A path as ``plan.json`` has it."""
    profile, values = entry["clearance_profile"], entry["value_profile"]
    return Alternative(
        entry_lps_mm=tuple(entry["entry_lps_mm"]),
        target_lps_mm=tuple(entry["target_lps_mm"]),
        certified_clearance_mm=_number(entry["certified_clearance_mm"]),
        sampled_clearance_mm=_number(entry["sampled_clearance_mm"]),
        limiting_structure=entry["limiting_structure"],
        limiting_point_lps_mm=tuple(entry["limiting_point_lps_mm"]),
        clearance_mm_by_structure={name: _number(value) for name, value in entry["clearance_mm_by_structure"].items()},
        hit_probability=entry["hit_probability"],
        hit_probability_interval=tuple(entry["hit_probability_interval"]),
        hit_probability_by_structure=entry["hit_probability_by_structure"],
        length_mm=entry["length_mm"],
        entry_angle_deg=entry["entry_angle_deg"],
        score=entry["score"],
        bone_density_hu=entry["bone_density_hu"],
        clearance_profile=ClearanceProfile(
            np.array(profile["distance_mm"]),
            {name: _numbers(values) for name, values in profile["clearance_mm_by_structure"].items()},
        ),
        reason=entry["reason"],
        is_by_hand=entry.get("by_hand", False),
        tool_density_hu=entry["tool_density_hu"],
        crossings=_crossings(entry["crossings"]),
        value_profile=None
        if values is None
        else ValueProfile(np.array(values["distance_mm"]), np.array(values["value"], dtype=float), values["unit"]),
    )


def _crossings(entries: list[Mapping[str, Any]] | None) -> tuple[Crossing, ...] | None:
    if entries is None:
        return None
    return tuple(
        Crossing(CrossingKind(one["kind"]), one["from_mm"], one["to_mm"], one["mean_value"]) for one in entries
    )


def _relaxation(entry: Mapping[str, Any]) -> Relaxation:
    witness = np.array([entry["witness_entry_lps_mm"], entry["witness_target_lps_mm"]], dtype=np.float64)
    return Relaxation(entry["constraint"], entry["amount"], entry["unit"], entry["relaxed_to"], witness, entry["text"])


def _number(value: float | None) -> float:
    """``plan.json`` has null for an unbounded value."""
    return math.inf if value is None else float(value)


def _numbers(values: list[float | None]) -> NDArray[np.float64]:
    return np.array([_number(value) for value in values])
