"""Resampling between a slice and the square crop that a model predicts on.

Model pixel m covers slice position ``centre + ((m + 0.5) / size - 0.5) * side`` along each axis, so that the crop's
edges are the outer edges of its first and last model pixel. Resampling is separable and linear, averaged over the pixel
of the coarser grid: no shift and no aliasing in either direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.engine.protocol import Crop, RememberedSlice, SlicePrompt
from medsam_planner.errors import GeometryError

__all__ = ["best_crop", "crop_to_slice", "crop_window", "extract", "paste", "prompt_to_crop", "slice_to_crop"]


def slice_to_crop(positions_rc: ArrayLike, crop: Crop) -> NDArray[np.float64]:
    """(..., 2) positions in pixels of the slice → the same positions in model pixels."""
    relative = (np.asarray(positions_rc, dtype=np.float64) - crop.centre_rc) / crop.side_rc
    return (relative + 0.5) * crop.size - 0.5


def crop_to_slice(positions_rc: ArrayLike, crop: Crop) -> NDArray[np.float64]:
    """(..., 2) positions in model pixels → the same positions in pixels of the slice."""
    relative = (np.asarray(positions_rc, dtype=np.float64) + 0.5) / crop.size - 0.5
    return relative * crop.side_rc + crop.centre_rc


def _hat_integral(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Integral from −∞ to `x` of the triangle max(1 − |x|, 0)."""
    x = np.clip(x, -1.0, 1.0)
    return np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


def _taps(positions: NDArray[np.float64], count: int, step: float) -> tuple[slice, NDArray[np.float32]]:
    """Weights of `count` source pixels at `positions` that lie `step` source pixels apart, edges repeated outwards.

    Linear interpolation, averaged over the step where the grid gets coarser: exact for ramps at any step. Between steps
    of one and two pixels the average widens from nothing to the step, so that equal grids copy.

    Returns the range of source pixels that matter and (len(positions), range) weights whose rows sum to one.
    """
    width = min(max(2 * (step - 1), 0.0), step)
    low = int(np.floor(positions.min() - 1 - width / 2))
    high = int(np.ceil(positions.max() + 1 + width / 2)) + 1
    source = np.arange(low, high)
    distances = source[None] - positions[:, None]
    if width < 1e-6:
        weights = np.maximum(1.0 - np.abs(distances), 0.0)
    else:
        weights = (_hat_integral(distances + width / 2) - _hat_integral(distances - width / 2)) / width
    first, last = (int(edge) for edge in np.clip((low, high - 1), 0, count - 1))
    kept = weights[:, np.clip(first - low, 0, len(source) - 1) : np.clip(last - low, 0, len(source) - 1) + 1].copy()
    if low < first:
        kept[:, 0] += weights[:, : min(first - low, len(source) - 1)].sum(axis=1)
    if high - 1 > last:
        kept[:, -1] += weights[:, max(last - low + 1, 1) :].sum(axis=1)
    return slice(first, last + 1), kept.astype(np.float32)


def _check_crop(crop: Crop) -> None:
    if crop.size < 1 or not min(crop.side_rc) > 0 or not np.all(np.isfinite((*crop.centre_rc, *crop.side_rc))):
        raise GeometryError(f"Expected a finite crop with positive sides and size, got {crop}.")


def extract(image: NDArray[np.generic], crop: Crop) -> NDArray[np.float32]:
    """Resample a crop from a slice.

    Parameters
    ----------
    image : (H, W)
        Slice of any real dtype; pixels beyond its border repeat the edge.
    crop : Crop
        In pixels of this slice.

    Returns
    -------
    (size, size) float32

    Raises
    ------
    GeometryError
        If `image` is not 2D or the crop has no extent.
    """
    _check_crop(crop)
    if image.ndim != 2 or 0 in image.shape:
        raise GeometryError(f"Expected a slice of shape (H, W), got shape {image.shape}.")
    model = np.arange(crop.size, dtype=np.float64)
    sides = np.asarray(crop.side_rc)
    positions = crop_to_slice(np.stack([model, model], axis=1), crop)
    steps = sides / crop.size
    rows, row_weights = _taps(positions[:, 0], image.shape[0], steps[0])
    columns, column_weights = _taps(positions[:, 1], image.shape[1], steps[1])
    part = image[rows, columns].astype(np.float32)
    return np.ascontiguousarray(row_weights @ part @ column_weights.T, dtype=np.float32)


def paste(
    crop_map: NDArray[np.float32], crop: Crop, shape: tuple[int, int], fill: float = -20.0
) -> NDArray[np.float32]:
    """Resample a map from a crop back to its slice.

    Parameters
    ----------
    crop_map : (..., size, size) float32
        Logits, or any smooth map, on the model's pixels.
    crop : Crop
        In pixels of the slice.
    shape : (H, W)
        Shape of the slice.
    fill : float
        Value of slice pixels whose centre lies outside the crop.

    Returns
    -------
    (..., H, W) float32

    Raises
    ------
    GeometryError
        If the map's size is not the crop's.
    """
    _check_crop(crop)
    if crop_map.shape[-2:] != (crop.size, crop.size):
        raise GeometryError(f"Expected a map of {crop.size} x {crop.size} model pixels, got shape {crop_map.shape}.")
    result = np.full((*crop_map.shape[:-2], *shape), fill, dtype=np.float32)
    rows, columns = crop_window(crop, shape)
    inside = [np.arange(part.start, part.stop, dtype=np.float64) for part in (rows, columns)]
    if not all(len(pixels) for pixels in inside):
        return result
    weights = []
    for axis, pixels in enumerate(inside):
        positions = ((pixels - crop.centre_rc[axis]) / crop.side_rc[axis] + 0.5) * crop.size - 0.5
        taken, part = _taps(positions, crop.size, crop.size / crop.side_rc[axis])
        full = np.zeros((len(pixels), crop.size), dtype=np.float32)
        full[:, taken] = part
        weights.append(full)
    resampled = weights[0] @ crop_map.astype(np.float32) @ weights[1].T
    result[..., rows, columns] = resampled
    return result


def crop_window(crop: Crop, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a slice of (H, W) pixels whose centres lie in the crop."""
    window = []
    for centre, side, count in zip(crop.centre_rc, crop.side_rc, shape, strict=True):
        first = max(int(np.ceil(centre - side / 2)), 0)
        window.append(slice(first, max(min(int(np.floor(centre + side / 2)) + 1, count), first)))
    rows, columns = window
    return rows, columns


def best_crop(qualities: Sequence[float], masks: Sequence[NDArray[np.bool_]]) -> int:
    """Choose among the predictions on crops of increasing size.

    The predicted IoU alone prefers crops whose mask merely looks compact. A real structure is also found on the next
    narrower and the next wider crop, so the mean IoU with their masks is added to the predicted IoU.

    Parameters
    ----------
    qualities : sequence of float
        Predicted IoU on every crop, narrow to wide.
    masks : sequence of (H, W) bool
        The predicted masks on the slice.

    Returns
    -------
    int
        Index of the chosen crop.

    Raises
    ------
    GeometryError
        If there is no crop, or not one mask for each.
    """
    if len(qualities) == 0 or len(qualities) != len(masks):
        raise GeometryError(f"Expected one mask for each of 1 or more crops, got {len(masks)} for {len(qualities)}.")
    overlaps = [float((a & b).sum()) / max(int((a | b).sum()), 1) for a, b in pairwise(masks)]
    scores = []
    for index, quality in enumerate(qualities):
        beside = overlaps[max(index - 1, 0) : index + 1]
        scores.append(quality + (sum(beside) / len(beside) if beside else 0.0))
    return int(np.argmax(scores))


def prompt_to_crop(prompt: SlicePrompt, crop: Crop) -> SlicePrompt:
    """The same prompt in model pixels: mask and reference slice are resampled to (size, size), the rest is mapped."""
    box = None if prompt.box is None else slice_to_crop(np.reshape(prompt.box, (2, 2)), crop).reshape(4)
    points = None if prompt.points is None else slice_to_crop(np.reshape(prompt.points, (-1, 2)), crop)
    mask = None if prompt.mask is None else extract(prompt.mask, crop)
    reference_slice = None if prompt.reference_slice is None else extract(prompt.reference_slice, crop)
    return replace(
        prompt,
        box=box,
        points=points,
        mask=mask,
        reference_slice=reference_slice,
        memory=tuple(_memory_to_crop(one, crop) for one in prompt.memory),
    )


def _memory_to_crop(one: RememberedSlice, crop: Crop) -> RememberedSlice:
    row, column = slice_to_crop(one.centre_rc, crop).tolist()
    scale = crop.size / crop.side_rc[0]
    return replace(one, centre_rc=(row, column), side=one.side * scale, away=one.away * scale)
