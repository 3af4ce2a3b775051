"""One tool, or several in one patient that must not collide, such as the electrodes of an SEEG.

A single tool takes the best of its trajectories. Several tools are first explored one by one. From a pool of good and
separate trajectories of each, one trajectory of each tool is chosen so that the smallest clearance of all, from
structures and between tools, is as large as possible. Then each tool in turn takes the best of all its trajectories,
with the other tools held fixed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.planning.alternatives import HitMeasure, describe, explained
from medsam_planner.planning.assignment import best_assignment
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.problem import PlanningProblem
from medsam_planner.planning.search import ExploredTool, PlanResult, explore_tool, plan_of, search, worth_showing
from medsam_planner.planning.tool_gap import ToolGap, tool_gap, tool_gaps_mm
from medsam_planner.progress import Progress, track

__all__ = ["JointPlan", "search_together"]

_POOL = 60
"""Trajectories of each tool that are tried together with every trajectory of every other."""
_POOL_SEPARATION = 0.5
"""Fraction of the separation of alternatives: the pool is denser than the alternatives that are shown."""
_ROUNDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class JointPlan:
    """The plan of all tools, one or several, also when there is none."""

    feasible: bool
    plans: Mapping[str, PlanResult]
    """By tool. The first alternative is the trajectory that belongs to the joint plan; the others may replace it by
    themselves, without coming too near the first trajectories of the other tools."""
    gaps: tuple[ToolGap, ...]
    """Each pair of tools, the tightest first; empty when a tool has no trajectory, or is alone."""
    min_gap_mm: float = 0.0
    relaxations: tuple[str, ...] = ()
    """What to change when the tools come too near each other."""


def search_together(
    problems: Mapping[str, PlanningProblem],
    *,
    min_gap_mm: float = 0.0,
    fields: Mapping[str, tuple[DistanceField, ...]] | None = None,
    hit: HitMeasure | None = None,
    progress: Progress | None = None,
) -> JointPlan:
    """Plan all tools of a patient; several tools keep clear of each other.

    Parameters
    ----------
    problems : name to PlanningProblem
        At least one. What one tool must avoid may differ from what another must.
    min_gap_mm : float
        Certified clearance demanded between every two tools, beyond their radii and errors.
    fields, hit : optional
        What is kept of an earlier search, the fields by tool; see :func:`~medsam_planner.planning.search.search`.
    progress : Progress, optional

    Returns
    -------
    JointPlan
        Deterministic: the same problems give the same plans.

    Raises
    ------
    PlanningError
        If there is no tool, or `min_gap_mm` is not a number.
    """
    if not problems:
        raise PlanningError("Expected at least one tool to plan, got none.")
    if not math.isfinite(min_gap_mm):
        raise PlanningError(f"Expected min_gap_mm to be a number of mm, got {min_gap_mm!r}.")
    names = list(problems)
    if len(names) == 1:
        kept = None if fields is None else fields[names[0]]
        plan = search(problems[names[0]], fields=kept, hit=hit, progress=progress)
        return JointPlan(plan.feasible, {names[0]: plan}, (), min_gap_mm)
    found = {
        name: explore_tool(problem, fields=None if fields is None else fields[name], progress=progress)
        for name, problem in track(problems.items(), "tools", progress)
    }
    without = [name for name in names if not len(found[name].allowed)]
    if without:
        plans = {name: plan_of(found[name], problems[name], hit=hit, progress=progress) for name in names}
        return JointPlan(False, plans, (), min_gap_mm, ())
    chosen = _improved(problems, found, _assigned(problems, found))
    gaps = _gaps(problems, {name: found[name].trajectories_lps_mm[chosen[name]] for name in names})
    plans = {
        name: _plan(name, problems, found, chosen, min_gap_mm, hit, progress)
        for name in track(names, "alternatives of each tool", progress)
    }
    feasible = gaps[0].certified_mm >= min_gap_mm
    return JointPlan(feasible, plans, gaps, min_gap_mm, () if feasible else _advice(gaps, min_gap_mm))


def _useful(problem: PlanningProblem, found: ExploredTool) -> NDArray[np.float64]:
    """(A,) clearance from the structures, capped at the scale beyond which more does not count."""
    return np.minimum(found.explored.certified_mm[found.allowed], problem.weights.clearance_scale_mm)


def _assigned(problems: Mapping[str, PlanningProblem], found: Mapping[str, ExploredTool]) -> dict[str, int]:
    """By tool, the number of the trajectory chosen from its pool among its allowed ones."""
    names = list(problems)
    pools = {
        name: np.array(
            found[name].distinct(
                separation_mm=_POOL_SEPARATION * problems[name].settings.min_separation_mm, count=_POOL
            ),
            dtype=np.intp,
        )
        for name in names
    }
    gaps = {}
    for (a, first), (b, second) in itertools.combinations(enumerate(names), 2):
        scale = max(problems[first].weights.clearance_scale_mm, problems[second].weights.clearance_scale_mm)
        between = tool_gaps_mm(
            found[first].trajectories_lps_mm[pools[first]],
            problems[first].tool,
            found[second].trajectories_lps_mm[pools[second]],
            problems[second].tool,
        )
        gaps[a, b] = np.minimum(between, scale)
    choice = best_assignment(
        [_useful(problems[name], found[name])[pools[name]] for name in names],
        [found[name].score[pools[name]] for name in names],
        gaps,
    )
    return {name: int(pools[name][number]) for name, number in zip(names, choice, strict=True)}


def _improved(
    problems: Mapping[str, PlanningProblem], found: Mapping[str, ExploredTool], chosen: dict[str, int]
) -> dict[str, int]:
    """Let each tool in turn take the best of all its trajectories given those of the others, until none changes."""
    for _ in range(_ROUNDS):
        before = dict(chosen)
        for name, problem in problems.items():
            useful = _useful(problem, found[name])
            nearest = _nearest_gap(name, problems, found, chosen, found[name].trajectories_lps_mm)
            worst = np.round(np.minimum(useful, np.minimum(nearest, problem.weights.clearance_scale_mm)), 2)
            best = np.lexsort((np.arange(len(worst)), -found[name].score, -worst))[0]
            if worst[best] > worst[chosen[name]] or found[name].score[best] > found[name].score[chosen[name]]:
                chosen = {**chosen, name: int(best)}
        if chosen == before:
            break
    return chosen


def _nearest_gap(
    name: str,
    problems: Mapping[str, PlanningProblem],
    found: Mapping[str, ExploredTool],
    chosen: Mapping[str, int],
    trajectories_lps_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N,) clearance of trajectories of one tool from the chosen trajectories of all others, mm."""
    nearest = np.full(len(trajectories_lps_mm), np.inf)
    for other, problem in problems.items():
        if other != name:
            trajectory = found[other].trajectories_lps_mm[chosen[other]]
            gap = tool_gaps_mm(trajectories_lps_mm, problems[name].tool, trajectory[None], problem.tool)[:, 0]
            nearest = np.minimum(nearest, gap)
    return nearest


def _gaps(
    problems: Mapping[str, PlanningProblem], trajectories_lps_mm: Mapping[str, NDArray[np.float64]]
) -> tuple[ToolGap, ...]:
    pairs = itertools.combinations(problems, 2)
    found = [
        tool_gap(
            first,
            trajectories_lps_mm[first],
            problems[first].tool,
            second,
            trajectories_lps_mm[second],
            problems[second].tool,
        )
        for first, second in pairs
    ]
    return tuple(sorted(found, key=lambda gap: gap.certified_mm))


def _plan(
    name: str,
    problems: Mapping[str, PlanningProblem],
    found: Mapping[str, ExploredTool],
    chosen: Mapping[str, int],
    min_gap_mm: float,
    hit: HitMeasure | None,
    progress: Progress | None,
) -> PlanResult:
    """The tool's trajectory of the joint plan, and trajectories apart from it that may replace it."""
    problem, own = problems[name], found[name]
    settings = problem.settings
    pool = own.distinct(separation_mm=settings.min_separation_mm, count=_POOL)
    keeps = _nearest_gap(name, problems, found, chosen, own.trajectories_lps_mm[pool]) >= min_gap_mm
    kept = own.trajectories_lps_mm[chosen[name]]
    others = [
        number
        for number, is_clear in zip(pool, keeps.tolist(), strict=True)
        if is_clear
        and own.is_on_front[number]
        and np.linalg.norm(own.trajectories_lps_mm[number] - kept, axis=1).max() >= settings.min_separation_mm
    ][: settings.alternatives - 1]
    (first,) = describe(problem, own.fields, own.explored, [int(own.allowed[chosen[name]])], hit=hit)
    more = describe(problem, own.fields, own.explored, own.allowed[others].tolist(), hit=hit, progress=progress)
    shown = explained((first, *worth_showing(more, problem.weights)))
    return PlanResult(True, shown, (), len(own.explored.length_mm), len(own.allowed))


def _advice(gaps: tuple[ToolGap, ...], min_gap_mm: float) -> tuple[str, ...]:
    return tuple(
        f"{gap.first} and {gap.second} leave {gap.certified_mm:.1f} mm, {min_gap_mm - gap.certified_mm:.1f} mm too "
        "little: move their entry regions or targets apart, use thinner or more accurate tools, or accept less "
        "clearance between tools (min_tool_gap_mm)."
        for gap in gaps
        if gap.certified_mm < min_gap_mm
    )
