"""Which square field of a slice the compact model looks at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import Crop, SlicePrompt, box_around
from medsam_planner.errors import GeometryError, PromptError

__all__ = ["BOX_FACTOR", "SMALLEST_FIELD_PX", "compact_fields"]

BOX_FACTOR = 1.8
"""Side of the field over the longer side of the box; training draws 1.5 to 2.4."""
SMALLEST_FIELD_PX = 20.0
"""A field never shows fewer slice pixels than this: below it there is no context left to see."""
LADDER_STEP = 1.7
"""Ratio between neighbouring zooms for a lone click; training covers 0.8 to 6 times the structure."""


def compact_fields(
    prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float], size: int
) -> tuple[Crop, ...]:
    """Fields worth looking at, square in mm, `size` model pixels a side.

    A box, or what a mask holds above one half, fixes one field :data:`BOX_FACTOR` times as wide, grown where clicks lie
    outside. Clicks alone give a ladder of zooms around them.

    Raises
    ------
    PromptError
        If nothing was asked, or only an empty mask.
    GeometryError
        If the spacing is not two positive numbers.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (2,) or not np.all(spacing > 0):
        raise GeometryError(f"Expected the two positive pixel spacings of the slice in mm, got {spacing_mm}.")
    core = _core_rectangle(prompt)
    points = None if prompt.points is None or len(prompt.points) == 0 else np.asarray(prompt.points, dtype=float)
    if core is None and points is None:
        raise PromptError("Expected a box, a click or a mask with a pixel above 0.5 on the slice; got none of them.")
    smallest_mm = SMALLEST_FIELD_PX * float(spacing.min())
    if core is None:
        return _ladder(np.asarray(points), prompt.labels, shape, spacing, smallest_mm, size)
    extent_mm = (core[1] - core[0] + 1) * spacing
    centre = (core[0] + core[1]) / 2
    side_mm = max(BOX_FACTOR * float(extent_mm.max()), smallest_mm)
    if points is not None:
        low, high = np.minimum(core[0], points.min(0)), np.maximum(core[1], points.max(0))
        if np.any(np.abs(points - centre) * spacing > 0.45 * side_mm):
            centre = (low + high) / 2
            side_mm = max(side_mm, 1.25 * float(((high - low + 1) * spacing).max()))
    return (_field(centre, side_mm, spacing, size),)


def _ladder(
    points: NDArray[np.float64],
    labels: NDArray[np.bool_] | None,
    shape: tuple[int, int],
    spacing: NDArray[np.float64],
    smallest_mm: float,
    size: int,
) -> tuple[Crop, ...]:
    positive = points if labels is None or not np.any(labels) else points[np.asarray(labels, dtype=bool)]
    centre = (positive.min(0) + positive.max(0)) / 2
    spread_mm = 2 * float((np.abs(points - centre) * spacing).max())
    side_mm = max(smallest_mm, 1.3 * spread_mm)
    widest_mm = max(float((np.asarray(shape) * spacing).max()), side_mm)
    sides = [side_mm]
    while sides[-1] * LADDER_STEP < widest_mm:
        sides.append(sides[-1] * LADDER_STEP)
    return tuple(_field(centre, side, spacing, size) for side in sides)


def _field(centre: NDArray[np.float64], side_mm: float, spacing: NDArray[np.float64], size: int) -> Crop:
    side = side_mm / spacing
    return Crop((float(centre[0]), float(centre[1])), (float(side[0]), float(side[1])), size)


def _core_rectangle(prompt: SlicePrompt) -> NDArray[np.float64] | None:
    """((first row, first column), (last row, last column)) of box and mask together, or None."""
    rectangles = []
    if prompt.box is not None:
        box = np.reshape(np.asarray(prompt.box, dtype=np.float64), (2, 2))
        rectangles.append(np.stack([box.min(0), box.max(0)]))
    if prompt.mask is not None:
        inside = prompt.mask > 0.5
        if inside.any():
            rectangles.append(box_around(inside).reshape(2, 2))
    if not rectangles:
        return None
    return np.stack([np.min([r[0] for r in rectangles], 0), np.max([r[1] for r in rectangles], 0)])
