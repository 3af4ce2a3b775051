"""Intensities for a stack of labels on a fine grid, as a scanner might have measured them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.training.tissues import Tissue, random_intensities

__all__ = ["block_mean", "painted", "smooth_field", "smoothly_finer", "upsampling"]

_SPLITS = 4
"""Regions into which a label is divided that holds several tissues."""


def upsampling(count: int, fine: int) -> NDArray[np.float32]:
    """Weights of linear interpolation from `count` to `fine` samples over the same extent, (fine, count)."""
    at = (np.arange(fine) + 0.5) * count / fine - 0.5
    weights = 1.0 - np.abs(at[:, None] - np.arange(count)[None])
    weights = np.maximum(weights, 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def block_mean(values: NDArray[np.generic], side: int) -> NDArray[np.float32]:
    """Means over squares of `side` pixels: (..., H, W) → (..., H / side, W / side)."""
    if side == 1:
        return values.astype(np.float32)
    total = np.zeros((*values.shape[:-2], values.shape[-2] // side, values.shape[-1] // side), dtype=np.float32)
    for row in range(side):
        for column in range(side):
            total += values[..., row::side, column::side]
    return np.asarray(total / np.float32(side * side), dtype=np.float32)


def smoothly_finer(labels: NDArray[np.uint16], fine: int) -> NDArray[np.uint16]:
    """Upsample (S, n, n) labels to (S, fine, fine): each pixel takes the label with the largest interpolated share."""
    count = labels.shape[-1]
    if count >= fine:
        return labels
    weights = upsampling(count, fine)
    present = np.flatnonzero(np.bincount(labels.ravel()))
    best = np.zeros((len(labels), fine, fine), dtype=np.float32)
    result = np.zeros(best.shape, dtype=np.uint16)
    for number in present:
        share = weights @ (labels == number).astype(np.float32) @ weights.T
        more = share > best
        best[more] = share[more]
        result[more] = number
    return result


def smooth_field(rng: np.random.Generator, slices: int, fine: int, cells: int) -> NDArray[np.float32]:
    """Smooth noise that changes slowly over slices.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all random choices.
    slices, fine : int
        Shape of the result.
    cells : int
        Cells of the coarse grid along each axis, at whose nodes the noise has unit variance.

    Returns
    -------
    (slices, fine, fine) float32
    """
    nodes = rng.standard_normal((2, cells + 1, cells + 1)).astype(np.float32)
    along = np.linspace(0, rng.uniform(0.3, 1.0), slices, dtype=np.float32) * (np.pi / 2)
    coarse = np.cos(along)[:, None, None] * nodes[0] + np.sin(along)[:, None, None] * nodes[1]
    weights = upsampling(cells + 1, fine)
    return np.asarray(weights @ coarse @ weights.T)


def painted(
    labels: NDArray[np.uint16],
    tissues: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    pixel_mm: float,
    alike: Sequence[Sequence[int]] = (),
) -> NDArray[np.float32]:
    """Random intensities for a stack of labels.

    Parameters
    ----------
    labels : (S, F, F) uint16
        Labels on a fine grid.
    tissues : (L,) uint8
        Tissue of every label that can occur.
    rng : numpy.random.Generator
        Source of all random choices.
    pixel_mm : float
        Size of a pixel of the fine grid.
    alike : sequence of sequences of int
        Groups of labels that get the same intensity.

    Returns
    -------
    (S, F, F) float32
        In any unit.
    """
    slices, fine = labels.shape[0], labels.shape[-1]
    count = len(tissues)
    # Label maps have solid bones; marrow is added under a cortex of 1 to 3 mm.
    marrow = count
    kinds = [*tissues.tolist(), int(Tissue.MARROW), int(Tissue.FAT)]
    splits = np.arange(count + 2, count + 2 + _SPLITS)
    kinds += rng.choice(
        (Tissue.FAT, Tissue.MUSCLE, Tissue.SOFT, Tissue.UNKNOWN, Tissue.AIR), _SPLITS, p=(0.3, 0.3, 0.2, 0.15, 0.05)
    ).tolist()
    every = np.array(kinds, dtype=np.uint8)
    shown = labels.astype(np.int32)
    kind_of = every[shown]
    if rng.random() < 0.75:
        bone = kind_of == Tissue.BONE
        if bone.any():
            width = 2 * int(np.clip(round(rng.uniform(1.0, 3.0) / pixel_mm), 1, 12)) + 1
            shown[ndimage.minimum_filter(bone.astype(np.uint8), size=(1, width, width)) > 0] = marrow
    if rng.random() < 0.4:
        muscle = (kind_of == Tissue.MUSCLE).astype(np.uint8)
        if muscle.any():  # a film of fat between neighbouring muscles
            border = np.zeros(shown.shape, dtype=bool)
            border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
            border[:, :, 1:] |= labels[:, :, 1:] != labels[:, :, :-1]
            shown[border & (muscle > 0)] = count + 1
    if rng.random() < 0.7:
        unsplit = kind_of == Tissue.UNSPLIT
        if unsplit.any():
            level = smooth_field(rng, slices, fine, int(rng.integers(2, 10)))
            edges = np.sort(rng.normal(0, 0.5, _SPLITS - 1))
            shown = np.where(unsplit, splits[np.searchsorted(edges, level)], shown)
    means = random_intensities(every, rng)
    for group in alike:
        means[list(group)] = means[group[0]]
    image = means[shown]
    present = means[np.unique(shown[:, ::7, ::7])]
    spread = float(np.percentile(present, 90) - np.percentile(present, 10)) if len(present) > 1 else 1.0
    spread = max(spread, 1e-3)
    for _ in range(int(rng.integers(1, 4))):
        cells = int(np.exp(rng.uniform(np.log(3), np.log(fine / 3))))
        amplitude = np.abs(rng.normal(0, rng.choice([0.01, 0.04, 0.08]), len(every))).astype(np.float32) * spread
        image += amplitude[shown] * smooth_field(rng, slices, fine, cells)
    return image
