"""Surfaces of shapes with a known volume, on a plain and on an oblique, anisotropic, left-handed grid."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import EmptyStructureError, GeometryError, OperationCancelledError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm
from medsam_planner.mesh import Surface, check_surface, surface_from_probability

from .mesh_shapes import grid_centre_lps_mm, positions, shape_for, soft_volume, volume_of

RADIUS_MM = 18.0


def ball(affine, extent_mm=50.0, radius_mm=RADIUS_MM):
    shape = shape_for(affine, extent_mm)
    centre = grid_centre_lps_mm(affine, shape)
    return soft_volume(lambda x: np.linalg.norm(x - centre, axis=-1) - radius_mm, affine, shape), centre


@pytest.mark.parametrize("smoothing_iterations", [0, 10])
def test_sphere_has_its_volume_and_its_vertices_lie_on_it(any_affine, smoothing_iterations):
    volume, centre = ball(any_affine)
    surface = surface_from_probability(volume, smoothing_iterations=smoothing_iterations)
    off_mm = np.abs(np.linalg.norm(surface.vertices_lps_mm - centre, axis=1) - RADIUS_MM)
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * RADIUS_MM**3, rel=0.01)
    assert off_mm.max() < 0.1 * spacing_mm(any_affine).max()
    assert surface.is_watertight


def test_normals_point_outwards_on_either_handedness(any_affine):
    volume, _ = ball(any_affine)
    for affine in (volume.affine, volume.affine * np.array([1, -1, 1, 1])):
        shape = volume.spatial_shape
        middle = grid_centre_lps_mm(affine, shape)
        probability = soft_volume(lambda x, c=middle: np.linalg.norm(x - c, axis=-1) - RADIUS_MM, affine, shape)
        surface = surface_from_probability(probability)
        outwards = surface.vertices_lps_mm - middle
        assert (np.einsum("ij,ij->i", surface.vertex_normals, outwards) > 0).all()
        assert surface.volume_mm3 > 0


def test_ellipsoid_has_its_volume(any_affine):
    shape = shape_for(any_affine, 60.0)
    centre = grid_centre_lps_mm(any_affine, shape)
    axes_mm = np.array([24.0, 12.0, 17.0])

    def distance(x):
        scaled = np.linalg.norm((x - centre) / axes_mm, axis=-1)
        gradient = np.linalg.norm((x - centre) / axes_mm**2, axis=-1) / np.maximum(scaled, 1e-6)
        return (scaled - 1) / np.maximum(gradient, 1e-6)

    surface = surface_from_probability(soft_volume(distance, any_affine, shape))
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * axes_mm.prod(), rel=0.01)


def test_cube_of_whole_voxels_keeps_its_faces_half_a_voxel_out(plain_affine):
    mask = np.zeros((30, 30, 30), dtype=bool)
    mask[5:25, 5:25, 5:25] = True  # 20 voxels of 1 mm: faces at 4.5 and 24.5
    surface = surface_from_probability(volume_of(mask, plain_affine), smoothing_iterations=0)
    assert surface.bounds_lps_mm == pytest.approx(np.array([[4.5] * 3, [24.5] * 3]))
    # The 12 edges (and 8 corners) are bevelled by half a voxel: each edge loses 20 × 1/8 mm³, counted to the corners.
    assert surface.volume_mm3 == pytest.approx(20**3 - 12 * 20 / 8, rel=0.001)


def test_structure_cut_by_the_border_is_closed_half_a_voxel_outside(any_affine):
    shape = shape_for(any_affine, 40.0)
    corner = lps_from_index(any_affine, (0, 0, 0))
    volume = soft_volume(lambda x: np.linalg.norm(x - corner, axis=-1) - 20.0, any_affine, shape)
    surface = surface_from_probability(volume, smoothing_iterations=0)
    lowest_index = index_from_lps(any_affine, surface.vertices_lps_mm).min(axis=0)
    assert surface.is_watertight
    assert lowest_index == pytest.approx([-0.5, -0.5, -0.5], abs=1e-3)
    # An eighth of the ball, thickened by half a voxel towards the three cut faces.
    half_mm = spacing_mm(any_affine) / 2
    eighth = 4 / 3 * np.pi * 20.0**3 / 8
    assert surface.volume_mm3 == pytest.approx(eighth + np.pi * 20.0**2 / 4 * half_mm.sum(), rel=0.03)


def test_region_cuts_and_closes(any_affine):
    volume, _ = ball(any_affine)
    shape = np.array(volume.spatial_shape)
    extent = np.stack([np.zeros(3, dtype=int), shape - 1], axis=1)
    extent[0, 1] = shape[0] // 2
    surface = surface_from_probability(volume, region_index_range=extent, smoothing_iterations=0)
    whole = surface_from_probability(volume, smoothing_iterations=0)
    assert surface.is_watertight
    assert index_from_lps(any_affine, surface.vertices_lps_mm)[:, 0].max() == pytest.approx(
        extent[0, 1] + 0.5, abs=0.01
    )
    assert 0.4 * whole.volume_mm3 < surface.volume_mm3 < 0.65 * whole.volume_mm3


def test_every_component_is_kept_unless_only_the_largest_is_asked_for(any_affine):
    shape = shape_for(any_affine, 60.0)
    x = positions(any_affine, shape)
    centre = grid_centre_lps_mm(any_affine, shape)
    big, small = centre + np.array([8, 0, 0]), centre - np.array([16, 0, 0])
    near = np.minimum(np.linalg.norm(x - big, axis=-1) - 12, np.linalg.norm(x - small, axis=-1) - 6)
    volume = volume_of(np.clip(0.5 - near / 5, 0, 1), any_affine)
    both = surface_from_probability(volume)
    largest = surface_from_probability(volume, largest_component_only=True)
    assert check_surface(both).component_count == 2
    assert check_surface(largest).component_count == 1
    assert both.volume_mm3 == pytest.approx(4 / 3 * np.pi * (12**3 + 6**3), rel=0.02)
    assert largest.volume_mm3 == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)


def test_hollow_ball_counts_its_cavity_out(plain_affine):
    shape = (44, 44, 44)
    centre = grid_centre_lps_mm(plain_affine, shape)
    volume = soft_volume(lambda x: np.abs(np.linalg.norm(x - centre, axis=-1) - 13) - 4, plain_affine, shape)
    surface = surface_from_probability(volume)
    assert surface.volume_mm3 == pytest.approx(4 / 3 * np.pi * (17**3 - 9**3), rel=0.01)


def test_values_equal_to_the_level_leave_no_defect(plain_affine):
    array = np.zeros((9, 9, 9), dtype=np.float32)
    array[2:7, 2:7, 2:7] = 0.5
    array[3:6, 3:6, 3:6] = 1.0
    surface = surface_from_probability(volume_of(array, plain_affine), smoothing_iterations=0)
    found = check_surface(surface)
    assert found.is_closed and found.degenerate_faces == 0


def test_one_voxel_has_a_surface(any_affine):
    array = np.zeros((5, 6, 7), dtype=np.float32)
    array[2, 3, 4] = 1.0
    surface = surface_from_probability(volume_of(array, any_affine), max_triangles=1000)
    assert surface.is_watertight and 0 < surface.volume_mm3 < spacing_mm(any_affine).prod()


def test_random_masks_give_closed_surfaces(any_affine):
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = rng.random((8, 9, 10)) > 0.6  # full of voxels that touch by an edge or a corner
        assert surface_from_probability(volume_of(mask, any_affine), smoothing_iterations=0).is_watertight


def test_same_input_gives_the_same_bytes(plain_affine):
    volume, _ = ball(plain_affine)
    first, second = (surface_from_probability(volume, max_triangles=2000) for _ in range(2))
    assert first.vertices_lps_mm.tobytes() == second.vertices_lps_mm.tobytes()
    assert first.faces.tobytes() == second.faces.tobytes()


def test_input_is_left_as_it_was(plain_affine):
    volume, _ = ball(plain_affine)
    before = volume.array.copy()
    surface_from_probability(volume, largest_component_only=True)
    assert np.array_equal(volume.array, before)


def test_nothing_above_the_level_is_refused(plain_affine):
    with pytest.raises(EmptyStructureError, match=r"highest: 0\.4"):
        surface_from_probability(volume_of(np.full((5, 5, 5), 0.4), plain_affine))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 0.0}, "level strictly between"),
        ({"region_index_range": [[0, 4], [0, 4]]}, "shape \\(3, 2\\)"),
        ({"region_index_range": [[0, 4], [0, 4], [3, 9]]}, "inside the volume"),
        ({"region_index_range": [[0.0, 4.0]] * 3}, "voxel index"),
        ({"max_triangles": 3}, "at least 4"),
        ({"smoothing_iterations": 1, "level": 1.5}, "level strictly between"),
    ],
)
def test_options_that_cannot_be_right_are_refused(plain_affine, options, message):
    array = np.zeros((6, 6, 6))
    array[1:5, 1:5, 1:5] = 1.0
    with pytest.raises(GeometryError, match=message):
        surface_from_probability(volume_of(array, plain_affine), **options)


@pytest.mark.parametrize("bad", [7.5, np.nan])
def test_logits_and_nan_are_refused(plain_affine, bad):
    array = np.zeros((6, 6, 6))
    array[2:4, 2:4, 2:4] = 1.0
    array[2, 2, 2] = bad
    with pytest.raises(GeometryError, match="probabilities in"):
        surface_from_probability(volume_of(array, plain_affine))


def test_cancelling_stops(plain_affine):
    class Stop:
        is_cancelled = True

        def update(self, stage: str, done: int, total: int) -> None:
            assert stage == "mesh"

    with pytest.raises(OperationCancelledError):
        surface_from_probability(ball(plain_affine)[0], progress=Stop())


@pytest.mark.parametrize(
    ("vertices", "faces", "values"),
    [
        (np.zeros((3, 2)), [[0, 1, 2]], {}),
        (np.full((3, 3), np.nan), [[0, 1, 2]], {}),
        (np.zeros((3, 3)), [[0, 1, 3]], {}),
        (np.zeros((3, 3)), [[0, 1]], {}),
        (np.zeros((3, 3)), [[0, 1, 2]], {"u": np.zeros(2)}),
    ],
)
def test_surface_that_does_not_fit_together_is_refused(vertices, faces, values):
    with pytest.raises(GeometryError):
        Surface(vertices, faces, values)


def test_unit_tetrahedron_has_volume_one_sixth():
    vertices = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    surface = Surface(np.array(vertices) + 1e4, [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    assert surface.is_watertight
    assert surface.volume_mm3 == pytest.approx(1 / 6)
    assert surface.area_mm2 == pytest.approx(1.5 + np.sqrt(3) / 2)
