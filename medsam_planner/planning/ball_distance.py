r"""Smallest distance from places to balls of different radii, on a lattice of nodes.

What is wanted is ``D(x) = min over z of (|x − z| − m(z))``. The Euclidean distance transform solves it only where all
margins m are equal. Its sublevel sets, though, are unions of balls: ``D(x) <= c`` exactly where the power

.. math:: P_c(x) = \min_z |x - z|^2 - (c + m(z))^2

is at most 0, and a minimum of squared distances plus a number per voxel falls apart into three passes along the axes,
each a minimum over a window. For any c the power also bounds D from below: no z lies nearer to x than
``sqrt(P_c(x) + (c + m(z))²)``, so with margins between m0 and m1

.. math:: D(x) \ge \min_{m_0 \le m \le m_1} \sqrt{\max(P_c(x) + (c + m)^2, 0)} - m,

which is D itself where ``D(x) = c``, and for every x where m0 = m1. A few values of c, and the largest of their bounds,
stay close to D everywhere: midway between two values c and c' a bound gives up at most
``(m1 − m0) (c' − c) / 4 (D + m)``.

References
----------
.. [1] F. Aurenhammer, "Power diagrams: properties, algorithms and applications", SIAM J. Comput. 16, 1987,
   doi 10.1137/0216006.
.. [2] P. F. Felzenszwalb and D. P. Huttenlocher, "Distance transforms of sampled functions", Theory of Computing 8,
   2012, doi 10.4086/toc.2012.v008a019: the passes along the axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lattice", "Margins", "bounds_mm", "lower_bounds_mm"]

_FLOAT32_SLACK = 4e-7
"""Relative error of a sum of four squares in float32, with a safety factor."""
_NOTHING = np.float32(1e30)
"""The power of nothing, mm²: finite, so that it can be rounded down."""
_WORKING_SET = 1 << 18
"""Numbers passed over together: few enough for a cache, so many that two threads seldom wait for Python's lock."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """Nodes `stride` voxels of a box apart, from the index `first` on; they may lie beyond it and between voxels."""

    first: NDArray[np.float64]
    stride: NDArray[np.int64]
    count: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Nodes along each axis."""
        return int(self.count[0]), int(self.count[1]), int(self.count[2])


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """The structure's voxels in a box, and the margin of each."""

    inside: NDArray[np.bool_]
    """(K, J, I)"""
    margin_mm: NDArray[np.float32]
    """(K, J, I), >= 0; read inside only."""
    smallest_mm: float
    largest_mm: float


def bounds_mm(low: float, high: float, farthest: float, margins: Margins, step_mm: float) -> list[float]:
    """Values of c from `low` to `high`, so close that little is given up between them.

    Parameters
    ----------
    low, high : float
        Range of D, mm, at least minus the smallest margin.
    farthest : float
        No D is larger; what is given up where it is smaller does not depend on it.
    margins : Margins
    step_mm : float
        A tenth of it is about what may be given up.
    """
    spread = margins.largest_mm - margins.smallest_mm
    values = [low]
    if spread > 0.05 * step_mm:
        growth = max(0.4, 0.4 * step_mm / spread)
        while values[-1] < min(high, farthest):
            values.append(min(values[-1] + max(step_mm, growth * (values[-1] + margins.largest_mm)), high))
    return values


def lower_bounds_mm(
    margins: Margins,
    lattice: Lattice,
    spacing_mm: NDArray[np.float64],
    bounds: list[float],
    *,
    ceiling_mm: float = np.inf,
) -> NDArray[np.float32]:
    """Lower bounds of D at the nodes of a lattice.

    Parameters
    ----------
    margins : Margins
    lattice : Lattice
        Over the box of `margins`.
    spacing_mm : (3,) float
    bounds : list of float
        Values of c, ascending.
    ceiling_mm : float
        Larger values of D are given as this: the nearer, the less there is to look at.

    Returns
    -------
    (K, J, I) float32
        mm; never above D.
    """
    columns = np.logical_or.reduce(margins.inside, axis=0)
    inside, widths = margins.inside[:, columns], margins.margin_mm[:, columns]
    occupied = _rows_of(inside)
    result = np.full(lattice.shape, -np.inf, dtype=np.float32)
    for bound, top in zip(bounds, [*bounds[1:], ceiling_mm], strict=True):
        reach = np.ceil(np.minimum((top + margins.largest_mm) / spacing_mm, 1 << 30)).astype(np.int64)
        weights = np.where(inside, -np.square(np.float32(bound) + widths), _NOTHING)
        layers = max(_WORKING_SET // (lattice.shape[1] * columns.shape[1]), 1)
        for low in range(0, len(result), layers):
            part = result[low : low + layers]
            power = _powers(weights, occupied, columns, lattice, low, len(part), spacing_mm, reach)
            np.maximum(part, top if power is None else np.minimum(_least(power, bound, margins), top), out=part)
    return result


def _powers(
    weights: NDArray[np.float32],
    occupied: tuple[int, int] | None,
    columns: NDArray[np.bool_],
    lattice: Lattice,
    low: int,
    layers: int,
    spacing_mm: NDArray[np.float64],
    reach: NDArray[np.int64],
) -> NDArray[np.float32] | None:
    """P_c on a few layers of nodes; None when no voxel is within reach of them."""
    first, stride, count = lattice.first.tolist(), lattice.stride.tolist(), lattice.count.tolist()
    along = _pass(weights, occupied, spacing_mm[0], first[0] + low * stride[0], stride[0], layers, int(reach[0]))
    if along.min() >= _NOTHING:
        return None
    plane = np.full((columns.shape[0], layers, columns.shape[1]), _NOTHING)
    plane.transpose(1, 0, 2)[:, columns] = along
    flat = plane.reshape(len(plane), -1)
    filled = _rows_of(flat < _NOTHING)
    rows = _pass(flat, filled, spacing_mm[1], first[1], stride[1], count[1], int(reach[1]))
    turned = np.ascontiguousarray(rows.reshape(count[1], layers, -1).transpose(2, 1, 0)).reshape(columns.shape[1], -1)
    filled = _rows_of(turned < _NOTHING)
    lines = _pass(turned, filled, spacing_mm[2], first[2], stride[2], count[2], int(reach[2]))
    return lines.reshape(count[2], layers, count[1]).transpose(1, 2, 0)


def _rows_of(filled: NDArray[np.bool_]) -> tuple[int, int] | None:
    """First and last row that has something; None when none has."""
    rows = np.flatnonzero(filled.any(axis=1))
    return (int(rows[0]), int(rows[-1])) if len(rows) else None


def _pass(
    values: NDArray[np.float32],
    occupied: tuple[int, int] | None,
    step_mm: float,
    first: float,
    stride: int,
    count: int,
    reach: int,
) -> NDArray[np.float32]:
    """Minimum over the first axis, at its nodes, of ``values + distance²``, no more than `reach` entries away.

    Only the rows from the first to the last of `occupied` have anything.
    """
    least = np.full((count, values.shape[1]), _NOTHING)
    if occupied is None:
        return least
    moved = np.empty_like(least)
    origin = math.floor(first)
    begin, end = occupied[0] - origin, occupied[1] - origin
    for offset in range(max(-reach, begin - (count - 1) * stride), min(reach + 1, end) + 1):
        low, high = max(-((offset - begin) // stride), 0), min((end - offset) // stride + 1, count)
        if low < high:
            start = origin + offset + low * stride
            near = values[start : start + (high - low - 1) * stride + 1 : stride]
            apart = np.float32(((offset + origin - first) * step_mm) ** 2)
            np.add(near, apart, out=moved[: high - low])
            np.minimum(least[low:high], moved[: high - low], out=least[low:high])
    return least


def _least(power: NDArray[np.float32], bound: float, margins: Margins) -> NDArray[np.float32]:
    """The bound of D that a power gives, rounded down."""
    smallest, largest = np.float32(margins.smallest_mm), np.float32(margins.largest_mm)
    outer, inner = np.square(np.float32(bound) + largest), np.square(np.float32(bound) + smallest)
    power = power - np.float32(_FLOAT32_SLACK) * (np.abs(power) + outer)
    least: NDArray[np.float32] = np.sqrt(np.maximum(power + outer, 0)) - largest
    if smallest < largest:  # the bound falls with m outside of the balls; within them it rises, once it is above −m
        within = power < 0
        inside = power[within]
        deepest = np.clip(np.sqrt(-inside) - np.float32(bound), smallest, largest)
        least[within] = np.sqrt(np.maximum(inside + inner, 0)) - deepest
    return least
