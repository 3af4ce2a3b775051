"""The square crops of a slice on which the compact model predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import Crop, SlicePrompt, box_around
from medsam_planner.errors import GeometryError, PromptError

__all__ = ["BOX_FACTOR", "SMALLEST_CROP_PX", "compact_crops"]

BOX_FACTOR = 1.8
"""Ratio of the crop's side to the longer side of the box; in training it is 1.5 to 2.4."""
SMALLEST_CROP_PX = 20.0
"""Smallest side of a crop in slice pixels: smaller crops show no context."""
LADDER_STEP = 1.7
"""Ratio between neighbouring crop sizes for clicks alone; training covers 0.8 to 6 times the structure."""


def compact_crops(
    prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float], size: int
) -> tuple[Crop, ...]:
    """Candidate crops for a prompt, square in mm, narrow to wide.

    A box, or the pixels of a mask above one half, give one crop :data:`BOX_FACTOR` times as wide, enlarged where clicks
    lie outside it. Clicks alone give a ladder of crops of increasing size around them.

    Parameters
    ----------
    prompt : SlicePrompt
        In pixels of the slice.
    shape : (H, W)
        Shape of the slice.
    spacing_mm : (float, float)
        Size of a pixel along rows and columns.
    size : int
        Side of each crop in model pixels.

    Raises
    ------
    PromptError
        If the prompt is empty, or has nothing but an empty mask.
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
    smallest_mm = SMALLEST_CROP_PX * float(spacing.min())
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
    return (_crop(centre, side_mm, spacing, size),)


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
    return tuple(_crop(centre, side, spacing, size) for side in sides)


def _crop(centre: NDArray[np.float64], side_mm: float, spacing: NDArray[np.float64], size: int) -> Crop:
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
