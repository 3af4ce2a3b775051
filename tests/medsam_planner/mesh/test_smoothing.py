"""Smoothing takes the staircase away and keeps the volume."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.geometry import spacing_mm
from medsam_planner.mesh import smooth_taubin, surface_from_probability

from .mesh_shapes import grid_centre_lps_mm, positions, shape_for, volume_of


def staircase_ball(affine, radius_mm):
    shape = shape_for(affine, 2.6 * radius_mm)
    centre = grid_centre_lps_mm(affine, shape)
    mask = np.linalg.norm(positions(affine, shape) - centre, axis=-1) < radius_mm
    return surface_from_probability(volume_of(mask, affine), smoothing_iterations=0), centre


def test_binary_ball_becomes_smoother_and_keeps_its_volume(any_affine):
    rough, centre = staircase_ball(any_affine, 18.0)
    smooth = smooth_taubin(rough, iterations=10)

    def roughness(surface):  # mean angle between the surface's normal and the ball's
        radial = surface.vertices_lps_mm - centre
        cosine = np.einsum("ij,ij->i", surface.vertex_normals, radial) / np.linalg.norm(radial, axis=1)
        return np.arccos(np.clip(cosine, -1, 1)).mean()

    assert smooth.volume_mm3 == pytest.approx(rough.volume_mm3, rel=0.01)
    assert roughness(smooth) < 0.7 * roughness(rough)
    moved = np.linalg.norm(smooth.vertices_lps_mm - rough.vertices_lps_mm, axis=1)
    assert moved.max() < spacing_mm(any_affine).max()
    assert "Taubin, 10 iterations" in smooth.history[-1]


@pytest.mark.parametrize("radius_mm", [1.5, 2.5, 4.0])
def test_small_structures_are_smoothed_less_rather_than_changed(plain_affine, radius_mm):
    rough, _ = staircase_ball(plain_affine, radius_mm)
    smooth = smooth_taubin(rough, iterations=40)
    assert smooth.volume_mm3 == pytest.approx(rough.volume_mm3, rel=0.01)
    assert "40 iterations" not in smooth.history[-1]


def test_limit_of_zero_leaves_the_surface(plain_affine):
    rough, _ = staircase_ball(plain_affine, 6.0)
    same = smooth_taubin(rough, iterations=8, max_volume_change=0.0)
    assert np.array_equal(same.vertices_lps_mm, rough.vertices_lps_mm)
    assert "not smoothed" in same.history[-1]


def test_long_cylinder_does_not_shrink_along_many_iterations(plain_affine):
    shape = (70, 32, 32)
    x = positions(plain_affine, shape)
    mask = (np.hypot(x[..., 0] - 15.3, x[..., 1] - 15.7) < 8) & (np.abs(x[..., 2] - 34.5) < 30)
    rough = surface_from_probability(volume_of(mask, plain_affine), smoothing_iterations=0)
    smooth = smooth_taubin(rough, iterations=50)
    assert smooth.volume_mm3 == pytest.approx(rough.volume_mm3, rel=0.01)


def test_negative_iterations_are_refused(plain_affine):
    with pytest.raises(GeometryError, match="0 or more"):
        smooth_taubin(staircase_ball(plain_affine, 4.0)[0], iterations=-1)
