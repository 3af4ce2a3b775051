"""Implicit shapes against distances a reader can write down."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.demo.implicit_grid import distance_on_grid, grid_region
from medsam_planner.demo.implicit_shapes import (
    Ball,
    Common,
    Cut,
    HalfSpace,
    Joined,
    Mirrored,
    Offset,
    sheet,
    tube,
)
from medsam_planner.demo.true_distance import TrueDistance
from medsam_planner.errors import GeometryError
from medsam_planner.geometry import lps_from_index


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(-30, 30, (2000, 3))


def capsule_mm(points, a, b, radius_mm):
    a, b = np.array(a), np.array(b)
    along = np.clip(((points - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(points - a - along[:, None] * (b - a), axis=1) - radius_mm


def test_straight_tube_is_a_capsule(points):
    a, b = (-10.0, 3, 5), (12.0, -8, 1)
    assert tube([a, b], 4.0).distance_mm(points) == pytest.approx(capsule_mm(points, a, b, 4.0), abs=0.05)


def test_flat_sheet_is_a_plate_of_its_thickness():
    plate = sheet([[(x, y, 2.0) for x in (-20, 0, 20)] for y in (-20, 0, 20)], np.full((3, 3), 3.0))
    points = np.random.default_rng(1).uniform((-15, -15, -20), (15, 15, 20), (500, 3))
    far = np.abs(points[:, 2] - 2) > 2
    expected = np.abs(points[:, 2] - 2) - 3
    assert plate.distance_mm(points)[far] == pytest.approx(expected[far], abs=0.09)


def test_set_operations_have_the_right_signs(points):
    left, right = Ball((-6, 0, 0), 10.0), Ball((6, 0, 0), 10.0)
    a, b = left.distance_mm(points) < 0, right.distance_mm(points) < 0
    assert np.array_equal(Joined([left, right]).distance_mm(points) < 0, a | b)
    assert np.array_equal(Common([left, right]).distance_mm(points) < 0, a & b)
    assert np.array_equal(Cut(left, [right]).distance_mm(points) < 0, a & ~b)
    assert np.array_equal(Mirrored(left).distance_mm(points) < 0, b)
    assert np.array_equal(Offset(left, 2.0).distance_mm(points) < 0, Ball((-6, 0, 0), 12.0).distance_mm(points) < 0)


def test_smooth_seams_only_add_to_a_union_and_only_there(points):
    shapes = [Ball((-8, 0, 0), 10.0), Ball((8, 0, 0), 10.0)]
    sharp, smooth = Joined(shapes).distance_mm(points), Joined(shapes, blend_mm=6.0).distance_mm(points)
    assert (smooth <= sharp + 1e-12).all() and (smooth >= sharp - 6 / 4 - 1e-12).all()
    far = np.abs(shapes[0].distance_mm(points) - shapes[1].distance_mm(points)) > 6
    assert np.array_equal(smooth[far], sharp[far])


def test_limited_reach_changes_nothing_within_it(points):
    shape = Cut(
        Joined([tube([(-20, 0, 0), (0, 9, 4), (20, 0, 0)], [3, 6, 2]), Ball((0, 0, 0), 8.0)], blend_mm=5.0),
        [Ball((4, 4, 0), 4.0)],
        blend_mm=2.0,
    )
    whole, near = shape.distance_mm(points), shape.distance_mm(points, 5.0)
    assert near[np.abs(whole) < 5] == pytest.approx(whole[np.abs(whole) < 5])
    assert (np.abs(near[np.abs(whole) >= 5]) >= 5).all()


def test_bounds_hold_the_shape(points):
    shapes = [Ball((3, 4, 5), 7.0), Ball((1, -2, 3), (9.0, 4.0, 6.0)), tube([(0, 0, 0), (9, 9, 9)], 4.0)]
    for shape in (*shapes, Joined(shapes, blend_mm=3.0), Mirrored(shapes[2]), Offset(shapes[0], 2.0)):
        low, high = shape.bounds_lps_mm
        inside = points[shape.distance_mm(points) < 0]
        assert len(inside) and (inside >= low).all() and (inside <= high).all()


def test_grid_of_blocks_equals_a_look_at_every_voxel(oblique_affine):
    shape = Joined([tube([(-50, 0, 190), (-10, 30, 230)], [3, 9]), Ball((-20, 20, 215), 12.0)], blend_mm=6.0)
    size = (30, 70, 61)
    index = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    direct = np.clip(shape.distance_mm(lps_from_index(oblique_affine, index.reshape(-1, 3))), -4, 4).reshape(size)
    assert (np.abs(direct) < 4).any()
    assert distance_on_grid(shape, oblique_affine, size, 4.0) == pytest.approx(direct, abs=1e-4)


def test_region_of_a_shape_holds_all_its_voxels(oblique_affine):
    size = (30, 70, 61)
    centre = lps_from_index(oblique_affine, (12, 30, 40))
    shape = Ball(tuple(centre.tolist()), 9.0)
    inside = distance_on_grid(shape, oblique_affine, size, 1.0) < 0
    region = grid_region(shape, oblique_affine, size, 0.0)
    assert region is not None and inside[region].sum() == inside.sum() > 0
    assert grid_region(Ball((900.0, 0, 0), 9.0), oblique_affine, size, 1.0) is None


def test_true_distance_to_a_ball_and_a_capsule(points):
    ball, capsule = TrueDistance(Ball((1, 2, 3), 12.0)), TrueDistance(tube([(-9, 0, 0), (9, 4, 0)], 5.0))
    assert ball(points) == pytest.approx(np.linalg.norm(points - (1, 2, 3), axis=1) - 12, abs=0.03)
    expected = capsule_mm(points, (-9, 0, 0), (9, 4, 0), 5.0)
    outside = expected > -3
    assert capsule(points)[outside] == pytest.approx(expected[outside], abs=0.1)


def test_true_distance_is_exact_where_the_shape_function_is_only_a_bound():
    # A ball of 20 less a ball of 10 around (14, 0, 0). From (−2, 0, 0) the hollow is 6 mm away, the outside 18 mm.
    shape = Cut(Ball((0, 0, 0), 20.0), [Ball((14, 0, 0), 10.0)])
    # Two balls side by side: the middle of their union is nearest to the ring where they meet, 8 mm from the axis.
    # The mesh cuts that sharp edge short.
    pair = Joined([Ball((-6, 0, 0), 10.0), Ball((6, 0, 0), 10.0)])
    assert TrueDistance(shape)([(-2, 0, 0)])[0] == pytest.approx(-6.0, abs=0.03)
    assert pair.distance_mm(np.zeros((1, 3)))[0] == pytest.approx(-4.0)
    assert TrueDistance(pair)([(0, 0, 0)])[0] == pytest.approx(-8.0, abs=0.5)


def test_distance_to_a_shape_without_end_is_refused():
    with pytest.raises(GeometryError, match="finite extent"):
        TrueDistance(HalfSpace((0, 0, 0), (0, 0, 1)))
