"""The planner: sample trajectories, keep those that break no limit, return a few alternatives.

The certified clearance stays valid although the trajectory was chosen for it: the margins belong to the surfaces of the
structures and hold for all trajectories at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.alternatives import (
    Alternative,
    HitMeasure,
    describe,
    distinct,
    explained,
    non_dominated,
    soft_score,
)
from medsam_planner.planning.candidates import SHORTEST_MM, Candidates, explore
from medsam_planner.planning.clearance import build_distance_fields, clearance_in
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.free_ends import free_ends
from medsam_planner.planning.problem import PlanningProblem, Weights
from medsam_planner.planning.relaxations import NearestMiss, Relaxation, find_relaxations, nearest_miss
from medsam_planner.progress import Progress

__all__ = [
    "ExploredTool",
    "PlanResult",
    "explore_tool",
    "infeasible",
    "plan_of",
    "risk_map_mm",
    "search",
    "worth_showing",
]

_SHORTLIST = 2
"""Trajectories that are measured in full for each alternative that is shown: a gain in hit probability
may outweigh what it loses in clearance."""


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult:
    """The plan of one tool, also when there is none."""

    feasible: bool
    alternatives: tuple[Alternative, ...]
    """Best first; empty when infeasible."""
    relaxations: tuple[Relaxation, ...]
    """Empty when feasible."""
    candidate_count: int
    """Number of trajectories that were examined."""
    feasible_count: int
    """How many of them break no limit."""
    reasons: tuple[str, ...] = ()
    """Sentences about structures that contain the entry or the target; when infeasible, the first says why."""
    nearest_miss: NearestMiss | None = None
    """When infeasible, the trajectory with the smallest shortage of clearance."""


@dataclass(frozen=True, slots=True, eq=False)
class ExploredTool:
    """All candidate trajectories of one tool, and those that break no limit."""

    fields: tuple[DistanceField, ...]
    explored: Candidates
    allowed: NDArray[np.intp]
    """(A,) numbers of the trajectories that break no limit."""
    score: NDArray[np.float64]
    """(A,) soft score before the hit probability is known."""
    is_on_front: NDArray[np.bool_]
    """(A,) whether no other allowed trajectory is at least as good in clearance, length and angle, and
    better in one of them (the Pareto front)."""
    problem: PlanningProblem
    """The problem without the ends that lie inside a structure to avoid."""
    reasons: tuple[str, ...] = ()
    """See :class:`PlanResult`."""

    @property
    def trajectories_lps_mm(self) -> NDArray[np.float64]:
        """(A, 2, 3) the allowed trajectories."""
        return self.explored.trajectories_lps_mm[self.allowed]

    def distinct(self, *, separation_mm: float, count: int) -> list[int]:
        """Places in `allowed` of the best trajectories that lie apart: those of the front first, best first."""
        # Where the front is one bundle, the best distinct trajectories behind it follow.
        order = self.score + self.is_on_front * 10.0
        return distinct(self.trajectories_lps_mm, order, separation_mm=separation_mm, count=count)


def explore_tool(
    problem: PlanningProblem,
    *,
    fields: tuple[DistanceField, ...] | None = None,
    progress: Progress | None = None,
) -> ExploredTool:
    """Sample and measure trajectories, coarsely and then more finely around the best; none where an end is blocked.

    Parameters
    ----------
    problem : PlanningProblem
    fields : tuple of DistanceField, optional
        Of the structures, in their order, for a region around all ends; by default they are built.
    progress : Progress, optional
    """
    free = free_ends(problem)
    problem = free.problem
    if free.is_blocked:
        nothing = np.empty(0)
        return ExploredTool(
            (), Candidates.none(), nothing.astype(np.intp), nothing, nothing.astype(bool), problem, free.reasons
        )
    ends = np.concatenate([problem.entry.points_lps_mm, problem.targets_lps_mm])
    if fields is None:
        fields = build_distance_fields(problem.structures, ends, progress=progress)
    explored = explore(problem, fields, progress=progress)
    allowed = np.flatnonzero(explored.within(problem.limits))
    certified, length, angle = (
        explored.certified_mm[allowed],
        explored.length_mm[allowed],
        explored.entry_angle_deg[allowed],
    )
    longest = float(explored.length_mm.max()) if len(explored.length_mm) else 0.0
    score = soft_score(certified, length, angle, problem.weights, longest_mm=longest)
    # Clearance beyond the scale does not count, so it must not keep a trajectory on the front either.
    useful = np.minimum(certified, problem.weights.clearance_scale_mm)
    front = non_dominated(np.round(np.stack([-useful, length, angle], axis=1), 2))
    return ExploredTool(fields, explored, allowed, score, front, problem, free.reasons)


def search(
    problem: PlanningProblem,
    *,
    fields: tuple[DistanceField, ...] | None = None,
    hit: HitMeasure | None = None,
    progress: Progress | None = None,
) -> PlanResult:
    """Find straight paths from the entry region to the target region.

    Parameters
    ----------
    problem : PlanningProblem
    fields, hit : optional
        What is kept of an earlier search, see :func:`explore_tool` and :func:`describe`.
    progress : Progress, optional

    Returns
    -------
    PlanResult
        Deterministic: the same problem gives the same plan. That there is no trajectory is a result and not an error.
        No alternative is beaten by another in one of clearance, length, angle and hit probability without beating it in
        another.
    """
    found = explore_tool(problem, fields=fields, progress=progress)
    return plan_of(found, problem, hit=hit, progress=progress)


def plan_of(
    found: ExploredTool,
    problem: PlanningProblem,
    *,
    hit: HitMeasure | None = None,
    progress: Progress | None = None,
) -> PlanResult:
    """The plan of one tool from its candidate trajectories; `hit` as in :func:`describe`."""
    if len(found.allowed) == 0:
        return infeasible(found, progress=progress)
    settings = problem.settings
    chosen = found.distinct(separation_mm=settings.min_separation_mm, count=_SHORTLIST * settings.alternatives)
    chosen = [number for number in chosen if found.is_on_front[number]] or chosen[:1]
    numbers = found.allowed[chosen].tolist()
    measured = describe(problem, found.fields, found.explored, numbers, hit=hit, progress=progress)
    alternatives = worth_showing(measured, problem.weights)[: settings.alternatives]
    return PlanResult(
        True, explained(alternatives), (), len(found.explored.length_mm), len(found.allowed), reasons=found.reasons
    )


def infeasible(found: ExploredTool, *, progress: Progress | None = None) -> PlanResult:
    """A plan without alternatives, with what to relax; without relaxations where an end is blocked."""
    if not found.fields and found.reasons:
        return PlanResult(False, (), (), 0, 0, found.reasons)
    problem = found.problem
    every = explore(problem, found.fields, every_trajectory=True, progress=progress)
    relaxations = find_relaxations(problem, found.fields, every)
    miss = nearest_miss(problem, found.fields, every)
    return PlanResult(False, (), relaxations, len(every.length_mm), 0, found.reasons, miss)


def worth_showing(measured: Sequence[Alternative], weights: Weights) -> tuple[Alternative, ...]:
    """The Pareto front over clearance, length, angle and hit probability, best score first."""
    costs = [
        (
            -min(trajectory.certified_clearance_mm, weights.clearance_scale_mm),
            trajectory.length_mm,
            trajectory.entry_angle_deg,
            100 * trajectory.hit_probability,
        )
        for trajectory in measured
    ]
    kept = non_dominated(np.round(np.array(costs, dtype=np.float64).reshape(-1, 4), 2))
    return tuple(trajectory for trajectory, is_kept in zip(measured, kept, strict=True) if is_kept)


def risk_map_mm(
    problem: PlanningProblem,
    points_lps_mm: NDArray[np.float64],
    *,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Best certified clearance over the targets from each point of a surface.

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
    fields = build_distance_fields(problem.structures, np.concatenate([points_lps_mm, targets]), progress=progress)
    best = np.full(len(points_lps_mm), -np.inf)
    for target in targets:
        trajectories = np.stack([points_lps_mm, np.broadcast_to(target, points_lps_mm.shape)], axis=1)
        length = np.linalg.norm(trajectories[:, 1] - trajectories[:, 0], axis=1)
        reachable = (length <= problem.limits.max_length_mm) & (
            length >= max(problem.limits.min_length_mm, SHORTEST_MM)
        )
        if reachable.any():
            measured_mm = clearance_in(fields, trajectories[reachable], problem.tool, progress=progress).certified_mm
            best[reachable] = np.maximum(best[reachable], measured_mm)
    return np.where(np.isfinite(best), best, np.nan).astype(np.float32)
