"""Alternatives: a few non-dominated trajectories that lie apart, each described and with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.planning.candidates import Candidates
from medsam_planner.planning.clearance import clearance_in
from medsam_planner.planning.crossings import Crossing, ValueProfile, crossings_along, values_along
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.hit import structure_hit_probability
from medsam_planner.planning.problem import PlanningProblem, Weights
from medsam_planner.planning.screw import ScrewGrade, density_along_hu, density_in_tool_hu, grade_screws
from medsam_planner.planning.structures import StayInside
from medsam_planner.progress import Progress, track

__all__ = ["Alternative", "ClearanceProfile", "describe", "distinct", "explained", "non_dominated", "soft_score"]

_PROFILE_STEP_MM = 0.5


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
    progress: Progress | None = None,
) -> tuple[Alternative, ...]:
    """Compute all measures of a few trajectories, best score first; :func:`explained` adds the reasons."""
    trajectories = seen.trajectories_lps_mm[list(numbers)]
    measured = clearance_in(fields, trajectories, problem.tool, each_structure=True)
    longest = float(seen.length_mm.max())
    grades = _grades(problem, trajectories)
    found = []
    for row, number in enumerate(track(numbers, "measuring alternatives", progress)):
        trajectory = trajectories[row]
        hits = {
            structure.name: structure_hit_probability(
                trajectory, structure, problem.tool, problem.settings.hit_draws, problem.settings.seed
            )
            for structure in problem.structures
        }
        worst = max(hits, key=lambda name: hits[name].probability) if hits else None
        density = None if problem.bone is None else density_along_hu(problem.bone, trajectory)
        score = soft_score(
            measured.certified_mm[row : row + 1],
            seen.length_mm[number : number + 1],
            seen.entry_angle_deg[number : number + 1],
            problem.weights,
            longest_mm=longest,
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
                hit_probability_by_structure={name: hit.probability for name, hit in hits.items()},
                length_mm=float(seen.length_mm[number]),
                entry_angle_deg=float(seen.entry_angle_deg[number]),
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
    return tuple(sorted(found, key=lambda alternative: -alternative.score))


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
    clearance_mm = alternative.certified_clearance_mm
    if not alternative.limiting_structure:
        limit = "no structure limits it"
    elif clearance_mm >= 0:
        limit = f"limited by {alternative.limiting_structure}, which leaves {clearance_mm:.1f} mm beyond its margin"
    else:
        limit = (
            f"limited by {alternative.limiting_structure}, into whose margin it reaches by up to {-clearance_mm:.1f} mm"
        )
    return replace(alternative, reason=f"{why}; {limit}.")


def _point(position: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in position)
    return x, y, z
