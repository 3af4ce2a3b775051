"""A simulated annotator: the first box and the correcting clicks of the CVPR 2025 interactive challenge.

It knows the truth, so it serves evaluation and training, never a patient. The rules follow the challenge's published
evaluation script; results are comparable with its protocol, and are the challenge's only on the challenge's own files.

References
----------
.. [1] CVPR 2025: Foundation Models for Interactive 3D Biomedical Image Segmentation,
   https://github.com/JunMa11/CVPR-MedSegFMCompetition (``get_boxes.py``, ``CVPR25_iter_eval.py``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.affine import lps_from_index, require_affine
from prompts.errors import GeometryError, PromptError
from prompts.geometry import slice_across
from prompts.masks import largest_component, mask_box
from prompts.shapes import Box, Click

__all__ = ["first_box", "next_click"]

_LARGEST_STEP = 5
"""The challenge grows a box by a whole number of steps from 0 to 5 [1]_ ..."""
_STEPS_PER_SIDE = 256
"""... where a step is 1/256 of the image's side, rounded down to pixels [1]_."""


def first_box(truth: NDArray[np.bool_], affine: ArrayLike, axis: int, *, seed: int) -> Box:
    """The box an annotator would draw first: around the structure on its middle slice, not quite tight.

    Parameters
    ----------
    truth : (K, J, I) bool
        The structure.
    affine : (4, 4) float
        Index → LPS mm.
    axis : int
        Array axis across which the slice lies.
    seed : int
        Draws how far the box is grown.

    Returns
    -------
    Box
        2D, on slice ``unique(slices)[len // 2]`` of the slices that hold the structure, kept inside the image. A
        structure one voxel wide there gets one voxel more, as a box must have an extent.

    Raises
    ------
    PromptError
        If `truth` is empty, or its slices are only one voxel wide.
    GeometryError
        If `truth` is not a 3D bool array with such an axis, or `affine` is none.
    """
    matrix = require_affine(affine)
    _require_mask(truth, "truth")
    if axis not in (0, 1, 2):
        raise GeometryError(f"Expected an array axis 0, 1 or 2, got {axis!r}.")
    others = [other for other in range(3) if other != axis]
    slices = np.flatnonzero(truth.any(axis=tuple(others)))
    if len(slices) == 0:
        raise PromptError("Expected a structure to draw a box around, got an empty mask.")
    middle = slices[len(slices) // 2]
    step = int(np.random.default_rng(seed).integers(0, _LARGEST_STEP + 1))
    low, high = np.full(3, middle), np.full(3, middle)
    plane = slice_across(truth, axis, int(middle))
    for position, other in enumerate(others):
        occupied = np.flatnonzero(plane.any(axis=1 - position))
        size = truth.shape[other]
        growth = step * size // _STEPS_PER_SIDE
        low[other], high[other] = max(0, occupied[0] - growth), min(size - 1, occupied[-1] + growth)
        if low[other] == high[other]:
            if size == 1:
                raise PromptError(f"Expected slices of at least two voxels a side, got one along array axis {other}.")
            low[other], high[other] = min(low[other], size - 2), min(low[other], size - 2) + 1
    corners = lps_from_index(matrix, [low, high])
    return Box(corners[0], corners[1])


def next_click(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], affine: ArrayLike, *, seed: int = 42
) -> Click | None:
    """The click that corrects the largest error at its innermost voxel.

    The voxels where `predicted` differs from `truth` are grouped with 26 neighbours; of the largest group, the voxel
    farthest from what is not in it is clicked. The distance is Euclidean, in voxels, and what is beyond the volume is
    not in the group. Among several such voxels one is drawn.

    Parameters
    ----------
    truth, predicted : (K, J, I) bool
        On one grid.
    affine : (4, 4) float
        Index → LPS mm.
    seed : int
        Draws among equally deep voxels. The challenge seeds every draw with 42, and the same seed makes the same draw
        here.

    Returns
    -------
    Click or None
        On a voxel's centre; positive where the truth is; None when there is no error.

    Raises
    ------
    GeometryError
        If the masks are not 3D bool arrays of one shape, or `affine` is none.
    """
    from scipy import ndimage

    matrix = require_affine(affine)
    _require_mask(truth, "truth")
    _require_mask(predicted, "predicted")
    if truth.shape != predicted.shape:
        raise GeometryError(f"Expected two masks of one grid, got the shapes {truth.shape} and {predicted.shape}.")
    error = truth != predicted
    if not error.any():
        return None
    field = mask_box(error)  # errors are small beside the volume: look only around them
    depth = ndimage.distance_transform_edt(np.pad(largest_component(error[field]), 1))[1:-1, 1:-1, 1:-1]
    deepest = np.argwhere(depth == depth.max())
    # The legacy generator, because it is the challenge's: the same seed must click the same voxel.
    drawn = deepest[np.random.RandomState(seed).choice(len(deepest))]
    index = drawn + [side.start for side in field]
    return Click(lps_from_index(matrix, index), positive=bool(truth[tuple(index)]))


def _require_mask(mask: NDArray[np.bool_], what: str) -> None:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 3:
        came = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
        raise GeometryError(f"Expected {what} as a 3D bool array, got {came}.")
