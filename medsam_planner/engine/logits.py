"""Conversion between logits and probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["OUTSIDE_LOGIT", "SUREST_LOGIT", "logit", "sigmoid"]

OUTSIDE_LOGIT = -20.0
"""Logit outside the model's crop: a probability of 2e-9. Smaller probabilities are raised to it."""
SUREST_LOGIT = 8.0
"""Logits are clipped to ± this before they are averaged, because differences between larger logits mean nothing."""


def logit(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """(...) log(p / (1 - p)), from :data:`OUTSIDE_LOGIT` to 16.6, that of the largest float32 below one."""
    bounded = np.clip(probability, 1e-30, 1 - 6e-8)
    return np.asarray(np.maximum(np.log(bounded) - np.log1p(-bounded), OUTSIDE_LOGIT), dtype=np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(...) probabilities of logits, which are clipped to ± 30."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))), dtype=np.float32)
