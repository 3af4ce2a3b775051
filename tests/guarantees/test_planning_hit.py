"""The hit probability against its two closed forms over directions and voxel sizes; ``-s`` prints the figures."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medsam_planner.planning import Tool, hit_probability
from tests.medsam_planner.planning.planning_scenes import middle, positions, random_affine, shape_covering, volume

pytestmark = pytest.mark.guarantee

HALF_SPACE = float(stats.norm.cdf((1.5 - 4.0) / np.hypot(0.8, 1.2)))
"""A tube of radius 1.5 mm, 4 mm from a half-space whose surface varies by 0.8 mm, with a tool error of 1.2 mm."""
CYLINDER = float(stats.ncx2.cdf(((2 + 1) / 1.3) ** 2, 2, (5 / 1.3) ** 2))
"""Needle of radius 1 mm, 5 mm from the axis of a parallel cylinder of radius 2 mm, with a tool error of 1.3 mm."""


def grid(generator: np.random.Generator, spacing_mm: float | None) -> NDArray[np.float64]:
    """An oblique grid, left-handed in half of the cases; isotropic at a spacing, else 0.6 to 2.5 mm along each axis."""
    affine = random_affine(generator)
    if spacing_mm is not None:
        affine[:3, :3] *= spacing_mm / np.linalg.norm(affine[:3, :3], axis=0)
    return affine


def perpendicular(generator: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two perpendicular unit vectors."""
    pair, _ = np.linalg.qr(generator.normal(size=(3, 2)))
    return pair[:, 0], pair[:, 1]


def half_space(generator: np.random.Generator, spacing_mm: float | None) -> float:
    affine = grid(generator, spacing_mm)
    shape = shape_covering(affine, 30.0)
    along, normal = perpendicular(generator)
    origin = middle(shape, affine) + generator.uniform(-1, 1, 3)
    height = (positions(shape, affine) - origin) @ normal
    # Evenly spread quantiles in place of random numbers: the spread of the surface is then exact.
    shifts = 0.8 * stats.norm.ppf((np.arange(40) + 0.5) / 40)
    masks = [volume(height >= shift, affine) for shift in shifts]
    line = np.array([origin - 4 * normal - 4 * along, origin - 4 * normal + 4 * along])
    return hit_probability(line, masks, Tool(1.5, 1.2, 1.2), 400, int(generator.integers(2**31))).probability


def cylinder(generator: np.random.Generator, spacing_mm: float | None) -> float:
    affine = grid(generator, spacing_mm)
    shape = shape_covering(affine, 28.0)
    along, across = perpendicular(generator)
    origin = middle(shape, affine) + generator.uniform(-1, 1, 3)
    offset = positions(shape, affine) - (origin + 5 * across)
    radius = np.linalg.norm(offset - (offset @ along)[..., None] * along, axis=-1)
    line = np.array([origin - 4 * along, origin + 4 * along])
    return hit_probability(
        line, [volume(radius <= 2, affine)], Tool(1.0, 1.3, 1.3), 8000, int(generator.integers(2**31))
    ).probability


@pytest.mark.parametrize(
    ("scene", "expected", "spacing_mm", "directions", "tolerance"),
    [
        (half_space, HALF_SPACE, None, 12, 0.010),
        (half_space, HALF_SPACE, 1.0, 12, 0.006),
        (half_space, HALF_SPACE, 0.6, 12, 0.004),
        # The surface of a vessel of two or three voxels is not known better than this; it errs on the safe side.
        (cylinder, CYLINDER, None, 24, 0.020),
        (cylinder, CYLINDER, 1.0, 24, 0.012),
        (cylinder, CYLINDER, 0.6, 24, 0.004),
    ],
)
def test_the_mean_over_directions_meets_the_closed_form(scene, expected, spacing_mm, directions, tolerance):
    generator = np.random.default_rng(7)
    found = np.array([scene(generator, spacing_mm) for _ in range(directions)])
    error = stats.sem(found)
    grid_of = f"{spacing_mm or '0.6 to 2.5'} mm"
    print(f"\n{scene.__name__} on {grid_of}: {found.mean():.4f} ± {error:.4f}, exact {expected:.4f}")
    assert found.mean() == pytest.approx(expected, abs=tolerance + 2 * error)


def test_the_closed_forms_are_those_of_the_design():
    assert pytest.approx(0.0415, abs=5e-5) == HALF_SPACE
    assert pytest.approx(0.0438, abs=5e-5) == CYLINDER


def test_independent_voxels_would_give_an_answer_that_depends_on_their_size():
    """What the project does not do: 1 − Π(1 − p) over the voxels touched, with the same marginal probability each."""
    answers = []
    for spacing in (1.0, 0.5):
        count = round(8 / spacing)
        answers.append(1 - (1 - HALF_SPACE) ** count)
    assert answers[1] > 1.5 * answers[0]
