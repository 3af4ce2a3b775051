r"""Clearance between two straight tools that both deviate from their trajectories.

A tool is a capsule whose thickness grows linearly along its path: its radius plus its placement error there. The
clearance between two of them is

.. math:: \min_{0 \le s, t \le 1} |w + s u - t v| - \alpha s - \beta t - c

with w the difference of their entries, u and v their directions, α and β the growth of the errors, and c the radii and
entry errors. The length of an affine function is convex and what is subtracted is linear, so the minimum is the one
place inside the square where the slope vanishes, or lies on an edge. Both have closed forms. The result is exact: no
displacement of the ends within the stated errors brings the tools nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.planning.clearance import trajectory_array
from medsam_planner.planning.tool import Tool

__all__ = ["ToolGap", "tool_gap", "tool_gaps_mm"]

_PARALLEL = 1e-12
"""Share of the product of the squared lengths below which the Gram determinant counts as zero: then an edge holds the
minimum too."""


@dataclass(frozen=True, slots=True)
class ToolGap:
    """Where two tools come nearest, and their clearance there."""

    first: str
    second: str
    certified_mm: float
    """Distance of the axes less both radii and both errors; negative where they may collide."""
    first_point_lps_mm: tuple[float, float, float]
    """On the axis of the first tool."""
    second_point_lps_mm: tuple[float, float, float]


def tool_gaps_mm(
    first_trajectories_lps_mm: ArrayLike, first: Tool, second_trajectories_lps_mm: ArrayLike, second: Tool
) -> NDArray[np.float64]:
    """Certified clearance between each trajectory of one tool and each trajectory of another.

    Parameters
    ----------
    first_trajectories_lps_mm : (N, 2, 3) float
        Entry, then target.
    second_trajectories_lps_mm : (M, 2, 3) float

    Returns
    -------
    (N, M) float64
        mm; negative where the tools may collide.

    Raises
    ------
    PlanningError
        If the trajectories are not finite or not of these shapes.
    """
    one, other = (
        trajectory_array(first_trajectories_lps_mm)[:, None],
        trajectory_array(second_trajectories_lps_mm)[None],
    )
    return _nearest(one, first, other, second)[0]


def tool_gap(
    first_name: str,
    first_trajectory: ArrayLike,
    first: Tool,
    second_name: str,
    second_trajectory: ArrayLike,
    second: Tool,
) -> ToolGap:
    """As :func:`tool_gaps_mm` for one pair of trajectories (2, 3), with the places."""
    one, other = (
        trajectory_array(np.asarray(first_trajectory)[None]),
        trajectory_array(np.asarray(second_trajectory)[None]),
    )
    gap, s, t = _nearest(one, first, other, second)
    places = [
        trajectory[0, 0] + part[0] * (trajectory[0, 1] - trajectory[0, 0])
        for trajectory, part in ((one, s), (other, t))
    ]
    x, y = ((float(place[0]), float(place[1]), float(place[2])) for place in places)
    return ToolGap(first_name, second_name, float(gap[0]), x, y)


def _nearest(
    one: NDArray[np.float64], first: Tool, other: NDArray[np.float64], second: Tool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Smallest clearance and its fractions, for trajectories (..., 2, 3) that broadcast."""
    w, u, v = one[..., 0, :] - other[..., 0, :], one[..., 1, :] - one[..., 0, :], other[..., 1, :] - other[..., 0, :]
    alpha = first.target_error_mm - first.entry_error_mm
    beta = second.target_error_mm - second.entry_error_mm
    w, u, v = np.broadcast_arrays(w, u, v)
    candidates = [_inside(w, u, v, alpha, beta)]
    for end in (0.0, 1.0):
        fixed = np.full(w.shape[:-1], end)
        candidates.append((_along(w - end * v, u, alpha), fixed))
        candidates.append((fixed, _along(-w - end * u, v, beta)))
    s, t = (np.stack(parts) for parts in zip(*candidates, strict=True))
    apart = np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)
    clearance = apart - first.allowance_mm(s) - second.allowance_mm(t)
    best = clearance.argmin(axis=0)[None]
    least, s, t = (np.take_along_axis(values, best, axis=0)[0] for values in (clearance, s, t))
    return least, s, t


def _inside(
    w: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64], alpha: float, beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the slope vanishes, moved into the square.

    There the unit vector n between the axes satisfies n·u = α and n·v = −β. Its part in the plane of u and v follows
    from that, and its length in the plane gives how far the difference leans away from the common normal.
    """
    uu, uv, vv = (u * u).sum(-1), (u * v).sum(-1), (v * v).sum(-1)
    determinant = uu * vv - uv * uv
    is_plane = determinant > _PARALLEL * np.maximum(uu * vv, 1e-300)
    safe = np.where(is_plane, determinant, 1.0)

    def in_plane(
        along_u: NDArray[np.float64] | float, along_v: NDArray[np.float64] | float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (vv * along_u - uv * along_v) / safe, (uu * along_v - uv * along_u) / safe

    a, b = in_plane(alpha, -beta)
    x, y = in_plane((w * u).sum(-1), (w * v).sum(-1))
    lean = np.clip(a * alpha - b * beta, 0.0, None)
    height = np.linalg.norm(w - x[..., None] * u - y[..., None] * v, axis=-1)
    reach = height / np.sqrt(np.where(lean < 1, 1 - lean, 1.0))
    usable = is_plane & (lean < 1)
    s = np.where(usable, np.clip(reach * a - x, 0, 1), 0.0)
    t = np.where(usable, np.clip(y - reach * b, 0, 1), 0.0)
    return s, t


def _along(w: NDArray[np.float64], u: NDArray[np.float64], growth: float) -> NDArray[np.float64]:
    """Fraction at which ``|w + s u| − growth · s`` is least over [0, 1]."""
    length = np.linalg.norm(u, axis=-1)
    safe = np.where(length > 0, length, 1.0)
    share = growth / safe
    foot = (w * u).sum(-1) / safe
    aside = np.linalg.norm(w - (foot / safe)[..., None] * u, axis=-1)
    leans = np.abs(share) < 1
    lean = share / np.sqrt(np.where(leans, 1 - share * share, 1.0))
    fraction = np.where(leans, (aside * lean - foot) / safe, np.where(growth > 0, 1.0, 0.0))
    fraction = np.where(length > 0, fraction, 1.0 if growth > 0 else 0.0)
    clipped: NDArray[np.float64] = np.clip(fraction, 0.0, 1.0)
    return clipped
