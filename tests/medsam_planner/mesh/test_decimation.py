"""Decimation keeps the surface where it was, or keeps more triangles."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.mesh import check_surface, decimate, surface_deviation_mm, surface_from_probability

from .mesh_shapes import grid_centre_lps_mm, shape_for, soft_volume, volume_of


@pytest.fixture
def fine(any_affine):
    shape = shape_for(any_affine, 48.0)
    centre = grid_centre_lps_mm(any_affine, shape)
    return surface_from_probability(soft_volume(lambda x: np.linalg.norm(x - centre, axis=-1) - 18, any_affine, shape))


def test_asked_number_of_triangles_and_volume_are_kept(fine):
    coarse = decimate(fine, 1000, max_deviation_mm=0.8)
    assert len(coarse.faces) <= 1000
    assert check_surface(coarse).is_closed
    assert coarse.volume_mm3 == pytest.approx(fine.volume_mm3, rel=0.01)
    assert surface_deviation_mm(fine, coarse) <= 0.8


def test_more_triangles_are_kept_where_fewer_would_move_the_surface(fine):
    coarse = decimate(fine, 20, max_deviation_mm=0.3)
    assert 20 < len(coarse.faces) < len(fine.faces)
    assert surface_deviation_mm(fine, coarse) <= 0.3
    assert "20 asked, too few" in coarse.history[-1]


def test_impossible_tolerance_returns_the_surface_untouched(fine):
    same = decimate(fine, 100, max_deviation_mm=1e-9)
    assert len(same.faces) == len(fine.faces) and same.volume_mm3 == pytest.approx(fine.volume_mm3)
    assert "too few for this shape" in same.history[-1]


def test_small_surface_is_left_alone(fine):
    assert decimate(fine, len(fine.faces), max_deviation_mm=1.0) is fine


def test_deviation_of_concentric_spheres_is_the_difference_of_their_radii(plain_affine):
    shape = shape_for(plain_affine, 48.0)
    centre = grid_centre_lps_mm(plain_affine, shape)
    spheres = [
        surface_from_probability(
            soft_volume(lambda x, r=r: np.linalg.norm(x - centre, axis=-1) - r, plain_affine, shape)
        )
        for r in (15.0, 18.0)
    ]
    assert surface_deviation_mm(*spheres) == pytest.approx(3.0, abs=0.1)


def test_small_pieces_survive_beside_a_large_one(plain_affine):
    shape = (60, 60, 60)
    mask = np.zeros(shape, dtype=np.float32)
    mask[5:55, 5:55, 5:40] = 1.0
    mask[10:50:8, 10:50:8, 50:52] = 1.0  # 25 grains of two voxels
    surface = surface_from_probability(volume_of(mask, plain_affine))
    coarse = decimate(surface, 6000, max_deviation_mm=1.0)
    assert check_surface(coarse).component_count == check_surface(surface).component_count == 26
    assert len(coarse.faces) <= 6000 < len(surface.faces)


@pytest.mark.parametrize(("triangles", "deviation_mm"), [(3, 1.0), (100, 0.0), (100, np.nan)])
def test_impossible_requests_are_refused(fine, triangles, deviation_mm):
    with pytest.raises(GeometryError):
        decimate(fine, triangles, max_deviation_mm=deviation_mm)
