"""Voxels under a brush that is drawn along a line, within a range of values if one is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PromptError
from medsam_planner.geometry import spacing_mm

__all__ = ["LARGEST_RADIUS_MM", "MOST_LENGTH_MM", "Brush", "painted_voxels"]

LARGEST_RADIUS_MM = 100.0
MOST_LENGTH_MM = 10_000.0
"""Of a line; a person's stroke is far shorter."""
_MOST_VOXELS = 20_000_000
"""In the box around a stroke."""


@dataclass(frozen=True, slots=True)
class Brush:
    """What a stroke paints.

    Raises
    ------
    PromptError
        If the radius is not above 0 and at most :data:`LARGEST_RADIUS_MM`, or the range of values is empty.
    """

    radius_mm: float
    is_ball: bool = False
    """Whether it also paints on the slices before and behind, as a ball; else a disc on the slice."""
    low: float = -np.inf
    high: float = np.inf
    """Only voxels with values from `low` to `high` are painted, in units of the study."""

    def __post_init__(self) -> None:
        if not 0 < self.radius_mm <= LARGEST_RADIUS_MM:
            raise PromptError(
                f"Expected a brush radius above 0 and up to {LARGEST_RADIUS_MM:g} mm, got {self.radius_mm!r}."
            )
        if not self.low <= self.high:
            raise PromptError(f"Expected a range of values from low to high, got {self.low!r} to {self.high!r}.")


def painted_voxels(
    line: ArrayLike, brush: Brush, affine: ArrayLike, values: NDArray[np.floating | np.integer], *, axis: int
) -> tuple[tuple[int, int, int], NDArray[np.bool_]]:
    """Voxels whose centre is within the brush's radius of a line.

    A voxel that the line runs through is painted even if the brush is smaller than it.

    Parameters
    ----------
    line : (N, 3) float
        Corners of the line as fractional voxel indices, on one slice across `axis`, N >= 1.
    brush : Brush
    affine : (4, 4) float
        Index → LPS mm.
    values : (K, J, I) ndarray
        The study.
    axis : int
        Array axis across which the slice lies.

    Returns
    -------
    (3,) int
        Voxel at which the box around the stroke begins.
    (k, j, i) bool
        The painted voxels in the box; at least one.

    Raises
    ------
    PromptError
        If no voxel has a value in the range, the line leaves the study, or the stroke is too large.
    """
    from scipy.spatial import cKDTree

    spacing, shape = spacing_mm(affine), np.array(values.shape)
    corners = np.asarray(line, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 3 or not len(corners) or not np.isfinite(corners).all():
        raise PromptError(f"Expected the corners of a line as N >= 1 voxel indices, got shape {corners.shape}.")
    if (corners < -0.5).any() or (corners > shape - 0.5).any():
        raise PromptError("Draw inside the slice: that line leaves it.")
    places_mm = _along(corners * spacing, step_mm=min(brush.radius_mm, float(spacing.min())) / 2)
    reach = brush.radius_mm / spacing
    if not brush.is_ball:
        reach[axis] = 0.0
    low = np.maximum(np.floor(np.rint(corners.min(axis=0)) - reach), 0).astype(int)
    high = np.minimum(np.ceil(np.rint(corners.max(axis=0)) + reach), shape - 1).astype(int)
    size = high - low + 1
    if size.prod() > _MOST_VOXELS:
        raise PromptError("That stroke is too large. Draw a shorter one, or with a smaller brush.")
    centres_mm = (np.indices(tuple(size.tolist())).reshape(3, -1).T + low) * spacing
    distance_mm, _ = cKDTree(places_mm).query(centres_mm, distance_upper_bound=brush.radius_mm * (1 + 1e-9))
    inside = np.isfinite(distance_mm).reshape(size)
    inside[tuple((np.rint(places_mm / spacing).astype(int) - low).T)] = True
    box = tuple(slice(first, last + 1) for first, last in zip(low.tolist(), high.tolist(), strict=True))
    inside &= (values[box] >= brush.low) & (values[box] <= brush.high)
    if not inside.any():
        raise PromptError(f"No voxel under the brush has a value from {brush.low:g} to {brush.high:g}.")
    k, j, i = low.tolist()
    return (k, j, i), inside


def _along(corners_mm: NDArray[np.float64], *, step_mm: float) -> NDArray[np.float64]:
    """Places along a line, at most `step_mm` apart."""
    lengths = np.linalg.norm(np.diff(corners_mm, axis=0), axis=1)
    if lengths.sum() > MOST_LENGTH_MM:
        raise PromptError(f"Expected a line of at most {MOST_LENGTH_MM:g} mm, got {lengths.sum():.0f} mm.")
    parts = [corners_mm[:1]]
    for start, end, length in zip(corners_mm[:-1], corners_mm[1:], lengths, strict=True):
        count = max(int(np.ceil(length / step_mm)), 1)
        parts.append(start + np.linspace(0, 1, count + 1)[1:, None] * (end - start))
    return np.concatenate(parts)
