"""When no line keeps every limit: which single one to relax, and by how much.

Each answer has a witness, a line that keeps everything once that one limit is relaxed by that much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.candidates import Candidates
from medsam_planner.planning.clearance import clearance_in
from medsam_planner.planning.field import MarginField
from medsam_planner.planning.problem import Limits, PlanningProblem

__all__ = ["Relaxation", "find_relaxations"]

_STEP = 0.1
"""Amounts are rounded up to this many mm or degrees, so that what is printed suffices."""
_LINES_FOR_STRUCTURES = 3000


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """One limit that, relaxed by `amount`, makes a plan possible."""

    constraint: str
    """A field of :class:`~medsam_planner.planning.problem.Limits`, or ``margin_mm:STRUCTURE``."""
    amount: float
    """By how much, > 0."""
    unit: str
    relaxed_to: float | None
    """The new limit; None for a structure's margin, which is narrowed by `amount` everywhere."""
    witness_lps_mm: NDArray[np.float64]
    """(2, 3) entry and target of a line that is then possible."""
    text: str


def find_relaxations(
    problem: PlanningProblem, fields: Sequence[MarginField], seen: Candidates
) -> tuple[Relaxation, ...]:
    """Find the least relaxation of each limit by itself, the smallest share of the limit first.

    Parameters
    ----------
    problem : PlanningProblem
    fields : sequence of MarginField
    seen : Candidates
        Every one measured, also those that break a limit of length or angle.
    """
    limits = problem.limits
    has_room = seen.certified_mm >= limits.min_clearance_mm
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
        others_kept = has_room & seen.fits_geometry(free) & (excess > 0)
        if others_kept.any():
            number = int(np.argmin(np.where(others_kept, excess, np.inf)))
            found.append(_of_limit(constraint, limits, float(excess[number]), sign, seen.lines_lps_mm[number]))
    if fits.any():
        number = int(np.argmax(np.where(fits, seen.certified_mm, -np.inf)))
        shortage = limits.min_clearance_mm - float(seen.certified_mm[number])
        if math.isfinite(shortage) and shortage > 0:
            found.append(_of_limit("min_clearance_mm", limits, shortage, -1, seen.lines_lps_mm[number]))
        found += _of_structures(problem, fields, seen, fits)
    return tuple(sorted(found, key=lambda relaxation: relaxation.amount))


def _of_limit(constraint: str, limits: Limits, excess: float, sign: int, line: NDArray[np.float64]) -> Relaxation:
    amount = math.ceil(excess / _STEP + 1e-9) * _STEP
    unit = "deg" if constraint.endswith("_deg") else "mm"
    now = float(getattr(limits, constraint))
    relaxed = now + sign * amount
    word = {"max": "Raise", "min": "Lower"}[constraint[:3]]
    text = f"{word} {constraint} by {amount:.1f} {unit}, from {now:.1f} to {relaxed:.1f}."
    if constraint == "min_clearance_mm" and relaxed < 0:
        # Nobody should plan into a margin: what has to give is what the clearance was measured from.
        text = (
            f"The best line falls {amount:.1f} mm short ({constraint} {now:.1f} mm): "
            "a thinner or more accurate tool, or margins narrower by that much, would fit."
        )
    return Relaxation(
        constraint=constraint,
        amount=amount,
        unit=unit,
        relaxed_to=relaxed,
        witness_lps_mm=line,
        text=text,
    )


def _of_structures(
    problem: PlanningProblem, fields: Sequence[MarginField], seen: Candidates, fits: NDArray[np.bool_]
) -> list[Relaxation]:
    """Which one structure stands in the way, and by how much its margin would have to shrink."""
    best_first = np.argsort(-np.where(fits, seen.certified_mm, -np.inf), kind="stable")
    numbers = best_first[: min(_LINES_FOR_STRUCTURES, int(fits.sum()))]
    lines = seen.lines_lps_mm[numbers]
    room = clearance_in(fields, lines, problem.tool, each_structure=True).by_structure
    wanted = problem.limits.min_clearance_mm
    found = []
    for name in room:
        others = [room[other].certified_mm for other in room if other != name]
        others_keep = np.min(others, axis=0) >= wanted if others else np.ones(len(lines), dtype=bool)
        shortage = np.where(others_keep, wanted - room[name].certified_mm, np.inf)
        row = int(np.argmin(shortage))
        if not 0 < shortage[row] < math.inf:
            continue
        amount = math.ceil(float(shortage[row]) / _STEP + 1e-9) * _STEP
        found.append(
            Relaxation(
                constraint=f"margin_mm:{name}",
                amount=amount,
                unit="mm",
                relaxed_to=None,
                witness_lps_mm=lines[row],
                text=f"Accept {amount:.1f} mm less room at {name}, all other limits kept.",
            )
        )
    return found
