"""The model's answer on one slice, with all it takes to ask the same again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.recall import AnsweredSlice

__all__ = ["SlicePrediction"]


@dataclass(frozen=True, slots=True, eq=False)
class SlicePrediction:
    """The model's answer on one slice."""

    probability: NDArray[np.float32]
    """(H, W)."""
    quality: float
    """Predicted IoU in [0, 1]."""
    crop: Crop | None
    """The field that was looked at; None where the person only said "not here" and the model was not asked."""
    asked: SlicePrompt | Callable[[], SlicePrompt]
    """:attr:`prompt`, or what builds it: the whole slices that a propagated prompt holds would fill the memory."""
    previous_logits: NDArray[np.float32] | None = None
    """(size, size) answer that was refined, in the pixels of `crop`."""
    logit_shift: float = 0.0
    """What was added to the model's logits."""
    memory: tuple[AnsweredSlice, ...] = field(default=(), repr=False)
    """Other slices that the answer was given from."""

    @property
    def prompt(self) -> SlicePrompt:
        """What was asked, in slice pixels: with the other two enough to ask the same again, stochastically."""
        return self.asked if isinstance(self.asked, SlicePrompt) else self.asked()

    def mask(self) -> NDArray[np.bool_]:
        """(H, W) voxels more likely inside than not."""
        return np.asarray(self.probability > 0.5)

    def entropy_bits(self) -> float:
        """Mean binary entropy of the probability over the mask, in bits; 0 where the mask is empty."""
        inside = np.clip(self.probability[self.mask()], 1e-7, 1 - 1e-7).astype(np.float64)
        if inside.size == 0:
            return 0.0
        return float(np.mean(-inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)))
