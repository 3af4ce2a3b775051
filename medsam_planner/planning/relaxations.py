"""Which single limit to relax, and by how much, when no trajectory keeps every limit.

Each relaxation has a witness: a trajectory that keeps all limits once that one is relaxed by that amount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.candidates import Candidates
from medsam_planner.planning.clearance import clearance_in
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.problem import Limits, PlanningProblem
from prompts.names import UNSEGMENTED_BONE

__all__ = ["NearestMiss", "Relaxation", "find_relaxations", "nearest_miss"]

_STEP = 0.1
"""Amounts are rounded up to this many mm or degrees, so that what is printed suffices."""
_MOST_TRAJECTORIES = 3000
_BONE_ADVICE = (
    "Only unsegmented bone is in the way. Move the entry. If the tool is meant to go through bone, allow it: untick "
    f"“Avoid unsegmented bone” in the workbench, or set avoid = false under [{UNSEGMENTED_BONE}] in the plan file."
)


_LIMIT_WORDS = {
    "max_length_mm": "Raise the maximum length",
    "min_length_mm": "Lower the minimum length",
    "max_entry_angle_deg": "Raise the maximum entry angle",
    "min_clearance_mm": "Lower the minimum clearance",
}


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """One limit that, relaxed by `amount`, makes a plan possible."""

    constraint: str
    """A field of :class:`~medsam_planner.planning.problem.Limits`, ``margin_mm:STRUCTURE``, or ``unsegmented_bone``."""
    amount: float
    """By how much, > 0."""
    unit: str
    relaxed_to: float | None
    """The new limit; None for a structure's margin, which is narrowed by `amount` everywhere, and for bone."""
    witness_lps_mm: NDArray[np.float64]
    """(2, 3) entry and target of a trajectory that is then possible."""
    text: str


@dataclass(frozen=True, slots=True, eq=False)
class NearestMiss:
    """Of the trajectories that keep the limits of length and angle, the one with the
    smallest shortage of clearance. It is not a plan."""

    trajectory_lps_mm: NDArray[np.float64]
    """(2, 3) entry and target."""
    structure: str
    """From which the clearance is too small."""
    shortage_mm: float
    """By how much it is too small, > 0."""


def find_relaxations(
    problem: PlanningProblem, fields: Sequence[DistanceField], seen: Candidates
) -> tuple[Relaxation, ...]:
    """Find the smallest relaxation of each limit alone, the smallest amount first.

    No relaxation lets a clearance or a margin fall below zero: the tool would lie inside what it must avoid.

    Parameters
    ----------
    problem : PlanningProblem
    fields : sequence of DistanceField
    seen : Candidates
        Measured without skipping those that break a limit of length or angle.
    """
    limits = problem.limits
    is_clear = seen.certified_mm >= limits.min_clearance_mm
    fits = seen.fits_geometry(limits)
    found = []
    free_length = replace(limits, max_length_mm=math.inf, min_length_mm=0.0)
    for constraint, free, excess, sign in (
        ("max_length_mm", free_length, seen.length_mm - limits.max_length_mm, 1),
        ("min_length_mm", free_length, limits.min_length_mm - seen.length_mm, -1),
        (
            "max_entry_angle_deg",
            replace(limits, max_entry_angle_deg=180.0),
            seen.entry_angle_deg - limits.max_entry_angle_deg,
            1,
        ),
    ):
        others_kept = is_clear & seen.fits_geometry(free) & (excess > 0)
        if others_kept.any():
            number = int(np.argmin(np.where(others_kept, excess, np.inf)))
            found.append(_of_limit(constraint, limits, float(excess[number]), sign, seen.trajectories_lps_mm[number]))
    if fits.any():
        number = int(np.argmax(np.where(fits, seen.certified_mm, -np.inf)))
        shortage = limits.min_clearance_mm - float(seen.certified_mm[number])
        if 0 < shortage <= limits.min_clearance_mm:
            found.append(_of_limit("min_clearance_mm", limits, shortage, -1, seen.trajectories_lps_mm[number]))
        found += _of_structures(problem, fields, seen, fits)
    return tuple(sorted(found, key=lambda relaxation: relaxation.amount))


def _of_limit(constraint: str, limits: Limits, excess: float, sign: int, trajectory: NDArray[np.float64]) -> Relaxation:
    amount = math.ceil(excess / _STEP + 1e-9) * _STEP
    unit = "deg" if constraint.endswith("_deg") else "mm"
    now = float(getattr(limits, constraint))
    relaxed = now + sign * amount
    sign_of_unit = "°" if unit == "deg" else " mm"
    words = f"{_LIMIT_WORDS[constraint]} by {amount:.1f}{sign_of_unit}"
    return Relaxation(
        constraint=constraint,
        amount=amount,
        unit=unit,
        relaxed_to=relaxed,
        witness_lps_mm=trajectory,
        text=f"{words} (from {now:.1f}{sign_of_unit} to {relaxed:.1f}{sign_of_unit}).",
    )


def nearest_miss(problem: PlanningProblem, fields: Sequence[DistanceField], seen: Candidates) -> NearestMiss | None:
    """The trajectory with the smallest shortage of clearance; None where none keeps length and angle, or none is short
    of clearance."""
    fits = np.flatnonzero(seen.fits_geometry(problem.limits))
    if not len(fits):
        return None
    trajectory = seen.trajectories_lps_mm[fits[np.argmax(seen.certified_mm[fits])]]
    measured = clearance_in(fields, trajectory[None], problem.tool)
    shortage = problem.limits.min_clearance_mm - float(measured.certified_mm[0])
    if not (math.isfinite(shortage) and shortage > 0):
        return None
    return NearestMiss(trajectory, str(measured.limiting_structure[0]), shortage)


def _of_structures(
    problem: PlanningProblem, fields: Sequence[DistanceField], seen: Candidates, fits: NDArray[np.bool_]
) -> list[Relaxation]:
    """For each structure, by how much its margin must shrink so that all limits are kept."""
    best_first = np.argsort(-np.where(fits, seen.certified_mm, -np.inf), kind="stable")
    numbers = best_first[: min(_MOST_TRAJECTORIES, int(fits.sum()))]
    trajectories = seen.trajectories_lps_mm[numbers]
    by_structure = clearance_in(fields, trajectories, problem.tool, each_structure=True).by_structure
    wanted = problem.limits.min_clearance_mm
    margin_mm = {field.name: field.smallest_margin_mm for field in fields}
    found = []
    for name in by_structure:
        others = [by_structure[other].certified_mm for other in by_structure if other != name]
        others_keep = np.min(others, axis=0) >= wanted if others else np.ones(len(trajectories), dtype=bool)
        shortage = np.where(others_keep, wanted - by_structure[name].certified_mm, np.inf)
        row = int(np.argmin(shortage))
        if not 0 < shortage[row] < math.inf:
            continue
        amount = math.ceil(float(shortage[row]) / _STEP + 1e-9) * _STEP
        is_bone = name == UNSEGMENTED_BONE
        if not is_bone and amount > margin_mm[name] + wanted:
            continue
        found.append(
            Relaxation(
                constraint=name if is_bone else f"margin_mm:{name}",
                amount=amount,
                unit="mm",
                relaxed_to=None,
                witness_lps_mm=trajectories[row],
                text=_BONE_ADVICE if is_bone else _margin_advice(name, amount, margin_mm[name]),
            )
        )
    return found


def _margin_advice(name: str, amount: float, margin_mm: float) -> str:
    if amount <= margin_mm:
        return f"Narrow the margin of {name} by {amount:.1f} mm; all other limits stay."
    return f"Accept {amount:.1f} mm less clearance from {name}, its margin included; all other limits stay."
