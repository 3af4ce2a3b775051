"""One trajectory for each tool, such that the smallest clearance of all is as large as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_assignment"]

_RESOLUTION_MM = 0.02
"""Step in mm in which clearances are compared; smaller differences are within the tolerance of the certification."""
_MOST_STEPS = 200_000
"""Partial choices looked at for the best score among choices with equal clearance; then the best so far is taken."""


def best_assignment(
    clearance_mm: Sequence[NDArray[np.float64]],
    score: Sequence[NDArray[np.float64]],
    gap_mm: Mapping[tuple[int, int], NDArray[np.float64]],
) -> tuple[int, ...]:
    """Choose one trajectory of each tool: first by the largest smallest clearance, then by the largest sum of scores.

    Parameters
    ----------
    clearance_mm : T arrays (N_t,)
        Clearance of each trajectory of tool t from the structures.
    score : T arrays (N_t,)
        Larger is preferred where the clearance is the same.
    gap_mm : {(a, b): (N_a, N_b)} for a < b
        Clearance between each pair of trajectories of two tools.

    Returns
    -------
    tuple of T int
        The same input gives the same choice.
    """
    clearances = [_stepped(values) for values in clearance_mm]
    gaps = {pair: _stepped(gap) for pair, gap in gap_mm.items()}
    levels = np.unique(np.concatenate([values.ravel() for values in (*clearances, *gaps.values())]))
    low, high = 0, len(levels) - 1  # everything is allowed at the lowest level
    while low < high:
        middle = (low + high + 1) // 2
        if _Choice(clearances, score, gaps, levels[middle]).any() is None:
            high = middle - 1
        else:
            low = middle
    return _Choice(clearances, score, gaps, levels[low]).best()


def _stepped(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.floor(np.asarray(values, dtype=np.float64) / _RESOLUTION_MM) * _RESOLUTION_MM


class _Choice:
    """Depth first over the tools, with only trajectories and pairs that leave at least `least_mm`."""

    def __init__(
        self,
        clearances: Sequence[NDArray[np.float64]],
        score: Sequence[NDArray[np.float64]],
        gaps: Mapping[tuple[int, int], NDArray[np.float64]],
        least_mm: float,
    ) -> None:
        self.score = score
        self.allowed = [values >= least_mm for values in clearances]
        self.apart = {pair: gap >= least_mm for pair, gap in gaps.items()}
        self.order = [np.argsort(-values, kind="stable") for values in score]
        self.steps = 0

    def any(self) -> tuple[int, ...] | None:
        """Some choice, or None."""
        return self._extend((), list(self.allowed))

    def best(self) -> tuple[int, ...]:
        """The choice with the largest sum of scores."""
        self._best: tuple[float, tuple[int, ...]] = (-np.inf, ())
        self.steps = 0
        self._improve((), list(self.allowed), 0.0)
        return self._best[1]

    def _left(self, chosen: tuple[int, ...], number: int, open_: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
        """What later tools may still choose once tool ``len(chosen)`` takes trajectory `number`."""
        tool = len(chosen)
        return [
            trajectories if later <= tool else trajectories & self.apart[tool, later][number]
            for later, trajectories in enumerate(open_)
        ]

    def _extend(self, chosen: tuple[int, ...], open_: list[NDArray[np.bool_]]) -> tuple[int, ...] | None:
        tool = len(chosen)
        if tool == len(open_):
            return chosen
        for number in self.order[tool][open_[tool][self.order[tool]]].tolist():
            left = self._left(chosen, number, open_)
            if all(trajectories.any() for trajectories in left[tool + 1 :]):
                found = self._extend((*chosen, number), left)
                if found is not None:
                    return found
        return None

    def _improve(self, chosen: tuple[int, ...], open_: list[NDArray[np.bool_]], so_far: float) -> None:
        tool = len(chosen)
        if tool == len(open_):
            if so_far > self._best[0]:
                self._best = (so_far, chosen)
            return
        hope = sum(float(self.score[later][open_[later]].max(initial=-np.inf)) for later in range(tool + 1, len(open_)))
        for number in self.order[tool][open_[tool][self.order[tool]]].tolist():
            self.steps += 1
            gained = so_far + float(self.score[tool][number])
            if gained + hope <= self._best[0] or (self.steps > _MOST_STEPS and self._best[1]):
                return  # the trajectories come best first
            self._improve((*chosen, number), self._left(chosen, number, open_), gained)
