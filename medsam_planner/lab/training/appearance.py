"""Image degradation of CT and MR: blur, bias field, streaks, noise and intensity maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.lab.training.anatomy import smooth_noise

__all__ = ["degrade"]

Array = NDArray[np.float32]


def _streaks(rng: np.random.Generator, side: int) -> Array:
    """Bright and dark lines through one point, as metal artefacts in CT."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    row, column = rng.uniform(-0.3, 1.3, 2) * side
    angle = np.arctan2(rows - row, columns - column)
    result = np.zeros((side, side), dtype=np.float32)
    for _ in range(int(rng.integers(3, 12))):
        result += rng.normal() * np.cos(rng.integers(5, 40) * angle + rng.uniform(0, 6.3)).astype(np.float32) / 3
    return result


def degrade(image: Array, rng: np.random.Generator, *, strength: float, native_px: float) -> Array:
    """Degrade a stack of slices; `image` itself stays unchanged.

    Parameters
    ----------
    image : (S, N, N) float32
        S slices of one scan on model pixels; they share everything but the noise.
    rng : numpy.random.Generator
        Source of all random choices.
    strength : float
        1 for synthetic images, less for real ones, which are degraded already.
    native_px : float
        Model pixels per pixel of the simulated scanner: the scale of blur and noise.
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
