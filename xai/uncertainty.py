"""Disagreement of stochastic passes: entropy and mutual information in bits, spread of the surface in mm.

With p_t the probability in pass t = 1..T and p̄ their mean, the predictive entropy H(p̄) is the sum of the expected
entropy, mean H(p_t), which is the uncertainty within passes, and the mutual information, which is the disagreement
between passes [1]_ [2]_.

References
----------
.. [1] Houlsby et al., Bayesian active learning for classification and preference learning, 2011, arXiv 1112.5745.
.. [2] Gal, Islam, Ghahramani, Deep Bayesian active learning with image data, ICML 2017, arXiv 1703.02910.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xai.errors import UncertaintyError
from xai.surface import boundary_spread_mm

__all__ = [
    "EntropyAccumulator",
    "boundary_spread_mm",
    "expected_entropy",
    "mutual_information",
    "predictive_entropy",
]


class EntropyAccumulator:
    """Entropy maps of many passes, added one at a time: no (T, K, J, I) array is needed.

    It holds two float64 arrays of the given shape. The order of the passes changes results only by rounding.
    """

    __slots__ = ("_entropy", "_probability", "passes")

    def __init__(self, shape: Sequence[int]) -> None:
        self._probability = np.zeros(tuple(shape))
        self._entropy = np.zeros(tuple(shape))
        self.passes = 0

    def add(self, probability: ArrayLike) -> None:
        """Add one pass: probabilities of the structure, of the shape given at the start.

        Raises
        ------
        UncertaintyError
            If the shape differs or a value lies outside [0, 1].
        """
        p = np.asarray(probability)
        if p.shape != self._probability.shape:
            raise UncertaintyError(f"Expected a pass of shape {self._probability.shape}, got {p.shape}.")
        p = _require_probability(p)
        self._probability += p
        self._entropy += _binary_entropy(p)
        self.passes += 1

    @property
    def probability(self) -> NDArray[np.float32]:
        """Mean probability over the passes, float32."""
        return self._mean(self._probability).astype(np.float32)

    @property
    def predictive_entropy(self) -> NDArray[np.float32]:
        """Entropy of the mean probability in bits, float32 in [0, 1]."""
        return _binary_entropy(np.clip(self._mean(self._probability), 0.0, 1.0)).astype(np.float32)

    @property
    def expected_entropy(self) -> NDArray[np.float32]:
        """Mean entropy of the passes in bits, float32 in [0, 1]."""
        return self._mean(self._entropy).astype(np.float32)

    @property
    def mutual_information(self) -> NDArray[np.float32]:
        """Predictive minus expected entropy in bits, float32, never below 0."""
        total = _binary_entropy(np.clip(self._mean(self._probability), 0.0, 1.0))
        total -= self._mean(self._entropy)
        return np.maximum(total, 0.0).astype(np.float32)  # negative only by rounding: entropy is concave

    def _mean(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.passes == 0:
            raise UncertaintyError("No pass was added yet: add at least one, at least two for mutual information.")
        return total / self.passes


def predictive_entropy(probabilities: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Entropy of the mean probability, in bits.

    Parameters
    ----------
    probabilities : (T, ...) float in [0, 1]
        Probability of the structure in T passes; an array or any iterable of arrays.

    Returns
    -------
    (...) float32
        1 where the mean is one half, 0 where all passes are certain and equal.

    Raises
    ------
    UncertaintyError
        If there is no pass, shapes differ, or a value lies outside [0, 1].
    """
    return _accumulated(probabilities).predictive_entropy


def expected_entropy(probabilities: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Mean of the passes' entropies, in bits: the uncertainty within passes. See :func:`predictive_entropy`."""
    return _accumulated(probabilities).expected_entropy


def mutual_information(probabilities: Iterable[ArrayLike]) -> NDArray[np.float32]:
    """Predictive minus expected entropy, in bits: the disagreement between passes. See :func:`predictive_entropy`."""
    return _accumulated(probabilities).mutual_information


def _binary_entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    tiny = np.finfo(np.float64).tiny  # 0 · log 0 counts as 0
    bits: NDArray[np.float64] = p * np.log2(np.maximum(p, tiny))
    q = 1.0 - p
    bits += q * np.log2(np.maximum(q, tiny))
    return 0.0 - bits


def _accumulated(probabilities: Iterable[ArrayLike]) -> EntropyAccumulator:
    total: EntropyAccumulator | None = None
    for one in probabilities:
        p = np.asarray(one)
        total = EntropyAccumulator(p.shape) if total is None else total
        total.add(p)
    if total is None:
        raise UncertaintyError("Expected at least one pass along axis 0, got none.")
    return total


def _require_probability(p: NDArray[np.generic]) -> NDArray[np.float64]:
    values = p.astype(np.float64)
    if not ((values >= 0.0) & (values <= 1.0)).all():
        raise UncertaintyError(
            f"Expected probabilities in [0, 1], got values from {values.min()} to {values.max()}: "
            "apply a sigmoid to logits."
        )
    return values
