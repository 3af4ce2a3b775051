"""A simulated annotator: loose boxes, clicks, and the clicks that correct a prediction.

It knows the reference mask, so it serves evaluation, calibration, training and demonstrations, never a patient.
:func:`first_box` and :func:`next_click` follow the published evaluation script of the CVPR 2025 interactive challenge
[1]_. Results are comparable with the challenge's protocol; only results on the challenge's own files are its results.

References
----------
.. [1] CVPR 2025: Foundation Models for Interactive 3D Biomedical Image Segmentation,
   https://github.com/JunMa11/CVPR-MedSegFMCompetition (``get_boxes.py``, ``CVPR25_iter_eval.py``).
"""

from __future__ import annotations

from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.affine import lps_from_index, require_affine
from prompts.errors import GeometryError, PromptError
from prompts.geometry import slice_across
from prompts.masks import largest_component, mask_box
from prompts.shapes import Box, Click

__all__ = [
    "Looseness",
    "first_box",
    "inner_click",
    "loose_box",
    "middle_slice",
    "next_click",
    "outer_click",
    "padded_box",
    "slice_correction",
]

_LARGEST_STEP = 5
"""The challenge pads a box by a whole number of steps from 0 to 5 [1]_ ..."""
_STEPS_PER_SIDE = 256
"""... where a step is 1/256 of the image's side [1]_."""


class Looseness(Enum):
    """How the padding of a box is drawn."""

    EVEN = "even"
    """The challenge's rule: one whole number of steps from 0 to 5, for all sides."""
    UNEVEN = "uneven"
    """Each side has its own share, between none and five steps."""
    PRECISE = "precise"
    """Each side is off by about 1 % of the structure's extent, inwards or outwards."""
    HASTY = "hasty"
    """Each side is between 4 % of the structure's extent too far in and 15 % too far out."""


def padded_box(reference: NDArray[np.bool_], padding: ArrayLike, *, clipped: bool = True) -> NDArray[np.float64]:
    """The smallest box that holds a mask, with padding on each side.

    Parameters
    ----------
    reference : bool ndarray
        A non-empty mask of n axes.
    padding : float, (n,) or (2, n) float
        Voxels by which the sides move outwards: on all sides, along each axis, or at the low and the high ends.
    clipped : bool
        Whether the box is kept inside the array.

    Returns
    -------
    (2, n) float64
        Index of the first and of the last voxel, inclusive; fractional where the padding is.

    Raises
    ------
    PromptError
        If the mask is empty.
    """
    low, high = _tight_box(reference)
    below, above = np.broadcast_to(np.asarray(padding, dtype=np.float64), (2, reference.ndim))
    box = np.stack([low - below, high + above])
    return np.clip(box, 0, np.array(reference.shape) - 1.0) if clipped else box


def loose_box(
    reference: NDArray[np.bool_],
    looseness: Looseness,
    rng: np.random.Generator,
    *,
    most: float | None = None,
    side: float | None = None,
) -> NDArray[np.float64]:
    """The box an annotator would draw around a structure: not quite tight.

    Parameters
    ----------
    reference : bool ndarray
        A non-empty mask of n axes.
    looseness : Looseness
        Rule by which the padding is drawn.
    rng : numpy.random.Generator
        Source of the draw.
    most : float, optional
        Largest padding, as a share of the structure's extent along each axis. None sets no limit.
    side : float, optional
        Side of the whole image in voxels, where `reference` is a crop of it; the box may then reach beyond the crop.
        None takes the array for the whole image and keeps the box inside it.

    Returns
    -------
    (2, n) float64
        Fractional index of the first and of the last voxel, inclusive.

    Raises
    ------
    PromptError
        If the mask is empty.
    """
    low, high = _tight_box(reference)
    extent = high - low + 1
    sides = np.array(reference.shape, dtype=np.float64) if side is None else np.full(reference.ndim, float(side))
    shape = (2, reference.ndim)
    match looseness:
        case Looseness.EVEN:
            padding = np.broadcast_to(rng.integers(0, _LARGEST_STEP + 1) / _STEPS_PER_SIDE * sides, shape)
        case Looseness.UNEVEN:
            padding = rng.uniform(0, _LARGEST_STEP / _STEPS_PER_SIDE, shape) * sides
        case Looseness.PRECISE:
            padding = rng.normal(0, 0.01, shape) * extent
        case Looseness.HASTY:
            padding = rng.uniform(-0.04, 0.15, shape) * extent
    if most is not None:
        padding = np.minimum(padding, most * extent)
    return padded_box(reference, padding, clipped=side is None)


def middle_slice(reference: NDArray[np.bool_], axis: int) -> int:
    """The middle one of the slices that hold a structure: ``unique(slices)[len // 2]``.

    Parameters
    ----------
    reference : (K, J, I) bool
        The structure.
    axis : int
        Array axis across which the slices lie.

    Raises
    ------
    PromptError
        If the mask is empty.
    """
    slices = np.flatnonzero(reference.any(axis=tuple(other for other in range(3) if other != axis)))
    if len(slices) == 0:
        raise PromptError("Expected a structure to draw a box around, got an empty mask.")
    return int(slices[len(slices) // 2])


def first_box(reference: NDArray[np.bool_], affine: ArrayLike, axis: int, *, seed: int) -> Box:
    """The challenge's first prompt: a loose box around the structure on its middle slice.

    Parameters
    ----------
    reference : (K, J, I) bool
        The structure.
    affine : (4, 4) float
        Index → LPS mm.
    axis : int
        Array axis across which the slice lies.
    seed : int
        Decides how loose the box is.

    Returns
    -------
    Box
        2D, on :func:`middle_slice`, kept inside the image; the padding is rounded down to pixels. A structure one voxel
        wide there gets one voxel more, because a box must have an extent.

    Raises
    ------
    PromptError
        If `reference` is empty, or its slices are only one voxel wide.
    GeometryError
        If `reference` is not a 3D bool array, `axis` is not one of its axes, or `affine` is not an invertible affine.
    """
    matrix = require_affine(affine)
    _require_mask(reference, "the reference")
    if axis not in (0, 1, 2):
        raise GeometryError(f"Expected an array axis 0, 1 or 2, got {axis!r}.")
    index = middle_slice(reference, axis)
    plane = slice_across(reference, axis, index)
    low, high = loose_box(plane, Looseness.EVEN, np.random.default_rng(seed))
    low, high = np.ceil(low).astype(int), np.floor(high).astype(int)
    for number in np.flatnonzero(low == high).tolist():
        size = plane.shape[number]
        if size == 1:
            at = [other for other in range(3) if other != axis][number]
            raise PromptError(f"Expected slices of at least two voxels a side, got one along array axis {at}.")
        low[number] = min(low[number], size - 2)
        high[number] = low[number] + 1
    corners = lps_from_index(matrix, np.insert([low, high], axis, index, axis=1))
    return Box(corners[0], corners[1])


def next_click(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], affine: ArrayLike, *, seed: int = 42
) -> Click | None:
    """The challenge's correction: a click on the innermost voxel of the largest error.

    The voxels where `predicted` differs from `reference` are grouped with 26 neighbours. In the largest group, the
    voxel farthest from all voxels outside the group is clicked. The distance is Euclidean, in voxels, and everything
    beyond the volume counts as outside the group. Among several such voxels one is drawn at random.

    Parameters
    ----------
    reference, predicted : (K, J, I) bool
        On one grid.
    affine : (4, 4) float
        Index → LPS mm.
    seed : int
        Decides among equally deep voxels. The challenge seeds every draw with 42, and the same seed gives the same draw
        here.

    Returns
    -------
    Click or None
        On a voxel's centre; positive where the voxel belongs to the reference; None when there is no error.

    Raises
    ------
    GeometryError
        If the masks are not 3D bool arrays of one shape, or `affine` is not an invertible affine.
    """
    matrix = require_affine(affine)
    _require_mask(reference, "the reference")
    _require_mask(predicted, "the prediction")
    if reference.shape != predicted.shape:
        raise GeometryError(f"Expected two masks of one grid, got the shapes {reference.shape} and {predicted.shape}.")
    error = reference != predicted
    if not error.any():
        return None
    window = mask_box(error)  # errors are small beside the volume: look only around them
    depth = _depth(largest_component(error[window]))
    deepest = np.argwhere(depth == depth.max())
    # The legacy generator, because it is the challenge's: the same seed must click the same voxel.
    chosen = deepest[np.random.RandomState(seed).choice(len(deepest))]
    index = chosen + [part.start for part in window]
    return Click(lps_from_index(matrix, index), positive=bool(reference[tuple(index)]))


def inner_click(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """A click inside a structure on one slice: usually off its centre, seldom on its very edge.

    Parameters
    ----------
    mask : (H, W) bool
        The structure; not empty.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    (2,) float64
        Row and column of a pixel of the mask.
    """
    window = mask_box(mask)
    depth = _depth(mask[window])
    weights = (depth ** rng.uniform(0.5, 5.0)).ravel()
    chosen = int(rng.choice(weights.size, p=weights / weights.sum()))
    return np.array(np.unravel_index(chosen, depth.shape), dtype=np.float64) + [part.start for part in window]


def outer_click(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64] | None:
    """A click outside a structure on one slice, usually near it.

    Parameters
    ----------
    mask : (H, W) bool
        The structure.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    (2,) float64 or None
        Row and column of a pixel at least two pixels outside the mask; None where there is none.
    """
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(~mask)
    allowed = distance > 1.5
    if not allowed.any():
        return None
    weights = np.where(allowed, np.exp(-distance / rng.uniform(4, 20)), 0).ravel()
    chosen = int(rng.choice(weights.size, p=weights / weights.sum()))
    return np.array(np.unravel_index(chosen, mask.shape), dtype=np.float64)


def slice_correction(
    reference: NDArray[np.bool_], predicted: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], bool] | None:
    """A click in the largest error on one slice.

    Missed and surplus pixels are grouped apart, by shared edges. Half of the clicks lie where the distance to the
    group's border is greatest; the other half are drawn by :func:`inner_click`, because people seldom hit the middle.

    Parameters
    ----------
    reference, predicted : (H, W) bool
        On one slice.
    rng : numpy.random.Generator
        Source of the draw.

    Returns
    -------
    (2,) float64, bool
        Row and column, and whether the pixel belongs to the reference; None where the two masks are equal.
    """
    missed = largest_component(reference & ~predicted, touching=False)
    surplus = largest_component(predicted & ~reference, touching=False)
    is_missed = bool(missed.sum() >= surplus.sum())
    error = missed if is_missed else surplus
    if not error.any():
        return None
    if rng.random() < 0.5:
        return inner_click(error, rng), is_missed
    window = mask_box(error)
    depth = _depth(error[window])
    position = np.array(np.unravel_index(int(depth.argmax()), depth.shape), dtype=np.float64)
    return position + [part.start for part in window], is_missed


def _depth(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of each voxel to the nearest one outside, in voxels; what is beyond the array counts as outside."""
    from scipy import ndimage

    padded: NDArray[np.float64] = ndimage.distance_transform_edt(np.pad(inside, 1))
    return padded[(slice(1, -1),) * inside.ndim]


def _tight_box(reference: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    box = mask_box(reference)
    low, high = np.array([part.start for part in box]), np.array([part.stop - 1 for part in box])
    if (high < low).any():
        raise PromptError("Expected a structure to draw a box around, got an empty mask.")
    return low, high


def _require_mask(mask: NDArray[np.bool_], what: str) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 3:
        came = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise GeometryError(f"Expected {what} as a 3D bool array, got {came}.")
