"""Inputs of the compact network: intensities without scale or offset, and the prompt as maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import SlicePrompt
from medsam_planner.errors import GeometryError

__all__ = [
    "CLOSENESS_CHANNEL",
    "click_spot",
    "closeness",
    "normalise",
    "percentile_stretched",
    "prompt_maps",
    "token_grid",
]

CLOSENESS_CHANNEL = 9
"""Prompt map of a network with a memory that holds how close the nearest remembered slice is."""


def normalise(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three views of the intensities that do not depend on scale or offset.

    Parameters
    ----------
    images : (B, N, N) float32
        Crops in any unit.

    Returns
    -------
    (B, 3, N, N) float32
        Stretched between the crop's 1st and 99th percentiles; stretched between the 5th and 95th percentiles of the
        crop's central quarter; ranks (unchanged by any increasing map of the intensities). A flat crop gives zeros.
    """
    batch, side = images.shape[0], images.shape[-1]
    quarter = side // 4
    result = np.zeros((batch, 3, side, side), dtype=np.float32)
    for index, image in enumerate(np.asarray(images, dtype=np.float32)):
        ordered = np.sort(image, axis=None)
        if ordered[-1] - ordered[0] < 1e-6:
            continue
        result[index, 0], span = _stretched(image, ordered)
        central = np.sort(image[quarter : side - quarter, quarter : side - quarter], axis=None)
        dark, bright = central[int(0.05 * (central.size - 1))], central[int(0.95 * (central.size - 1))]
        contrast = max(float(bright - dark), 0.02 * span)
        result[index, 1] = np.tanh((image - 0.5 * (dark + bright)) * (1.5 / contrast))
        left = np.searchsorted(ordered, image, side="left")
        right = np.searchsorted(ordered, image, side="right")
        result[index, 2] = (left + right) * (1.0 / ordered.size) - 1
    return result


def percentile_stretched(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, N) intensities between the crop's 1st and 99th percentiles mapped to [-1, 1] and clipped at ±1.5; 0 for a
    flat crop."""
    ordered = np.sort(image, axis=None)
    if ordered[-1] - ordered[0] < 1e-6:
        return np.zeros_like(image, dtype=np.float32)
    return _stretched(image, ordered)[0]


def _stretched(image: NDArray[np.float32], ordered: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    low, high = ordered[int(0.01 * (ordered.size - 1))], ordered[int(0.99 * (ordered.size - 1))]
    span = max(float(high - low), 1e-6)
    return np.clip((image - low) * (2 / span) - 1, -1.5, 1.5).astype(np.float32), span


def closeness(away: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 for a remembered slice at distance 0, falling with the distance, which is given in sides of the crop."""
    return 1 / (1 + 4 * away)


def token_grid(tokens: int) -> NDArray[np.float64]:
    """(T, 2) middles of a remembered slice's tokens along rows and columns, in sides of its own crop."""
    side = round(tokens**0.5)
    axis = (np.arange(side) + 0.5) / side
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)


def click_spot(position: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """(size, size) mark of a click at (row, column): a sharp spot of 2 pixels on a halo of 8."""
    axis = np.arange(size, dtype=np.float32)
    squares = ((axis - position[0]) ** 2)[:, None] + ((axis - position[1]) ** 2)[None]
    return (0.7 * np.exp(squares / -8.0) + 0.3 * np.exp(squares / -128.0)).astype(np.float32)


def prompt_maps(
    prompt: SlicePrompt, size: int, previous_logits: NDArray[np.float32] | None = None, *, channels: int = 9
) -> NDArray[np.float32]:
    """The prompt as the decoder's input channels.

    Parameters
    ----------
    prompt : SlicePrompt
        In model pixels; its mask and reference slice, if any, are (size, size).
    size : int
        Side of the model's input in pixels.
    previous_logits : (size, size) float32, optional
        Prediction of an earlier round on the same crop.
    channels : int
        9, or 10 with the closeness of the nearest remembered slice, which is 0 without a memory.

    Returns
    -------
    (channels, size, size) float32
        Soft ellipse of the box, soft inside of the box, positive clicks, negative clicks, mask probability, whether
        there is a mask, previous prediction in [-1, 1], whether there is one, intensity of the reference slice in
        [0.25, 1.75] (0 where there is none).
    """
    maps = np.zeros((channels, size, size), dtype=np.float32)
    axis = np.arange(size, dtype=np.float32)
    if prompt.box is not None:
        centre = (prompt.box[:2] + prompt.box[2:]) / 2
        half = np.maximum((prompt.box[2:] - prompt.box[:2]) / 2, 0.5)
        rows, columns = axis - np.float32(centre[0]), axis - np.float32(centre[1])
        radius = np.sqrt((rows / half[0])[:, None] ** 2 + (columns / half[1])[None] ** 2)
        maps[0] = 1 / (1 + np.exp(np.clip((radius - 1) * 8, -30, 30)))
        inside_rows = 1 / (1 + np.exp(np.clip((np.abs(rows) - half[0] - 0.5) * 2, -30, 30)))
        inside_columns = 1 / (1 + np.exp(np.clip((np.abs(columns) - half[1] - 0.5) * 2, -30, 30)))
        maps[1] = inside_rows[:, None] * inside_columns[None]
    if prompt.points is not None and prompt.labels is not None:
        for (row, column), positive in zip(prompt.points, prompt.labels, strict=True):
            channel = 2 if positive else 3
            maps[channel] = np.maximum(maps[channel], click_spot(np.array([row, column]), size))
    if prompt.mask is not None:
        if prompt.mask.shape != (size, size):
            raise GeometryError(f"Expected a mask of {size} x {size} model pixels, got shape {prompt.mask.shape}.")
        maps[4] = prompt.mask
        maps[5] = 1
    if prompt.reference_slice is not None:
        if prompt.reference_slice.shape != (size, size):
            raise GeometryError(
                f"Expected a reference slice of {size} x {size} model pixels, got {prompt.reference_slice.shape}."
            )
        maps[8] = 1 + 0.5 * percentile_stretched(prompt.reference_slice)
    if previous_logits is not None:
        maps[6] = np.tanh(np.asarray(previous_logits, dtype=np.float32) / 4)
        maps[7] = 1
    return maps
