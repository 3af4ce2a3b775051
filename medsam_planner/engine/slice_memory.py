"""Memory tokens of predicted slices, for a model with a memory.

Every remembered slice is encoded in the crop of the slice that is predicted, as the slices of a training stack share
one crop; the crop in which it was predicted itself does not matter. Along a propagation front the crop stays the same
(see :mod:`medsam_planner.propagation.memory_propagation`), so embedding and tokens are cached. Where a new crop is
opened, each remembered slice is encoded once more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import Crop, ModelWithMemory, RememberedSlice
from medsam_planner.engine.stochastic_passes import ImageChange
from medsam_planner.engine.zoom import extract

__all__ = ["PredictedSlice", "SliceMemory"]

_TOKENS_KEPT = 96
"""Enough for a slice and its stochastic passes; about 150 kB each at 96 model pixels, besides the prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class PredictedSlice:
    """A slice with a mask, to which the model may attend when it predicts other slices."""

    index: int
    probability: NDArray[np.float32]
    """(H, W); 0 everywhere where the user marked the slice as empty."""
    prompted: bool
    """Whether the user prompted the slice; otherwise its mask was propagated."""


@dataclass(slots=True, eq=False)
class SliceMemory:
    """Tokens of predicted slices, cached by slice, prediction, crop and change of the image."""

    model: ModelWithMemory
    embedding: Callable[[int, int, Crop], Any]
    """Maps axis, slice index and crop to an embedding."""
    crop_image: Callable[[int, int, Crop], NDArray[np.float32]]
    _kept: OrderedDict[tuple[Any, ...], tuple[NDArray[np.float32], Any]] = field(default_factory=OrderedDict)

    def remembered(
        self, axis: int, index: int, crop: Crop, slice_step_px: float, memory: Sequence[PredictedSlice]
    ) -> tuple[RememberedSlice, ...]:
        """Predicted slices with their places relative to slice `index`, by ascending index.

        Parameters
        ----------
        axis, index : int
            The slice that is predicted.
        crop : Crop
            The crop on which it is predicted.
        slice_step_px : float
            Distance between neighbouring slices, in pixels along the rows.
        memory : sequence of PredictedSlice
            Other slices than slice `index`.
        """
        return tuple(
            RememberedSlice(
                tokens=self._tokens(axis, one, crop, None),
                centre_rc=crop.centre_rc,
                side=crop.side_rc[0],
                away=abs(one.index - index) * slice_step_px,
                changed=partial(self._tokens, axis, one, crop),
            )
            for one in sorted(memory, key=lambda one: one.index)
        )

    def _tokens(self, axis: int, one: PredictedSlice, crop: Crop, change: ImageChange | None) -> Any:
        # The array is kept with the tokens, so that its id is not used again for another array.
        key = (axis, one.index, id(one.probability), one.prompted, crop, change)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        mask = extract(one.probability, crop)
        if change is None:
            embedding = self.embedding(axis, one.index, crop)
        else:
            embedding = self.model.encode(change.image(self.crop_image(axis, one.index, crop))[None])
            mask = change.flipped(mask)
        tokens = self.model.remember(embedding, mask, prompted=one.prompted)
        self._kept[key] = (one.probability, tokens)
        if len(self._kept) > _TOKENS_KEPT:
            self._kept.popitem(last=False)
        return tokens
