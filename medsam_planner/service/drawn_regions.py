"""Regions that a person or a client draws, as prompts: one way for the page and for clients of nnInteractive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from prompts import Box, Click, Prompt
from prompts.affine import lps_from_index
from prompts.masks import mask_box

__all__ = ["Sides", "box_prompts", "lasso_prompts"]

Sides = tuple[tuple[int, int], ...]
"""First voxel and the one after the last, for each array axis."""


def box_prompts(box: Sides, affine: NDArray[np.float64]) -> list[Prompt]:
    """A box, its corners the centres of the outermost voxels; a click where it is one line or one voxel."""
    low, last = [first for first, _ in box], [end - 1 for _, end in box]
    if sum(a == b for a, b in zip(low, last, strict=True)) > 1:
        return [Click(lps_from_index(affine, [(a + b) // 2 for a, b in zip(low, last, strict=True)]))]
    return [Box(lps_from_index(affine, low), lps_from_index(affine, last))]


def lasso_prompts(drawn: NDArray[Any], box: Sides, affine: NDArray[np.float64]) -> list[Prompt]:
    """The box of a filled region that was drawn loosely around a structure."""
    inside = mask_box(drawn != 0)
    if inside[0].stop == 0:
        return []
    tight = tuple((first + part.start, first + part.stop) for (first, _), part in zip(box, inside, strict=True))
    return box_prompts(tight, affine)
