"""What a scanner makes of labels: contrast drawn at random, texture, and the faults of CT and MR.

Random contrast over label maps follows SynthSeg (Billot et al. 2023, doi 10.1016/j.media.2023.102789): a model that has
seen every contrast depends on none. Works on one small 2D field at a time, because that is all the compact model sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.training.anatomy import smooth_noise

__all__ = ["degrade", "paint"]

Array = NDArray[np.float32]


def paint(shares: Array, rng: np.random.Generator, alike: Sequence[Sequence[int]] = ()) -> Array:
    """Draw an image from label shares.

    Parameters
    ----------
    shares : (L, S, N, N) float32
        How much of each pixel every label holds on S slices of one scan; sums to one over labels.
    rng : numpy.random.Generator
        Source of all chance.
    alike : sequence of sequences of int
        Layers of `shares` that are one tissue and get one intensity.

    Returns
    -------
    (S, N, N) float32
        Intensities of arbitrary unit, roughly in [0, 1].
    """
    count, slices, side = shares.shape[0], shares.shape[1], shares.shape[-1]
    style = rng.random()
    means: NDArray[np.float64]
    if style < 0.55:
        means = rng.uniform(0, 1, (count,))
    elif style < 0.85:
        # CT-like: most tissues within a narrow band, air and bone far away.
        means = rng.normal(0.5, rng.uniform(0.03, 0.10), (count,))
        means = np.where(rng.random(count) < 0.15, rng.uniform(0, 0.2), means)
        means = np.where(rng.random(count) < 0.20, rng.uniform(0.7, 1.0), means)
    else:
        means = rng.choice(np.linspace(0, 1, int(rng.integers(3, 7))), count) + rng.normal(0, 0.03, count)
    if rng.random() < 0.5 and count > 1:
        # Neighbours of nearly equal contrast, the common hard case.
        first, second = rng.choice(count, 2, replace=False)
        means[first] = means[second] + rng.choice([-1, 1]) * rng.uniform(0.06, 0.2)
    for tissue in alike:
        means[list(tissue)] = means[tissue[0]]
    image: Array = np.tensordot(means, shares, axes=1).astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        wavelength = float(np.exp(rng.uniform(np.log(2.5), np.log(side * 0.6))))
        amplitudes = np.abs(rng.normal(0, rng.choice([0.01, 0.03, 0.05]), count)).astype(np.float32)
        texture = np.stack([smooth_noise(rng, (side, side), wavelength) for _ in range(slices)])
        image += np.tensordot(amplitudes, shares, axes=1) * texture
    return image


def _streaks(rng: np.random.Generator, side: int) -> Array:
    """Bright and dark lines through one point, as metal leaves them in CT."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    row, column = rng.uniform(-0.3, 1.3, 2) * side
    angle = np.arctan2(rows - row, columns - column)
    result = np.zeros((side, side), dtype=np.float32)
    for _ in range(int(rng.integers(3, 12))):
        result += rng.normal() * np.cos(rng.integers(5, 40) * angle + rng.uniform(0, 6.3)).astype(np.float32) / 3
    return result


def degrade(image: Array, rng: np.random.Generator, *, strength: float, native_px: float) -> Array:
    """Blur, bias, noise and intensity maps; `image` itself stays unchanged.

    Parameters
    ----------
    image : (S, N, N) float32
        Field on model pixels, on S slices of one scan: they share everything but the noise.
    rng : numpy.random.Generator
        Source of all chance.
    strength : float
        1 for drawn images, less for real ones, which bring faults of their own.
    native_px : float
        Model pixels that one pixel of the imagined scanner spans: the scale of its blur and noise.
    """
    side = image.shape[-1]
    spread = float(np.percentile(image, 98) - np.percentile(image, 2)) + 1e-6
    low = float(np.percentile(image, 2))
    result = (image - low) / spread
    if rng.random() < 0.7 * strength:
        sigma = native_px * rng.uniform(0.2, 0.8)
        sigmas = (sigma, sigma * rng.uniform(1, 3)) if rng.random() < 0.3 else (sigma, sigma)
        result = ndimage.gaussian_filter(result, (0, *(sigmas if rng.random() < 0.5 else sigmas[::-1])), truncate=2.5)
    if rng.random() < 0.5 * strength + 0.1:
        field = smooth_noise(rng, (side, side), side * rng.uniform(0.7, 2.0))
        result = result * np.exp(np.clip(rng.uniform(0.05, 0.35) * field, -1, 1))
    if rng.random() < 0.07 * strength:
        result = result + rng.uniform(0.03, 0.15) * _streaks(rng, side)
    if rng.random() < 0.8 * strength + 0.1:
        amount = float(rng.choice([0.01, 0.03, 0.06, 0.12], p=[0.4, 0.38, 0.18, 0.04])) * (0.4 + 0.6 * strength)
        noise = rng.standard_normal(image.shape).astype(np.float32)
        if rng.random() < 0.75:
            grain = max(0.5 * native_px, 0.4)
            noise = ndimage.gaussian_filter(noise, (0, grain, grain), truncate=2.5)
            noise /= noise.std() + 1e-6
        result = np.abs(result + amount * noise) if rng.random() < 0.2 else result + amount * noise
    if rng.random() < 0.4:
        base = np.clip(result, 0, None)
        result = base ** float(np.exp(rng.normal(0, 0.35)))
    if rng.random() < 0.2:
        bottom, top = np.sort(rng.uniform(-0.1, 1.1, 2))
        if top - bottom > 0.35:
            result = np.clip(result, bottom, top)
    if rng.random() < 0.25:
        result = -result
    return np.ascontiguousarray(result, dtype=np.float32)
