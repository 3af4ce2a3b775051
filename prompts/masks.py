"""Bounding box and largest connected component of a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["largest_component", "mask_box"]


def mask_box(inside: NDArray[np.bool_], *, grown: int = 0) -> tuple[slice, ...]:
    """The smallest box that contains a mask.

    Parameters
    ----------
    inside : bool ndarray
        A mask of any number of axes.
    grown : int
        Voxels by which the box is grown on every side, within the array.

    Returns
    -------
    tuple of slice
        One for each axis; empty slices for an empty mask.
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
    """The connected component of a mask with the most voxels; among equal ones, the first in array order.

    Parameters
    ----------
    inside : bool ndarray
        A mask of any number of axes.
    touching : bool
        Whether voxels that share only an edge or a corner are connected; otherwise they must share a face.

    Returns
    -------
    bool ndarray
        Of the same shape; empty for an empty mask.
    """
    from scipy import ndimage

    structure = np.ones((3,) * inside.ndim, dtype=bool) if touching else None
    parts, count = ndimage.label(inside, structure)
    if count < 2:
        return np.asarray(inside, dtype=bool)
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
