"""What people ask for: boxes, clicks, corrections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["correction", "grown_box", "inner_click", "outer_click"]


def grown_box(
    low: NDArray[np.float64], high: NDArray[np.float64], rng: np.random.Generator, *, slice_mm: float
) -> NDArray[np.float64]:
    """(2, 2) box around `low` … `high`: loose by 0–5/256 of the slice a side, tight, or a little off, in mm."""
    extent = float((high - low).max())
    style = rng.random()
    if style < 0.5:
        # By one amount on all sides, as the challenge's annotator does, or by one amount each.
        share = np.full(4, rng.integers(0, 6) / 256) if rng.random() < 0.6 else rng.uniform(0, 5 / 256, 4)
        # Crops of cases are smaller than the slices they came from, so the imagined slice may be larger.
        pads = np.minimum(share * max(slice_mm, rng.uniform(100, 450)), 0.8 * extent + 2)
    elif style < 0.8:
        pads = rng.normal(0, 0.01, 4) * extent
    else:
        pads = rng.uniform(-0.04, 0.15, 4) * extent
    return np.stack([low - pads[:2], high + pads[2:]])


def inner_click(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """(2,) pixel inside `mask`, off-centre more often than not, seldom on the very edge."""
    rows, columns = np.nonzero(mask)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    depth = ndimage.distance_transform_edt(np.pad(mask[window], 1))[1:-1, 1:-1]
    weights = (depth ** rng.uniform(0.5, 5.0)).ravel()
    chosen = int(rng.choice(weights.size, p=weights / weights.sum()))
    row, column = np.unravel_index(chosen, depth.shape)
    return np.array([row + window[0].start, column + window[1].start], dtype=np.float64)


def outer_click(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64] | None:
    """(2,) pixel outside `mask`, mostly near it; None when the mask fills the field."""
    distance = ndimage.distance_transform_edt(~mask)
    allowed = distance > 1.5
    if not allowed.any():
        return None
    weights = np.where(allowed, np.exp(-distance / rng.uniform(4, 20)), 0).ravel()
    chosen = int(rng.choice(weights.size, p=weights / weights.sum()))
    return np.array(np.unravel_index(chosen, mask.shape), dtype=np.float64)


def correction(
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[NDArray[np.float64], bool] | None:
    """Click in the largest connected error, near its middle: where, and whether it is inside the truth.

    None when the two agree. The middle is where the distance to the error's border is greatest; half of the clicks are
    drawn beside it, as people's are.
    """
    best: tuple[int, NDArray[np.int32], int, bool] | None = None
    for positive, wrong in ((True, truth & ~predicted), (False, predicted & ~truth)):
        parts, count = ndimage.label(wrong)
        if count == 0:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        largest = int(sizes.argmax())
        if best is None or sizes[largest] > best[0]:
            best = (int(sizes[largest]), parts, largest, positive)
    if best is None:
        return None
    error = best[1] == best[2]
    if rng.random() < 0.5:
        return inner_click(error, rng), best[3]
    rows, columns = np.nonzero(error)
    window = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
    depth = ndimage.distance_transform_edt(np.pad(error[window], 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return np.array([row + window[0].start, column + window[1].start], dtype=np.float64), best[3]
