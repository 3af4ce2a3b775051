"""Candidate trajectories: sampled coarsely over entry × target, then more finely around the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.planning.clearance import clearance_in
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.problem import EntryRegion, Limits, PlanningProblem
from medsam_planner.progress import Progress, track

__all__ = ["Candidates", "entry_angles_deg", "explore"]

_FINER_ROUNDS = 3
_SEEDS_PER_ROUND = 24
"""How many of the best trajectories a finer round looks around."""
_TARGETS_PER_ENTRY = 12
"""In the coarse round; a target region is small beside the entry region."""
SHORTEST_MM = 0.01
"""A shorter trajectory has no usable direction: entry and target count as one point."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """N trajectories with length, entry angle and certified clearance."""

    entry_number: NDArray[np.intp]
    target_number: NDArray[np.intp]
    trajectories_lps_mm: NDArray[np.float64]
    """(N, 2, 3)"""
    length_mm: NDArray[np.float64]
    entry_angle_deg: NDArray[np.float64]
    certified_mm: NDArray[np.float64]
    """(N,) −inf where it was not measured because another limit is broken."""

    @classmethod
    def none(cls) -> Candidates:
        """No trajectory."""
        number, value = np.empty(0, dtype=np.intp), np.empty(0)
        return cls(number, number, np.empty((0, 2, 3)), value, value, value)

    def within(self, limits: Limits) -> NDArray[np.bool_]:
        """Which trajectories break no limit."""
        return self.fits_geometry(limits) & (self.certified_mm >= limits.min_clearance_mm)

    def fits_geometry(self, limits: Limits) -> NDArray[np.bool_]:
        """Which trajectories keep the limits of length and angle."""
        length, angle = self.length_mm, self.entry_angle_deg
        return (
            (length <= limits.max_length_mm) & (length >= limits.min_length_mm) & (angle <= limits.max_entry_angle_deg)
        )


def entry_angles_deg(
    trajectories_lps_mm: NDArray[np.float64], outward_normals_lps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Angle between each trajectory (N, 2, 3) and the inward normal at its entry (N, 3), in degrees."""
    direction = trajectories_lps_mm[:, 1] - trajectories_lps_mm[:, 0]
    length = np.maximum(np.linalg.norm(direction, axis=1), 1e-12)
    cosine = -(direction * outward_normals_lps).sum(axis=1) / length
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def explore(
    problem: PlanningProblem,
    fields: Sequence[DistanceField],
    *,
    every_trajectory: bool = False,
    progress: Progress | None = None,
) -> Candidates:
    """Sample and measure candidates.

    Parameters
    ----------
    problem : PlanningProblem
    fields : sequence of DistanceField
    every_trajectory : bool
        Measure the clearance of trajectories that break the limits of length or angle too: to find out what to relax.

    Returns
    -------
    Candidates
        Each entry–target pair once.

    Raises
    ------
    PlanningError
        If entry and target are one point in every pair: a trajectory needs a length.
    """
    generator = np.random.default_rng(problem.settings.seed)
    entries, targets = problem.entry.points_lps_mm, problem.targets_lps_mm
    per_entry = min(_TARGETS_PER_ENTRY, len(targets))
    entry_count = min(max(problem.settings.candidates // per_entry, 1), len(entries))
    chosen = generator.choice(len(entries), entry_count, replace=False)
    pairs = np.stack(
        [np.repeat(chosen, per_entry), np.concatenate([_some(len(targets), per_entry, generator) for _ in chosen])],
        axis=1,
    )
    seen = _measure(problem, fields, pairs, every_trajectory, progress)
    if len(seen.length_mm) == 0:
        x, y, z = targets[0].tolist()
        raise PlanningError(
            f"Expected an entry and a target apart from each other, got one point for both: "
            f"({x:.1f}, {y:.1f}, {z:.1f}) LPS mm. A trajectory needs a length; move the target, or enter elsewhere."
        )
    reach_mm = _mean_spacing_mm(problem.entry, entry_count)
    for _ in track(range(_FINER_ROUNDS), "refining candidates", progress):
        best = _best(seen, problem)
        if len(best) == 0:
            break
        pairs = _around(best, seen, problem, reach_mm, generator)
        seen = _joined(seen, _measure(problem, fields, pairs, every_trajectory, None))
        reach_mm /= 2
    return seen


def _some(count: int, wanted: int, generator: np.random.Generator) -> NDArray[np.intp]:
    """The first (the centre of a region) and random others."""
    others = 1 + generator.choice(count - 1, wanted - 1, replace=False) if wanted > 1 else np.empty(0, dtype=np.intp)
    return np.concatenate([[0], others]).astype(np.intp)


def _measure(
    problem: PlanningProblem,
    fields: Sequence[DistanceField],
    pairs: NDArray[np.intp],
    every_trajectory: bool,
    progress: Progress | None,
) -> Candidates:
    trajectories = np.stack([problem.entry.points_lps_mm[pairs[:, 0]], problem.targets_lps_mm[pairs[:, 1]]], axis=1)
    has_length = np.linalg.norm(trajectories[:, 1] - trajectories[:, 0], axis=1) > SHORTEST_MM
    pairs, trajectories = pairs[has_length], trajectories[has_length]
    found = Candidates(
        entry_number=pairs[:, 0],
        target_number=pairs[:, 1],
        trajectories_lps_mm=trajectories,
        length_mm=np.linalg.norm(trajectories[:, 1] - trajectories[:, 0], axis=1),
        entry_angle_deg=entry_angles_deg(trajectories, problem.entry.outward_normals_lps[pairs[:, 0]]),
        certified_mm=np.full(len(trajectories), -np.inf),
    )
    is_measured = np.ones(len(trajectories), dtype=bool) if every_trajectory else found.fits_geometry(problem.limits)
    if is_measured.any():
        found.certified_mm[is_measured] = clearance_in(
            fields, trajectories[is_measured], problem.tool, progress=progress
        ).certified_mm
    return found


def _best(seen: Candidates, problem: PlanningProblem) -> NDArray[np.intp]:
    """The trajectories to look around: those with the largest clearance, apart from each other."""
    order = np.argsort(-seen.certified_mm, kind="stable")
    order = order[np.isfinite(seen.certified_mm[order])][:2000]
    kept: list[int] = []
    for number in order.tolist():
        ends = seen.trajectories_lps_mm[number]
        apart = all(
            np.linalg.norm(seen.trajectories_lps_mm[other] - ends, axis=1).max() > problem.settings.min_separation_mm
            for other in kept
        )
        if apart:
            kept.append(number)
        if len(kept) == _SEEDS_PER_ROUND:
            break
    return np.array(kept, dtype=np.intp)


def _around(
    best: NDArray[np.intp],
    seen: Candidates,
    problem: PlanningProblem,
    reach_mm: float,
    generator: np.random.Generator,
) -> NDArray[np.intp]:
    """Pairs of entries and targets near those of the best trajectories."""
    from scipy.spatial import cKDTree

    tree = cKDTree(problem.entry.points_lps_mm)
    share = max(problem.settings.candidates // (len(best) * _FINER_ROUNDS), 8)
    pairs = []
    for number in best.tolist():
        near = np.array(tree.query_ball_point(seen.trajectories_lps_mm[number, 0], 2 * reach_mm), dtype=np.intp)
        near.sort()
        entry = generator.choice(near, share)
        target = generator.choice(len(problem.targets_lps_mm), share)
        target[: share // 3] = seen.target_number[number]
        pairs.append(np.stack([entry, target], axis=1))
    return np.unique(np.concatenate(pairs), axis=0)


def _joined(first: Candidates, second: Candidates) -> Candidates:
    pairs = np.concatenate(
        [
            np.stack([first.entry_number, first.target_number], axis=1),
            np.stack([second.entry_number, second.target_number], axis=1),
        ]
    )
    _, unique = np.unique(pairs, axis=0, return_index=True)
    unique.sort()

    def both(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        joined: NDArray[np.float64] = np.concatenate([a, b])[unique]
        return joined

    return Candidates(
        entry_number=pairs[unique, 0],
        target_number=pairs[unique, 1],
        trajectories_lps_mm=both(first.trajectories_lps_mm, second.trajectories_lps_mm),
        length_mm=both(first.length_mm, second.length_mm),
        entry_angle_deg=both(first.entry_angle_deg, second.entry_angle_deg),
        certified_mm=both(first.certified_mm, second.certified_mm),
    )


def _mean_spacing_mm(entry: EntryRegion, count: int) -> float:
    """About how far apart `count` points lie when spread over the region."""
    extent = np.sort(np.ptp(entry.points_lps_mm, axis=0))[-2:]
    return float(np.sqrt(max(extent.prod(), 1.0) / count))
