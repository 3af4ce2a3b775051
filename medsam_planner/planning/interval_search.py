r"""The smallest clearance along many trajectories at once, with a bound that holds between the samples.

Each trajectory is cut into intervals, and an interval is halved only while it could still hold a smaller clearance than
the smallest found. What an interval can hold follows from its two ends a and b, h apart, with lower bounds A and B of
the margin field there:

- *Balls.* No voxel centre z lies nearer than ``A + m(z)`` to a, nor nearer than ``B + m(z)`` to b. Where the two balls
  of radius ``A + m0`` and ``B + m0`` (m0 the smallest margin) overlap, the nearest place left for a voxel is the circle
  in which they meet; at its radius ρ the field is at least ``ρ − m0`` on the whole interval. Far from a structure this
  passes whole centimetres at a time, which is what sphere tracing does. Used where ρ exceeds half a voxel diagonal, so
  that the interval certainly does not run through the structure.
- *Slope.* Else the field is taken to fall by 1 mm per mm from both ends: ``(A + B − h) / 2``.

A bound of an interval also holds for its halves and at the sample between them, even where the field gives a weaker
bound there: a finer search never certifies less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError
from medsam_planner.planning.distance_field import DistanceField
from medsam_planner.planning.tool import Tool

__all__ = ["ClearanceMinimum", "ClearanceSearch"]

_FIRST_STEP_MM = 12.0
"""Spacing of the first samples. Only speed depends on it."""
_MOST_FIRST_STEPS = 128
"""Limit for trajectories of kilometres, which an unset coordinate gives; halving refines the wider steps."""


@dataclass(slots=True, eq=False)
class ClearanceMinimum:
    """Clearance of N trajectories from one structure, or from several so far."""

    certified_mm: NDArray[np.float64]
    sampled_mm: NDArray[np.float64]
    fraction: NDArray[np.float64]
    """Where the smallest clearance was found, 0 at the entry and 1 at the target."""


class ClearanceSearch:
    """Search for the smallest clearance of each trajectory from one structure.

    The constructor samples every trajectory coarsely; :meth:`finish` closes the intervals between the samples.

    Parameters
    ----------
    field : DistanceField
    trajectories_lps_mm : (N, 2, 3) float
        Entry and target.
    tool : Tool
    tolerance_mm : float
        The certified value lies at most this far below the smallest lower bound found at a sample.
    """

    def __init__(
        self, field: DistanceField, trajectories_lps_mm: NDArray[np.float64], tool: Tool, *, tolerance_mm: float
    ) -> None:
        count = len(trajectories_lps_mm)
        index = field.index(trajectories_lps_mm)
        self.origin, self.step = index[:, 0].T, (index[:, 1] - index[:, 0]).T
        self.length = np.linalg.norm(trajectories_lps_mm[:, 1] - trajectories_lps_mm[:, 0], axis=1)
        self.field, self.tool, self.tolerance = field, tool, tolerance_mm
        self.certified = np.full(count, np.inf)
        self.best = np.full(count, np.inf)
        """Smallest lower bound at a sample so far; at least the value that will be certified."""
        self.sampled, self.fraction = np.full(count, np.inf), np.zeros(count)
        self._start()

    def finish(self, *, ceiling_mm: NDArray[np.float64] | None = None, floor_mm: float = -np.inf) -> ClearanceMinimum:
        """Close every interval.

        Parameters
        ----------
        ceiling_mm : (N,) float, optional
            Clearance from another structure. Intervals that cannot fall below it are not examined further, and a
            larger result is then only a lower bound.
        floor_mm : float
            A trajectory with a sampled value at or below this is not examined further.

        Raises
        ------
        PlanningError
            If a clearance is not finite: what overflows is never taken for a tool without a structure near it.
        """
        ceiling = np.full(len(self.length), np.inf) if ceiling_mm is None else ceiling_mm
        while self._halve(ceiling, floor_mm):
            pass
        certified = np.minimum(self.certified, self.best)
        if not (np.isfinite(certified).all() and np.isfinite(self.sampled).all()):
            raise PlanningError(
                f"Expected a finite clearance from '{self.field.name}', got one that is not: its margin, the positions "
                "or the tool are out of range. Nothing is certified; check their units."
            )
        return ClearanceMinimum(certified, self.sampled, self.fraction)

    def _start(self) -> None:
        """Sample each trajectory at about equal steps."""
        with np.errstate(divide="ignore", invalid="ignore"):
            first = np.where(self.length > 0, np.minimum(self.field.free_entry_mm / self.length, 1.0), 0.0)
        pieces = np.clip(np.ceil(self.length * (1 - first) / _FIRST_STEP_MM), 1, _MOST_FIRST_STEPS).astype(np.int64)
        trajectory = np.repeat(np.arange(len(pieces)), pieces + 1)
        starts = np.cumsum(pieces + 1) - (pieces + 1)
        place = np.arange(len(trajectory)) - starts[trajectory]
        fraction = first[trajectory] + (1 - first[trajectory]) * (place / pieces[trajectory])
        lower = self._sample(trajectory, fraction, np.full(len(trajectory), -np.inf))
        opening = np.flatnonzero(place < pieces[trajectory])
        self.trajectory = trajectory[opening]
        self.low, self.high = fraction[opening], fraction[opening + 1]
        self.at_low, self.at_high = lower[opening], lower[opening + 1]
        self.known = np.full(len(opening), -np.inf)
        """Lower bound of the clearance in each open interval, inherited from the interval it is a half of."""

    def _halve(self, ceiling: NDArray[np.float64], floor_mm: float) -> bool:
        """Close the intervals that cannot hold the minimum, halve the others; False when none is left."""
        bound = np.maximum(self._interval_bound(), self.known)
        best = self.best[self.trajectory]
        is_open = (
            (bound < best - self.tolerance)
            & (bound < ceiling[self.trajectory])
            & (self.sampled[self.trajectory] > floor_mm)
        )
        closed = ~is_open
        np.minimum.at(self.certified, self.trajectory[closed], bound[closed])
        trajectory, low, high = self.trajectory[is_open], self.low[is_open], self.high[is_open]
        if not len(trajectory):
            return False
        middle = 0.5 * (low + high)
        known = bound[is_open]
        at_middle = self._sample(trajectory, middle, known)
        self.trajectory, self.known = np.concatenate([trajectory, trajectory]), np.concatenate([known, known])
        self.low, self.high = np.concatenate([low, middle]), np.concatenate([middle, high])
        self.at_low = np.concatenate([self.at_low[is_open], at_middle])
        self.at_high = np.concatenate([at_middle, self.at_high[is_open]])
        return True

    def _sample(
        self, trajectory: NDArray[np.int64], fraction: NDArray[np.float64], known_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Lower bounds of the field at samples; the smallest clearance of each trajectory is kept.

        `known_mm` is what the clearance there is known to be at least.
        """
        position = self.origin[:, trajectory] + self.step[:, trajectory] * fraction
        value, lower = self.field.read(position)
        allowance = self.tool.allowance_mm(fraction)
        np.minimum.at(self.sampled, trajectory, value - allowance)
        clearance = np.maximum(lower - allowance - self.field.voxel_diagonal_mm, known_mm)
        before = self.best.copy()
        np.minimum.at(self.best, trajectory, clearance)
        won = np.flatnonzero((clearance == self.best[trajectory]) & (clearance < before[trajectory]))
        self.fraction[trajectory[won]] = fraction[won]
        return lower

    def _interval_bound(self) -> NDArray[np.float64]:
        """Smallest clearance each open interval can hold."""
        length = (self.high - self.low) * self.length[self.trajectory]
        margin = self.field.smallest_margin_mm
        a, b = self.at_low + margin, self.at_high + margin
        slope = 0.5 * (self.at_low + self.at_high - length)
        safe_length = np.maximum(length, 1e-12)
        meet = 0.5 * (safe_length + (a - b) * (a + b) / safe_length)
        circle = np.sqrt(np.maximum(a * a - meet * meet, 0.0))
        circle = np.where(meet <= 0, a, np.where(meet >= safe_length, b, circle))
        overlap = (a > 0) & (b > 0) & (a + b >= length)
        usable = overlap & (circle > 0.5 * self.field.voxel_diagonal_mm)
        bound = np.where(usable, circle - margin, slope)
        allowance = np.maximum(self.tool.allowance_mm(self.low), self.tool.allowance_mm(self.high))
        return bound - allowance - self.field.voxel_diagonal_mm
