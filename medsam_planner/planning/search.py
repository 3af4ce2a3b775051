"""The planner: draw lines, keep those that break no limit, return a few that are worth a surgeon's time.

Clearance that was certified for the chosen line holds although the line was chosen: the margins belong to the
structures' surfaces and hold for all lines at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.alternatives import Alternative, describe, distinct, non_dominated, soft_score
from medsam_planner.planning.candidates import explore
from medsam_planner.planning.clearance import build_fields, clearance_in
from medsam_planner.planning.problem import PlanningProblem
from medsam_planner.planning.relaxations import Relaxation, find_relaxations
from medsam_planner.progress import Progress

__all__ = ["PlanResult", "risk_map_mm", "search"]


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult:
    """The answer, also when it is no."""

    feasible: bool
    alternatives: tuple[Alternative, ...]
    """Best first; empty when infeasible."""
    relaxations: tuple[Relaxation, ...]
    """Empty when feasible."""
    candidate_count: int
    """Lines that were looked at."""
    feasible_count: int
    """Of those, lines that break no limit."""


def search(problem: PlanningProblem, *, progress: Progress | None = None) -> PlanResult:
    """Find straight paths from the entry region to the target region.

    Parameters
    ----------
    problem : PlanningProblem
    progress : Progress, optional

    Returns
    -------
    PlanResult
        Deterministic: the same problem gives the same plan. That no line exists is an answer and not an error.
    """
    ends = np.concatenate([problem.entry.points_lps_mm, problem.targets_lps_mm])
    fields = build_fields(problem.structures, ends, progress=progress)
    seen = explore(problem, fields, progress=progress)
    allowed = np.flatnonzero(seen.within(problem.limits))
    if len(allowed) == 0:
        every = explore(problem, fields, every_line=True, progress=progress)
        relaxations = find_relaxations(problem, fields, every)
        return PlanResult(False, (), relaxations, len(every.length_mm), 0)
    certified, length, angle = seen.certified_mm[allowed], seen.length_mm[allowed], seen.entry_angle_deg[allowed]
    score = soft_score(certified, length, angle, problem.weights, longest_mm=float(seen.length_mm.max()))
    # Room beyond the scale buys nothing, so it may not keep a line on the front either.
    useful = np.minimum(certified, problem.weights.clearance_scale_mm)
    front = non_dominated(np.round(np.stack([-useful, length, angle], axis=1), 2))
    # Distinct lines of the front first; where the front is one bundle, the best distinct lines behind it.
    order = score + front * 10.0
    chosen = distinct(
        seen.lines_lps_mm[allowed],
        order,
        separation_mm=problem.settings.min_separation_mm,
        count=problem.settings.alternatives,
    )
    chosen = [number for number in chosen if front[number]] or chosen[:1]
    alternatives = describe(problem, fields, seen, allowed[chosen].tolist())
    return PlanResult(True, alternatives, (), len(seen.length_mm), len(allowed))


def risk_map_mm(
    problem: PlanningProblem,
    points_lps_mm: NDArray[np.float64],
    *,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Best certified clearance over the targets from each point of a surface, to be painted on it.

    Parameters
    ----------
    problem : PlanningProblem
        Its own entry region is not used.
    points_lps_mm : (V, 3) float
        For instance vertices of the entry surface.

    Returns
    -------
    (V,) float32
        mm; points from which no target lies within the length limits are NaN.
    """
    targets = problem.targets_lps_mm[: min(len(problem.targets_lps_mm), 5)]
    fields = build_fields(problem.structures, np.concatenate([points_lps_mm, targets]), progress=progress)
    best = np.full(len(points_lps_mm), -np.inf)
    for target in targets:
        lines = np.stack([points_lps_mm, np.broadcast_to(target, points_lps_mm.shape)], axis=1)
        length = np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1)
        reachable = (length <= problem.limits.max_length_mm) & (length >= problem.limits.min_length_mm)
        if reachable.any():
            room = clearance_in(fields, lines[reachable], problem.tool, progress=progress).certified_mm
            best[reachable] = np.maximum(best[reachable], room)
    return np.where(np.isfinite(best), best, np.nan).astype(np.float32)
