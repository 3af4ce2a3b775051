"""Maps sampled at vertices have the values arithmetic gives."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.mesh import Colormap, colour_by, rgb_from_values, surface_from_probability, value_range

from .mesh_shapes import grid_centre_lps_mm, positions, shape_for, soft_volume, volume_of


@pytest.fixture
def surface(any_affine):
    shape = shape_for(any_affine, 36.0)
    centre = grid_centre_lps_mm(any_affine, shape)
    return surface_from_probability(soft_volume(lambda x: np.linalg.norm(x - centre, axis=-1) - 12, any_affine, shape))


def test_linear_map_is_sampled_exactly_on_any_grid(surface, plain_affine, oblique_affine):
    slope = np.array([0.3, -0.2, 0.7])
    low, high = surface.bounds_lps_mm
    for direction in (plain_affine, oblique_affine):
        affine = direction.copy()
        shape = (60, 120, 120)
        affine[:3, 3] += (low + high) / 2 - (affine @ [*((np.array(shape) - 1) / 2), 1])[:3]
        map_volume = volume_of(positions(affine, shape) @ slope, affine)
        sampled = colour_by(surface, map_volume, name="slope").values["slope"]
        assert sampled == pytest.approx(surface.vertices_lps_mm @ slope, abs=1e-6)


def test_undefined_voxels_do_not_pull_their_neighbours_down(surface, any_affine):
    shape = shape_for(any_affine, 36.0)
    array = np.full(shape, 2.0)
    array[: shape[0] // 2] = np.nan
    values = colour_by(surface, volume_of(array, any_affine), name="map").values["map"]
    assert set(np.unique(values[np.isfinite(values)]).round(6)) == {2.0}
    assert 0.2 < np.isnan(values).mean() < 0.8


def test_vertices_far_outside_the_map_have_no_value(surface, any_affine):
    shape = shape_for(any_affine, 36.0)
    part = volume_of(np.ones((shape[0] // 2, *shape[1:])), any_affine)
    values = colour_by(surface, part, name="map").values["map"]
    assert 0.2 < np.isnan(values).mean() < 0.6
    assert (rgb_from_values(values)[np.isnan(values)] == 128).all()


def test_map_somewhere_else_is_refused(surface, plain_affine):
    far = plain_affine.copy()
    far[:3, 3] = 5000
    with pytest.raises(GeometryError, match="No vertex"):
        colour_by(surface, volume_of(np.ones((4, 4, 4)), far), name="map")


def test_map_of_another_frame_of_reference_is_refused(plain_affine):
    array = np.zeros((6, 6, 6))
    array[2:4, 2:4, 2:4] = 1
    surface = surface_from_probability(volume_of(array, plain_affine, uid="1.2.3"))
    colour_by(surface, volume_of(array, plain_affine, uid="1.2.3"), name="same")
    with pytest.raises(GeometryError, match=r"1\.2\.4"):
        colour_by(surface, volume_of(array, plain_affine, uid="1.2.4"), name="other")


def test_colours_are_those_of_the_named_map_and_get_lighter_upwards():
    from matplotlib import colormaps

    for name in Colormap:
        rgb = rgb_from_values(np.linspace(0, 1, 50), colormap=name)
        expected = [(colormaps[name.value](x, bytes=True))[:3] for x in np.linspace(0, 1, 50)]
        assert np.array_equal(rgb, np.array(expected))
        luminance = rgb @ [0.2126, 0.7152, 0.0722]
        assert (np.diff(luminance) > -0.5).all()


def test_limits_make_two_surfaces_comparable():
    assert np.array_equal(rgb_from_values([5.0], limits=(0, 10)), rgb_from_values([0.0, 5.0, 10.0])[1:2])
    assert np.array_equal(rgb_from_values([99.0], limits=(0, 10)), rgb_from_values([10.0], limits=(0, 10)))


def test_range_of_constant_and_of_absent_values():
    assert value_range([3.0, np.nan, 3.0]) == (3.0, 4.0)
    assert value_range([np.nan]) == (0.0, 1.0)


@pytest.mark.parametrize("limits", [(1.0, 1.0), (2.0, 1.0), (0.0, np.inf)])
def test_limits_that_span_nothing_are_refused(limits):
    with pytest.raises(GeometryError, match="limits"):
        rgb_from_values([0.5], limits=limits)
