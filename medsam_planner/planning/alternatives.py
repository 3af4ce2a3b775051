"""Alternatives: a few non-dominated trajectories that lie apart, each described and with a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.candidates import Candidates
from medsam_planner.planning.clearance import clearance_in
from medsam_planner.planning.crossings import Crossing, ValueProfile, crossings_along, values_along
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.hit import HitProbability, structure_hit_probability
from medsam_planner.planning.problem import PlanningProblem, Weights
from medsam_planner.planning.screw import ScrewGrade, density_along_hu, density_in_tool_hu, grade_screws
from medsam_planner.planning.structures import StayInside, Structure
from medsam_planner.progress import Progress, track

__all__ = [
    "Alternative",
    "ClearanceProfile",
    "HitMeasure",
    "describe",
    "distinct",
    "explained",
    "limited_by",
    "measured_lines",
    "non_dominated",
    "sampled_hit",
    "soft_score",
]

_PROFILE_STEP_MM = 0.5
HitMeasure: TypeAlias = Callable[[NDArray[np.float64], Structure, PlanningProblem], HitProbability]
"""From a trajectory (2, 3), a structure and the problem: the hit probability of that structure."""


@dataclass(frozen=True, slots=True, eq=False)
class ClearanceProfile:
    """Clearance along the path, beyond margin, tool radius and tool error."""

    distance_mm: NDArray[np.float64]
    """(P,) evenly spaced places, from the entry."""
    clearance_mm_by_structure: dict[str, NDArray[np.float64]]
    """(P,) certified at each place; +inf along the free entry of a corridor."""


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """One straight path."""

    entry_lps_mm: tuple[float, float, float]
    target_lps_mm: tuple[float, float, float]
    certified_clearance_mm: float
    sampled_clearance_mm: float
    limiting_structure: str
    limiting_point_lps_mm: tuple[float, float, float]
    clearance_mm_by_structure: dict[str, float]
    """Certified."""
    hit_probability: float
    """The largest over the structures."""
    hit_probability_interval: tuple[float, float]
    hit_probability_by_structure: dict[str, float]
    length_mm: float
    entry_angle_deg: float
    score: float
    bone_density_hu: float | None
    """Mean along the path; None where no CT was given."""
    clearance_profile: ClearanceProfile
    reason: str
    """In plain words: its advantage over the other alternatives, and what limits it."""
    tool_density_hu: float | None = None
    """Mean inside the cylinder that the tool fills; None where no CT was given."""
    screw_grades: tuple[ScrewGrade, ...] = ()
    """One for each corridor."""
    crossings: tuple[Crossing, ...] | None = None
    """Bone, air and outside that the path goes through; None where no image was given."""
    value_profile: ValueProfile | None = None
    """The image along the path; None where none was given."""
    is_by_hand: bool = False
    """Whether a person placed it, and not the search."""


def soft_score(
    certified_mm: NDArray[np.float64],
    length_mm: NDArray[np.float64],
    entry_angle_deg: NDArray[np.float64],
    weights: Weights,
    *,
    longest_mm: float,
    hit_probability: NDArray[np.float64] | float = 0.0,
    bone_density_hu: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """Weighted mean of the soft terms, 1 at best."""
    terms = (
        (weights.clearance, np.clip(certified_mm / weights.clearance_scale_mm, 0, 1)),
        (weights.length, 1 - np.clip(length_mm / longest_mm, 0, 1)),
        (weights.angle, 1 - np.clip(entry_angle_deg / 90.0, 0, 1)),
        (weights.hit_probability, 1 - np.asarray(hit_probability)),
        (weights.bone_density, np.clip(np.asarray(bone_density_hu) / 1000.0, 0, 1)),
    )
    total = sum(weight for weight, _ in terms)
    score = sum(weight * np.asarray(term, dtype=np.float64) for weight, term in terms)
    return np.asarray(score / max(total, 1e-12), dtype=np.float64)


def non_dominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of N points (N, M) no other point beats in one cost without being worse in another.

    Equal points do not dominate each other.
    """
    kept = np.zeros(len(costs), dtype=bool)
    order = np.lexsort(costs.T[::-1])  # ascending: a later point cannot dominate an earlier one
    front = np.empty((0, costs.shape[1]))
    for number in order.tolist():
        point = costs[number]
        if not ((front <= point).all(axis=1) & (front < point).any(axis=1)).any():
            front = np.concatenate([front, point[None]])
            kept[number] = True
    return kept


def distinct(
    trajectories_lps_mm: NDArray[np.float64], score: NDArray[np.float64], *, separation_mm: float, count: int
) -> list[int]:
    """The best `count` trajectories of which no two have both ends closer than `separation_mm`, best first."""
    kept: list[int] = []
    for number in np.argsort(-score, kind="stable").tolist():
        ends = trajectories_lps_mm[number]
        if all(np.linalg.norm(trajectories_lps_mm[other] - ends, axis=1).max() >= separation_mm for other in kept):
            kept.append(number)
            if len(kept) == count:
                break
    return kept


def describe(
    problem: PlanningProblem,
    fields: Sequence[DistanceField],
    seen: Candidates,
    numbers: Sequence[int],
    *,
    hit: HitMeasure | None = None,
    progress: Progress | None = None,
) -> tuple[Alternative, ...]:
    """Compute all measures of a few trajectories, best score first; :func:`explained` adds the reasons."""
    chosen = list(numbers)
    found = measured_lines(
        problem,
        fields,
        seen.trajectories_lps_mm[chosen],
        entry_angle_deg=seen.entry_angle_deg[chosen],
        longest_mm=float(seen.length_mm.max()),
        hit=hit,
        progress=progress,
    )
    return tuple(sorted(found, key=lambda alternative: -alternative.score))


def sampled_hit(
    trajectory_lps_mm: NDArray[np.float64], structure: Structure, problem: PlanningProblem
) -> HitProbability:
    """The hit probability of one structure, with the draws of the problem."""
    settings = problem.settings
    return structure_hit_probability(trajectory_lps_mm, structure, problem.tool, settings.hit_draws, settings.seed)


def measured_lines(
    problem: PlanningProblem,
    fields: Sequence[DistanceField],
    trajectories_lps_mm: NDArray[np.float64],
    *,
    entry_angle_deg: NDArray[np.float64],
    longest_mm: float,
    hit: HitMeasure | None = None,
    with_grades: bool = True,
    progress: Progress | None = None,
) -> tuple[Alternative, ...]:
    """All measures of given trajectories, in their order and without reasons.

    Parameters
    ----------
    problem : PlanningProblem
    fields : sequence of DistanceField
        Of the structures of the problem, around the trajectories.
    trajectories_lps_mm : (N, 2, 3) float
        Entry, then target.
    entry_angle_deg : (N,) float
    longest_mm : float
        Length that counts as the worst in the score.
    hit : callable, optional
        Gives the hit probability; by default :func:`sampled_hit`.
    with_grades : bool
        Whether to grade screws in corridors.
    progress : Progress, optional
    """
    hit = hit or sampled_hit
    measured = clearance_in(fields, trajectories_lps_mm, problem.tool, each_structure=True)
    length_mm = np.linalg.norm(trajectories_lps_mm[:, 1] - trajectories_lps_mm[:, 0], axis=1)
    grades = _grades(problem, trajectories_lps_mm) if with_grades else []
    found = []
    for row, trajectory in enumerate(track(list(trajectories_lps_mm), "measuring alternatives", progress)):
        hits = {structure.name: hit(trajectory, structure, problem) for structure in problem.structures}
        worst = max(hits, key=lambda name: hits[name].probability) if hits else None
        density = None if problem.bone is None else density_along_hu(problem.bone, trajectory)
        score = soft_score(
            measured.certified_mm[row : row + 1],
            length_mm[row : row + 1],
            entry_angle_deg[row : row + 1],
            problem.weights,
            longest_mm=longest_mm,
            hit_probability=hits[worst].probability if worst else 0.0,
            bone_density_hu=density or 0.0,
        )
        found.append(
            Alternative(
                entry_lps_mm=_point(trajectory[0]),
                target_lps_mm=_point(trajectory[1]),
                certified_clearance_mm=float(measured.certified_mm[row]),
                sampled_clearance_mm=float(measured.sampled_mm[row]),
                limiting_structure=str(measured.limiting_structure[row]),
                limiting_point_lps_mm=_point(measured.limiting_point_lps_mm[row]),
                clearance_mm_by_structure={
                    name: float(minimum.certified_mm[row]) for name, minimum in measured.by_structure.items()
                },
                hit_probability=hits[worst].probability if worst else 0.0,
                hit_probability_interval=hits[worst].interval if worst else (0.0, 0.0),
                hit_probability_by_structure={name: one.probability for name, one in hits.items()},
                length_mm=float(length_mm[row]),
                entry_angle_deg=float(entry_angle_deg[row]),
                score=float(score[0]),
                bone_density_hu=density,
                clearance_profile=_profile(problem, fields, trajectory),
                reason="",
                tool_density_hu=(
                    None
                    if problem.bone is None
                    else density_in_tool_hu(problem.bone, trajectory, problem.tool.radius_mm)
                ),
                screw_grades=tuple(of_corridor[row] for of_corridor in grades),
                crossings=None if problem.surroundings is None else crossings_along(problem.surroundings, trajectory),
                value_profile=None if problem.surroundings is None else values_along(problem.surroundings, trajectory),
            )
        )
    return tuple(found)


def explained(alternatives: Sequence[Alternative]) -> tuple[Alternative, ...]:
    """The same alternatives, each with the reason for showing it beside the others."""
    return tuple(_with_reason(alternative, alternatives) for alternative in alternatives)


def _profile(
    problem: PlanningProblem, fields: Sequence[DistanceField], trajectory: NDArray[np.float64]
) -> ClearanceProfile:
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    fraction = np.linspace(0.0, 1.0, max(int(np.ceil(length / _PROFILE_STEP_MM)), 1) + 1)
    points = trajectory[0] + fraction[:, None] * (trajectory[1] - trajectory[0])
    allowance = problem.tool.allowance_mm(fraction)
    certified_mm = {}
    for field in fields:
        _, lower = field.read(field.index(points).T)
        certified = lower - allowance - field.voxel_diagonal_mm
        certified[fraction * length < field.free_entry_mm] = np.inf
        certified_mm[field.name] = certified
    return ClearanceProfile(fraction * length, certified_mm)


def _grades(problem: PlanningProblem, trajectories: NDArray[np.float64]) -> list[tuple[ScrewGrade, ...]]:
    """For each corridor, the grade of each trajectory."""
    settings = problem.settings
    return [
        grade_screws(trajectories, structure, problem.tool, settings.hit_draws, settings.seed)
        for structure in problem.structures
        if isinstance(structure, StayInside)
    ]


def _with_reason(alternative: Alternative, all_of_them: Sequence[Alternative]) -> Alternative:
    strengths = []
    if alternative.certified_clearance_mm >= max(other.certified_clearance_mm for other in all_of_them):
        strengths.append("the largest clearance")
    if alternative.length_mm <= min(other.length_mm for other in all_of_them):
        strengths.append("the shortest path")
    if alternative.entry_angle_deg <= min(other.entry_angle_deg for other in all_of_them):
        strengths.append("the smallest entry angle")
    if alternative.hit_probability < min(
        (other.hit_probability for other in all_of_them if other is not alternative), default=1.0
    ):
        strengths.append("the smallest hit probability")
    why = f"Has {', '.join(strengths)}" if strengths else "A compromise between clearance, length and angle"
    return replace(alternative, reason=f"{why}; {limited_by(alternative)}.")


def limited_by(alternative: Alternative) -> str:
    """What limits the clearance, as part of a sentence."""
    clearance_mm, name = alternative.certified_clearance_mm, alternative.limiting_structure
    if not name:
        return "no structure limits it"
    if clearance_mm >= 0:
        return f"limited by {name}, which leaves {clearance_mm:.1f} mm beyond its margin"
    return f"limited by {name}, into whose margin it reaches by up to {-clearance_mm:.1f} mm"


def _point(position: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in position)
    return x, y, z
