"""Boxes for training: those of the simulated annotator, with a mixture of loosenesses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prompts.annotator import Looseness, loose_box

__all__ = ["training_box"]

_SHARES = {Looseness.EVEN: 0.3, Looseness.UNEVEN: 0.2, Looseness.PRECISE: 0.3, Looseness.HASTY: 0.2}
_MOST = 0.8
"""Largest padding, as a share of the structure's extent."""
_SLICE_MM = (100.0, 450.0)
"""Range of the side of the whole slice that a crop is assumed to come from."""


def training_box(reference: NDArray[np.bool_], rng: np.random.Generator, *, step_mm: float) -> NDArray[np.float64]:
    """A loose box around a structure on one slice.

    Parameters
    ----------
    reference : (N, N) bool
        The structure; not empty.
    rng : numpy.random.Generator
        Source of all random choices.
    step_mm : float
        Side of a pixel.

    Returns
    -------
    (4,) float64
        First row, first column, last row and last column; fractional, and possibly beyond the crop.
    """
    looseness = list(_SHARES)[int(rng.choice(len(_SHARES), p=list(_SHARES.values())))]
    side = float(rng.uniform(*_SLICE_MM)) / step_mm
    box = loose_box(reference, looseness, rng, most=_MOST, side=side)
    return np.concatenate([box.min(axis=0), box.max(axis=0)])
