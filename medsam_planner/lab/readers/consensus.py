"""One mask out of those of several readers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import GeometryError
from prompts.masks import mask_box

__all__ = ["Consensus", "consensus"]

Mask = NDArray[np.bool_]
_MARGIN_VOXELS = 5
"""STAPLE's prior is the share of foreground in its window, so the window is part of the definition."""


class Consensus(StrEnum):
    """Rule by which masks become one."""

    STAPLE = "staple"
    MAJORITY = "majority"


def consensus(masks: Sequence[Mask], rule: Consensus) -> Mask:
    """The mask that readers agree on.

    Parameters
    ----------
    masks : sequence of (K, J, I) bool
        One per reader, on one grid; empty where a reader drew nothing.
    rule : Consensus
        STAPLE: probability of at least one half, in the box of the readers' union grown by five voxels. Majority: more
        than half of the readers, so with two of them both.

    Returns
    -------
    (K, J, I) bool

    Raises
    ------
    GeometryError
        If there is no mask, or their shapes differ.

    References
    ----------
    .. [1] Warfield, Zou, Wells, Simultaneous truth and performance level estimation (STAPLE), IEEE TMI 2004,
       doi:10.1109/TMI.2004.828354; SimpleITK's implementation.
    """
    shapes = {mask.shape for mask in masks}
    if len(shapes) != 1:
        raise GeometryError(f"Expected one or more masks on one grid, got the shapes {sorted(shapes)}.")
    first = np.asarray(masks[0], dtype=bool)
    if all(np.array_equal(first, mask) for mask in masks[1:]):
        return first.copy()
    votes = np.sum([np.asarray(mask, dtype=np.uint8) for mask in masks], axis=0)
    if rule is Consensus.MAJORITY:
        return np.asarray(2 * votes > len(masks))
    import SimpleITK

    window = mask_box(votes > 0, grown=_MARGIN_VOXELS)
    images = [SimpleITK.GetImageFromArray(np.ascontiguousarray(mask[window], dtype=np.uint8)) for mask in masks]
    probability = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(images, 1.0))
    agreed = np.zeros(first.shape, dtype=bool)
    agreed[window] = probability >= 0.5
    return agreed
