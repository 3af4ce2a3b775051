"""Motion of a structure from one slice to the next, estimated as a shift by block matching.

A rib or a vessel that crosses the slices obliquely moves by its own width from one slice to the next. The propagated
mask is shifted with it, so that the model does not have to search for the structure. Block matching is the method of
video coding (Jain and Jain 1981, doi 10.1109/TCOM.1981.1094950).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from prompts.masks import mask_box

__all__ = ["moved", "slice_motion_px"]

STEEPEST_SLOPE = 2.0
"""Largest shift, as a multiple of the distance between slices: 63 degrees from their normal."""
WORTH_MOVING = 0.9
"""A shift is used only if its squared difference is below this share of that without a shift."""
WORTH_OF_RADIUS = 0.1
"""A shift is used only if it is longer than this share of the structure's radius; the model follows smaller ones."""
_RING_PX = 2
"""Width of the ring around the structure that is matched too: a structure of constant intensity matches anywhere
without its border."""
_BLOCK_SAMPLES = 48
_SHIFTS_PER_SIDE = 10
_PREFERENCE_PER_MM = 0.02
"""Relative penalty per mm, so that the shorter of two equally good shifts is used."""


def slice_motion_px(
    mask: NDArray[np.bool_],
    image: NDArray[np.float32],
    onto: NDArray[np.float32],
    pixel_mm: tuple[float, float],
    step_mm: float,
) -> tuple[int, int]:
    """Shift of a structure from one slice to another, in whole (row, column) pixels.

    Parameters
    ----------
    mask : (H, W) bool
        The structure on the first slice; not empty.
    image, onto : (H, W) float32
        Intensities of the first and of the other slice, on one scale.
    pixel_mm : (float, float)
        Size of a pixel along rows and columns.
    step_mm : float
        Distance between the slices.

    Returns
    -------
    (int, int)
        The shift with the least mean squared difference over the structure and the ring around it, at most
        :data:`STEEPEST_SLOPE` × `step_mm` long; (0, 0) where no shift is used.
    """
    from scipy.ndimage import binary_dilation

    reach_mm = STEEPEST_SLOPE * step_mm
    reach = [math.floor(reach_mm / mm) for mm in pixel_mm]
    window = mask_box(mask, grown=_RING_PX)
    thin = max(int(max(part.stop - part.start for part in window) / _BLOCK_SAMPLES), 1)
    jump = [max(math.ceil(n / _SHIFTS_PER_SIDE), 1) for n in reach]
    weight = binary_dilation(mask[window], iterations=_RING_PX)[::thin, ::thin].astype(np.float32).ravel()
    block = image[window][::thin, ::thin].astype(np.float32).ravel()
    counts = [n // j for n, j in zip(reach, jump, strict=True)]
    around = np.pad(
        onto[
            max(window[0].start - reach[0], 0) : window[0].stop + reach[0],
            max(window[1].start - reach[1], 0) : window[1].stop + reach[1],
        ].astype(np.float32),
        [
            (max(n - part.start, 0), max(part.stop + n - size, 0))
            for n, part, size in zip(reach, window, mask.shape, strict=True)
        ],
        mode="edge",
    )
    corner = [n - count * j for n, count, j in zip(reach, counts, jump, strict=True)]
    around = np.ascontiguousarray(around[corner[0] :, corner[1] :])
    height, width = (len(range(part.start, part.stop, thin)) for part in window)
    shape = (2 * counts[0] + 1, 2 * counts[1] + 1, height, width)
    down, right = around.strides
    blocks = as_strided(
        around, shape, (down * jump[0], right * jump[1], down * thin, right * thin), writeable=False
    ).reshape(shape[0] * shape[1], -1)
    difference = ((blocks - block) ** 2 @ weight) / weight.sum()
    shifts = np.stack(
        np.meshgrid(*(np.arange(-count, count + 1) * j for count, j in zip(counts, jump, strict=True)), indexing="ij"),
        axis=-1,
    ).reshape(-1, 2)
    length_mm = np.linalg.norm(shifts * np.asarray(pixel_mm), axis=1)
    still = float(difference[length_mm == 0][0])
    cost = np.where(length_mm <= reach_mm, difference * (1 + _PREFERENCE_PER_MM * length_mm), np.inf)
    best = int(cost.argmin())
    radius_mm = math.sqrt(np.count_nonzero(mask) * pixel_mm[0] * pixel_mm[1] / math.pi)
    if difference[best] >= WORTH_MOVING * still or length_mm[best] < WORTH_OF_RADIUS * radius_mm:
        return 0, 0
    return int(shifts[best, 0]), int(shifts[best, 1])


def moved(
    values: NDArray[np.float32], motion_px: tuple[int, int], *, beyond: float | None = None
) -> NDArray[np.float32]:
    """(H, W) `values` moved by whole pixels; what comes in repeats the edge, or is `beyond` where that is given."""
    if motion_px == (0, 0):
        return values
    at_rows, at_columns = (np.arange(size) - shift for size, shift in zip(values.shape, motion_px, strict=True))
    height, width = values.shape
    result = values[np.clip(at_rows, 0, height - 1)][:, np.clip(at_columns, 0, width - 1)]
    if beyond is not None:
        result[(at_rows < 0) | (at_rows >= height)] = beyond
        result[:, (at_columns < 0) | (at_columns >= width)] = beyond
    return result
