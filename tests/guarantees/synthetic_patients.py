"""Synthetic patients whose segmentation errs in known ways: star-shaped structures on anisotropic grids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xai.margin_scale import size_shortfall

USUAL_ML = 0.6
"""About a ball of the mean radius, 5.25 mm. A constant: no drawn patient has a part in it."""


@dataclass(frozen=True, slots=True)
class Population:
    """How patients are drawn, and what u knows of their errors."""

    lobes: float = 0.1
    """How far from a ball, as a part of the radius."""
    error_mm: float = 0.9
    heteroscedastic: float = 0.0
    """Errors differ by a factor up to exp(this) either way over the surface."""
    u_knows: bool = False
    """Whether u follows that factor."""
    heavy_tail: bool = False
    """Some patients are far worse than most (Student t, 3 degrees of freedom)."""
    missed: float = 0.0
    """Share of structures the segmentation does not find."""
    structures: int = 1
    too_little: float = 0.0
    """Share of structures of which far too little is found; u then knows the found volume, by the size shortfall."""


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticStructure:
    """One structure of one patient."""

    truth: NDArray[np.bool_]
    predicted: NDArray[np.bool_]
    u: NDArray[np.float64]
    spacing_mm: NDArray[np.float64]


def draw_patient(population: Population, generator: np.random.Generator) -> list[SyntheticStructure]:
    """The structures of one patient; their errors share the patient's own factor, so they are not independent."""
    factor = abs(generator.standard_t(3)) if population.heavy_tail else generator.lognormal(0, 0.3)
    return [_draw_structure(population, factor, generator) for _ in range(population.structures)]


def _draw_structure(population: Population, factor: float, generator: np.random.Generator) -> SyntheticStructure:
    shape = (13, 22, 22)
    spacing = np.array([generator.uniform(1.5, 2.2), generator.uniform(0.9, 1.1), generator.uniform(0.9, 1.1)])
    centre = np.array(shape) / 2 + generator.uniform(-0.5, 0.5, 3)
    offset = (np.stack(np.indices(shape), axis=-1) - centre) * spacing
    distance = np.maximum(np.linalg.norm(offset, axis=-1), 1e-6)
    direction = offset / distance[..., None]
    radius = generator.uniform(4.5, 6.0) * (1 + population.lobes * _smooth(direction, 3.0, generator))
    scale = np.exp(population.heteroscedastic * np.tanh(1.5 * _smooth(direction, 2.0, generator)))
    error = population.error_mm * factor * scale * _smooth(direction, 4.0, generator)
    found = generator.random() >= population.missed
    u = scale if population.u_knows else np.ones(shape)
    predicted = (distance <= radius) & found
    if population.too_little:
        if generator.random() < population.too_little:
            predicted &= distance <= generator.uniform(1.6, 4.5)  # at least the middle voxel
        shortfall = size_shortfall(float(np.count_nonzero(predicted) * spacing.prod()) / 1000.0, USUAL_ML)
        u = u + 3.0 * shortfall
    return SyntheticStructure(
        truth=distance <= np.maximum(radius + error, 1.5), predicted=predicted, u=u, spacing_mm=spacing
    )


def _smooth(
    direction: NDArray[np.float64], frequency: float, generator: np.random.Generator, waves: int = 8
) -> NDArray[np.float64]:
    """A random smooth function on the sphere with mean 0 and variance about 1 over draws."""
    wave = generator.normal(0, frequency / np.sqrt(3), (waves, 3))
    phase = generator.uniform(0, 2 * np.pi, waves)
    total: NDArray[np.float64] = np.cos(direction @ wave.T + phase).sum(axis=-1) * np.sqrt(2 / waves)
    return total
