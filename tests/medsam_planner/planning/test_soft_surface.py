"""How far the estimated surface of a mask lies from the true one, on average."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.geometry import spacing_mm
from medsam_planner.planning.soft_surface import surface_distance_mm

from .planning_scenes import middle, positions, shape_covering


@pytest.mark.parametrize("form", ["plane", "ball", "cylinder"])
def test_the_mean_error_is_a_small_part_of_a_voxel(form, any_affine):
    generator = np.random.default_rng(1)
    shape = shape_covering(any_affine, 36.0)
    spacing = spacing_mm(any_affine)
    place = positions(shape, any_affine)
    rim = np.ceil(6 / spacing).astype(int)
    errors = []
    for _ in range(8):
        normal = generator.normal(size=3)
        normal /= np.linalg.norm(normal)
        offset = place - (middle(shape, any_affine) + generator.uniform(-1.5, 1.5, 3))
        across = offset - (offset @ normal)[..., None] * normal
        exact = {
            "plane": offset @ normal,
            "ball": np.linalg.norm(offset, axis=-1) - 5,
            "cylinder": np.linalg.norm(across, axis=-1) - 2,
        }[form]
        found, _ = surface_distance_mm(exact <= 0, spacing)
        core = np.zeros(shape, dtype=bool)
        core[rim[0] : -rim[0], rim[1] : -rim[1], rim[2] : -rim[2]] = True
        errors.append((found - exact)[core & (exact > 1) & (exact < 5)].mean())
    assert abs(np.mean(errors)) < (0.15 if spacing.max() < 1.5 else 0.4)


def test_a_single_voxel_still_has_a_distance():
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[4, 4, 4] = True
    distance, _ = surface_distance_mm(mask, np.ones(3))
    assert distance[4, 4, 8] == pytest.approx(4, abs=0.6)
    assert distance[4, 4, 4] <= 0
