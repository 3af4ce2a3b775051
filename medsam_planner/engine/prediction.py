"""A prediction on one slice, with everything that is needed to decode it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.slice_memory import PredictedSlice

__all__ = ["SlicePrediction"]


@dataclass(frozen=True, slots=True, eq=False)
class SlicePrediction:
    """A prediction on one slice."""

    probability: NDArray[np.float32]
    """(H, W)."""
    quality: float
    """Predicted IoU in [0, 1]."""
    crop: Crop | None
    """The crop it was made on; None where no model was needed: all prompts are negative, or the mask is given."""
    prompt_source: SlicePrompt | Callable[[], SlicePrompt]
    """:attr:`prompt`, or a function that builds it: propagated prompts hold whole slices and would fill the memory."""
    previous_logits: NDArray[np.float32] | None = None
    """(size, size) logits of the prediction that was refined, in the pixels of `crop`."""
    logit_shift: float = 0.0
    """Shift that was added to the model's logits."""
    memory: tuple[PredictedSlice, ...] = field(default=(), repr=False)
    """Other slices that the model attended to."""
    is_given: bool = False
    """Whether the user gave the mask, by an initial mask or an edit. Stochastic passes keep it."""

    @property
    def prompt(self) -> SlicePrompt:
        """The prompt in slice pixels. With the previous logits and the memory it is enough to decode again."""
        return self.prompt_source if isinstance(self.prompt_source, SlicePrompt) else self.prompt_source()

    def mask(self) -> NDArray[np.bool_]:
        """(H, W) pixels with a probability above one half."""
        return np.asarray(self.probability > 0.5)

    def entropy_bits(self) -> float:
        """Mean binary entropy of the probability over the mask, in bits; 0 where the mask is empty."""
        inside = np.clip(self.probability[self.mask()], 1e-7, 1 - 1e-7).astype(np.float64)
        if inside.size == 0:
            return 0.0
        return float(np.mean(-inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)))
