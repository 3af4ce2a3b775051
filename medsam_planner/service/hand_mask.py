"""The mask that a person draws, shown at once on every plane, before anything is computed.

Edits at the end of a log lie over what was there. If the log consists of an initial mask and edits on its slices, the
result is exactly what the 3D segmentation will give, because no model takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import acquisition_axis, slice_across
from prompts import Edit, InitialMask, Prompt, VoxelMask

__all__ = ["HandMask", "hand_mask"]

_KEPT = 64
"""Decoded masks, so that a stroke decodes only itself."""


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """Voxels that are set or cleared."""

    first_index: tuple[int, int, int]
    inside: NDArray[np.bool_]
    positive: bool


@dataclass(frozen=True, slots=True, eq=False)
class HandMask:
    """A mask with the last edits on it."""

    shape: tuple[int, int, int]
    patches: tuple[_Patch, ...]
    is_exact: bool
    """Whether it is the mask that the prompts lead to; else what is propagated from the edits is still to come."""
    below: NDArray[np.bool_] | None = field(default=None, repr=False)
    """(K, J, I): what the edits were made on; None where that is nothing, or is a patch itself."""

    def section(self, axis: int, index: int) -> NDArray[np.bool_]:
        """The mask on one slice across an array axis; in-plane axes in array order."""
        in_plane = tuple(size for other, size in enumerate(self.shape) if other != axis)
        drawn = np.zeros(in_plane, bool) if self.below is None else slice_across(self.below, axis, index).copy()
        for patch in self.patches:
            at = index - patch.first_index[axis]
            if 0 <= at < patch.inside.shape[axis]:
                corner = [low for other, low in enumerate(patch.first_index) if other != axis]
                part = slice_across(patch.inside, axis, at)
                window = tuple(slice(low, low + size) for low, size in zip(corner, part.shape, strict=True))
                drawn[window][part] = patch.positive
        return drawn

    def whole(self) -> NDArray[np.bool_]:
        """(K, J, I), to be written to."""
        drawn = np.zeros(self.shape, bool) if self.below is None else self.below.copy()
        for patch in self.patches:
            window = tuple(
                slice(low, low + size) for low, size in zip(patch.first_index, patch.inside.shape, strict=True)
            )
            drawn[window][patch.inside] = patch.positive
        return drawn


def hand_mask(
    prompts: Sequence[Prompt], affine: NDArray[np.float64], shape: Sequence[int], below: Any = None
) -> HandMask | None:
    """The mask that the last edits of a structure leave; None where the last prompt is no edit and no initial mask.

    Parameters
    ----------
    prompts : sequence of Prompt
        Those that hold, in their order.
    affine : (4, 4) float
        Index → LPS mm of the study.
    shape : (3,) int
        Voxels of the study along each array axis.
    below : callable, optional
        Gives the (K, J, I) bool mask on which the edits were made, or None; asked where prompts that need a model
        precede them.
    """
    first = len(prompts)
    while first and isinstance(prompts[first - 1], Edit):
        first -= 1
    begins = bool(first) and isinstance(prompts[first - 1], InitialMask)
    drawn = [one for one in prompts[first - begins :] if isinstance(one, InitialMask | Edit)]
    if not drawn:
        return None
    k, j, i = shape
    matrix = np.ascontiguousarray(affine, dtype=np.float64)
    patches = []
    for one in drawn:
        first_index, inside = _decoded(one.mask, matrix.tobytes(), (k, j, i))
        patches.append(_Patch(first_index, inside, one.positive if isinstance(one, Edit) else True))
    if not begins:
        return HandMask(
            (k, j, i), tuple(patches), is_exact=False, below=None if below is None or not first else below()
        )
    return HandMask((k, j, i), tuple(patches), is_exact=_stays(patches, acquisition_axis(matrix)))


def _stays(patches: Sequence[_Patch], axis: int) -> bool:
    """Whether no edit sets a voxel on a slice without a section of the initial mask: from such a slice the model goes
    on."""
    initial, *edits = patches
    within = initial.first_index[axis] + np.flatnonzero(_filled(initial, axis))
    return all(
        np.isin(edit.first_index[axis] + np.flatnonzero(_filled(edit, axis)), within).all()
        for edit in edits
        if edit.positive
    )


def _filled(patch: _Patch, axis: int) -> NDArray[np.bool_]:
    return np.asarray(patch.inside.any(axis=tuple(other for other in range(3) if other != axis)))


@lru_cache(maxsize=_KEPT)
def _decoded(
    mask: VoxelMask, affine: bytes, shape: tuple[int, int, int]
) -> tuple[tuple[int, int, int], NDArray[np.bool_]]:
    first_index, inside = mask.on_grid(np.frombuffer(affine).reshape(4, 4), shape)
    inside.setflags(write=False)
    return first_index, inside
