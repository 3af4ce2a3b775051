"""The box around a mask, and its largest connected part: one way each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest_component", "mask_box"]


def mask_box(inside: NDArray[np.bool_], *, grown: int = 0) -> tuple[slice, ...]:
    """The smallest box that holds a mask.

    Parameters
    ----------
    inside : bool ndarray
        Of any number of axes.
    grown : int
        Voxels by which the box grows on every side, as far as the array goes.

    Returns
    -------
    tuple of slice
        One for each axis; empty ones where no voxel belongs to the mask.
    """
    from scipy import ndimage

    box = ndimage.find_objects(np.asarray(inside, dtype=bool).view(np.uint8), 1)[0]
    if box is None:
        return (slice(0, 0),) * inside.ndim
    return tuple(
        slice(max(part.start - grown, 0), min(part.stop + grown, size))
        for part, size in zip(box, inside.shape, strict=True)
    )


def largest_component(inside: NDArray[np.bool_], *, touching: bool = True) -> NDArray[np.bool_]:
    """The connected part of a mask with the most voxels; of several, the first in array order.

    Parameters
    ----------
    inside : bool ndarray
    touching : bool
        Whether voxels that share an edge or a corner are connected, or only those that share a face.

    Returns
    -------
    bool ndarray
        Of the same shape; empty where the mask is.
    """
    from scipy import ndimage

    structure = np.ones((3,) * inside.ndim, dtype=bool) if touching else None
    parts, count = ndimage.label(inside, structure)
    if count < 2:
        return np.asarray(inside, dtype=bool)
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
