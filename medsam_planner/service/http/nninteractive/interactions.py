"""What clients of nnInteractive draw, as prompts in LPS mm.

Positions of the protocol are voxels in the client's order of array axes. MITK and 3D Slicer send arrays slices first,
and so does napari as a rule. The protocol states a spacing and no direction: the first array axis is taken for
head-foot, the second for front-back, the last for left-right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.service.drawn_regions import Sides, box_prompts, lasso_prompts
from prompts import Click, Prompt, Scribble
from prompts.affine import lps_from_index
from prompts.masks import mask_box

__all__ = [
    "Sides",
    "box_prompts",
    "grid_affine",
    "lasso_prompts",
    "place",
    "point_prompts",
    "scribble_prompts",
    "sides",
]


def grid_affine(spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """(4, 4) index → LPS mm of a client's array, its first voxel at the origin.

    Parameters
    ----------
    spacing_mm : (3,) float
        For each array axis; rounded to float32, as a NIfTI file keeps it.
    """
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = (float(np.float32(one)) for one in spacing_mm)
    affine[3, 3] = 1.0
    return affine


def place(values: Sequence[float]) -> tuple[int, ...]:
    """The voxel of a position, rounded as the protocol does: halves to even."""
    return tuple(round(float(value)) for value in values)


def sides(low_high: Sequence[Sequence[float]], shape: Sequence[int]) -> Sides | None:
    """A half-open box within the grid, of at least one voxel along each axis; None for one outside it."""
    if any(high <= 0 or low >= size for (low, high), size in zip(low_high, shape, strict=True)):
        return None
    cut = []
    for (low, high), size in zip(low_high, shape, strict=True):
        first = min(max(round(float(low)), 0), size - 1)
        cut.append((first, max(min(round(float(high)), size), first + 1)))
    return tuple(cut)


def point_prompts(
    voxel: Sequence[int], affine: NDArray[np.float64], shape: Sequence[int], *, include: bool
) -> list[Prompt]:
    """A click; none for a point outside the image, which the protocol ignores."""
    if not all(0 <= value < size for value, size in zip(voxel, shape, strict=True)):
        return []
    return [Click(lps_from_index(affine, list(voxel)), include)]


def scribble_prompts(drawn: NDArray[Any], box: Sides, affine: NDArray[np.float64], *, include: bool) -> list[Prompt]:
    """The middle line of each connected part of a stroke, on each slice across its thinnest side."""
    from scipy import ndimage
    from skimage.morphology import skeletonize

    inside = mask_box(drawn != 0)
    low = [first + part.start for (first, _), part in zip(box, inside, strict=True)]
    stroke = drawn[inside] != 0
    axis = int(np.argmin(stroke.shape))
    found: list[Prompt] = []
    for offset in range(stroke.shape[axis]):
        parts, _ = ndimage.label(np.take(stroke, offset, axis), np.ones((3, 3)))
        for number, window in enumerate(ndimage.find_objects(parts), start=1):
            part = np.pad(parts[window] == number, 1)
            thin = skeletonize(part)
            line = _longest_path(thin if thin.any() else part) - 1 + [side.start for side in window]
            found.append(Scribble(lps_from_index(affine, np.insert(line, axis, offset, axis=1) + low), include))
    return found


_STEPS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]


def _longest_path(thin: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(N, 2) pixels of the longest path of a thin line: twice to the farthest pixel, breadth first."""
    pixels = {(int(row), int(column)) for row, column in np.argwhere(thin)}

    def to_farthest(start: tuple[int, int]) -> list[tuple[int, int]]:
        before: dict[tuple[int, int], tuple[int, int] | None] = {start: None}
        order = [start]
        for row, column in order:  # grows
            for down, right in _STEPS:
                other = (row + down, column + right)
                if other in pixels and other not in before:
                    before[other] = (row, column)
                    order.append(other)
        path: list[tuple[int, int]] = []
        at: tuple[int, int] | None = order[-1]
        while at is not None:
            path.append(at)
            at = before[at]
        return path

    return np.array(to_farthest(to_farthest(min(pixels))[0]))
