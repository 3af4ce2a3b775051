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
"""Logits are shifted by no more than this: what is farther off is another shape and not a matter of size."""
WORTH_WIDER_PADDING = 0.01
"""Gain of Dice for which the box is asked wider than usual: a wide box invites what lies beside the structure."""


@dataclass(frozen=True, slots=True)
class DecodingOffsets:
    """How a walk from one anchor asks; as it stands, as the model does by itself."""

    padding_px: float | None = None
    """Model pixels by which the propagated box is grown where it is asked by itself."""
    logit_shift: float = 0.0
    """Added to every answer."""


def best_padding(own: Sequence[NDArray[np.bool_]], truth: NDArray[np.bool_]) -> int:
    """Which of several answers, by ever wider boxes, is the first worth taking for `truth`.

    Parameters
    ----------
    own : sequence of (H, W) bool
        The narrowest box first.
    truth : (H, W) bool
        Not empty.
    """
    best, reached = 0, -1.0
    for number, mask in enumerate(own):
        dice = 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))
        if dice > reached + (WORTH_WIDER_PADDING if number else 0.0):
            best, reached = number, dice
    return best


def shift_to_area(probability: NDArray[np.float32], pixels: int) -> float:
    """The least shift of the logits after which so many pixels are more likely inside than not.

    Parameters
    ----------
    probability : (H, W) float32
    pixels : int
        From 1 to all of them.

    Returns
    -------
    float
        Within ± :data:`LARGEST_SHIFT`; 0 where the area is right as it is.
    """
    found = int(np.count_nonzero(probability > 0.5))
    if found == pixels:
        return 0.0
    logits = logit(probability.ravel())
    # The boundary goes just below the last pixel that is wanted, or just above the first that is not.
    rank = pixels - 1 if found < pixels else pixels
    shift = -float(np.partition(logits, logits.size - 1 - rank)[logits.size - 1 - rank])
    shift += 1e-3 if found < pixels else -1e-3
    return float(np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT))
