"""Between logits and probabilities, the same everywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["OUTSIDE_LOGIT", "SUREST_LOGIT", "logit", "sigmoid"]

OUTSIDE_LOGIT = -20.0
"""Logit written where the model did not look: a probability of 2e-9. No probability is taken for less."""
SUREST_LOGIT = 8.0
"""Answers that are averaged or weighed count no surer than this: further out, differences are the network's whims."""


def logit(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """(...) log(p / (1 - p)), from :data:`OUTSIDE_LOGIT` to 16.6, where float32 ends below one."""
    bounded = np.clip(probability, 1e-30, 1 - 6e-8)
    return np.asarray(np.maximum(np.log(bounded) - np.log1p(-bounded), OUTSIDE_LOGIT), dtype=np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """(...) probabilities; beyond a logit of 30 either way they are those of 30."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits, -30.0, 30.0))), dtype=np.float32)
