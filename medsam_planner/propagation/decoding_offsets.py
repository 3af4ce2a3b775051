"""Decoding offsets of an anchor: a box padding and a logit shift, calibrated on the prompted slice.

From a propagated mask the model predicts a mask that is a little too small or too large, in the same direction on every
slice of a structure, and over twenty slices the error adds up. On the prompted slice the mask is known. It is
propagated onto its own slice, and the padding and the shift with which it comes back unchanged are used on all slices
that are propagated from that anchor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.logits import logit

__all__ = ["LARGEST_SHIFT", "DecodingOffsets", "best_padding", "shift_to_area"]

LARGEST_SHIFT = 3.0
"""Logits are shifted by no more than this; a larger error of the area is an error of shape and not of size."""
WORTH_WIDER_PADDING = 0.01
"""Gain of Dice that justifies a wider padding: wide boxes also include neighbouring structures."""


@dataclass(frozen=True, slots=True)
class DecodingOffsets:
    """Decoding offsets of one anchor; the model's defaults by default."""

    padding_px: float | None = None
    """Padding in model pixels of the propagated box where it is decoded alone; None for the model's default."""
    logit_shift: float = 0.0
    """Added to the logits of every prediction."""


def best_padding(predicted: Sequence[NDArray[np.bool_]], reference: NDArray[np.bool_]) -> int:
    """Number of the padding whose prediction fits a reference mask best; wider ones must fit better by 0.01 of Dice.

    Parameters
    ----------
    predicted : sequence of (H, W) bool
        Predictions with ever wider paddings.
    reference : (H, W) bool
        The mask of the prompted slice; not empty.
    """
    best, reached = 0, -1.0
    for number, mask in enumerate(predicted):
        dice = 2 * np.count_nonzero(mask & reference) / (np.count_nonzero(mask) + np.count_nonzero(reference))
        if dice > reached + (WORTH_WIDER_PADDING if number else 0.0):
            best, reached = number, dice
    return best


def shift_to_area(probability: NDArray[np.float32], pixels: int) -> float:
    """The smallest shift of the logits after which a given number of pixels has a probability above one half.

    Parameters
    ----------
    probability : (H, W) float32
        Prediction to shift.
    pixels : int
        Number of pixels, from 1 to all of them.

    Returns
    -------
    float
        Within ± :data:`LARGEST_SHIFT`; 0 where the area needs no change.
    """
    found = int(np.count_nonzero(probability > 0.5))
    if found == pixels:
        return 0.0
    logits = logit(probability.ravel())
    # One half must lie just below the last pixel to include, or just above the first pixel to exclude.
    rank = pixels - 1 if found < pixels else pixels
    shift = -float(np.partition(logits, logits.size - 1 - rank)[logits.size - 1 - rank])
    shift += 1e-3 if found < pixels else -1e-3
    return float(np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT))
