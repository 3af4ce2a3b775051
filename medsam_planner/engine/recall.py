"""Answered slices as a model with a memory is shown them.

Which field a slice was answered in does not matter: for every question each remembered slice is encoded in the very
field that is asked about, as the slices of a training stack share one crop. Along a walk the field stays (see
:mod:`medsam_planner.propagation.recalling`), so this costs nothing there: embedding and tokens are known. Where a field
is opened anew, each remembered slice is encoded once more, and kept.
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

__all__ = ["AnsweredSlice", "Recall"]

_TOKENS_KEPT = 96
"""About 150 kB each at 96 model pixels, and the answer they are of: what a slice and its stochastic passes need."""


@dataclass(frozen=True, slots=True, eq=False)
class AnsweredSlice:
    """A slice that other slices may be answered from."""

    index: int
    probability: NDArray[np.float32]
    """(H, W) of its answer; 0 all over where the person said there is nothing."""
    prompted: bool
    """Whether the person prompted it; else a walk answered it."""


@dataclass(slots=True, eq=False)
class Recall:
    """Tokens of answered slices, kept by slice, answer, field and change of the image."""

    model: ModelWithMemory
    embedding: Callable[[int, int, Crop], Any]
    """Of axis, slice index and field."""
    crop_image: Callable[[int, int, Crop], NDArray[np.float32]]
    _kept: OrderedDict[tuple[Any, ...], tuple[NDArray[np.float32], Any]] = field(default_factory=OrderedDict)

    def remembered(
        self, axis: int, index: int, crop: Crop, slice_step_px: float, memory: Sequence[AnsweredSlice]
    ) -> tuple[RememberedSlice, ...]:
        """Answered slices as seen from slice `index`, in the order of their indices.

        Parameters
        ----------
        axis, index : int
        crop : Crop
            The field that is asked about.
        slice_step_px : float
            Distance between neighbouring slices, in pixels along the rows.
        memory : sequence of AnsweredSlice
            Without slice `index` itself.
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

    def _tokens(self, axis: int, one: AnsweredSlice, crop: Crop, change: ImageChange | None) -> Any:
        # The array is kept beside the tokens, so that its identity stays its own.
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
