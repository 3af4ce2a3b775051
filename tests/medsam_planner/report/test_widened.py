"""Outlines of structures with their margins, against balls whose answer is arithmetic."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.drawing.reformat import standard_plane
from medsam_planner.geometry import lps_from_index, voxel_diagonal_mm
from medsam_planner.report.widened import widened_structure

SHAPE = (40, 100, 90)


@pytest.fixture(params=["plain", "oblique"])
def ball(request: pytest.FixtureRequest) -> tuple[highdicom.Volume, NDArray[np.float64], NDArray[np.float64]]:
    """Ball of radius 12 mm, its centre, and the voxels' positions."""
    affine = request.getfixturevalue(f"{request.param}_affine")
    positions = lps_from_index(affine, np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    centre = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)
    mask = np.linalg.norm(positions - centre, axis=-1) <= 12.0
    return highdicom.Volume(array=mask, affine=affine, coordinate_system="PATIENT"), centre, positions


@pytest.mark.parametrize(("inwards", "sign"), [(False, 1.0), (True, -1.0)])
def test_a_ball_grows_and_a_corridor_shrinks_by_the_margin(
    ball: tuple[highdicom.Volume, NDArray[np.float64], NDArray[np.float64]], inwards: bool, sign: float
) -> None:
    mask, centre, _ = ball
    plane = standard_plane("axial", centre, 44.0, 110)
    distance = widened_structure(mask, 4.0, inwards=inwards).distance_mm(plane)
    radius = np.linalg.norm(plane.positions_lps_mm() - centre, axis=-1)
    diagonal = voxel_diagonal_mm(mask.affine)
    outline = radius[np.abs(distance) < plane.pixel_mm / 2]
    assert len(outline) > 50
    assert np.abs(outline - (12.0 + sign * 4.0)).max() < diagonal
    assert (distance[radius < 12.0 - 4.0 - diagonal] < 0).all() != inwards
    assert (distance[radius > 12.0 + 4.0 + diagonal] > 0).all() != inwards


def test_the_outline_is_wider_where_the_margin_is(
    ball: tuple[highdicom.Volume, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    mask, centre, positions = ball
    margin = np.where(positions[..., 0] > centre[0], 5.0, 1.0).astype(np.float32)
    widened = widened_structure(mask, highdicom.Volume(array=margin, affine=mask.affine, coordinate_system="PATIENT"))
    plane = standard_plane("axial", centre, 44.0, 110)
    inside = widened.distance_mm(plane) <= 0
    across = np.flatnonzero(inside[55])
    reach_right, reach_left = (across[-1] - 54.5) * 0.4, (54.5 - across[0]) * 0.4
    assert reach_right == pytest.approx(17.0, abs=voxel_diagonal_mm(mask.affine))
    assert reach_left == pytest.approx(13.0, abs=voxel_diagonal_mm(mask.affine))


def test_the_contact_is_the_surface_that_leaves_the_least_room_and_not_the_nearest(
    ball: tuple[highdicom.Volume, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    mask, centre, positions = ball
    margin = np.where(positions[..., 0] > centre[0], 9.0, 0.0).astype(np.float32)
    margins = highdicom.Volume(array=margin, affine=mask.affine, coordinate_system="PATIENT")
    place = centre + np.array([-8.0, -19.0, 0.0])  # slightly on the side without a margin
    uniform = widened_structure(mask, 1.0).nearest_lps_mm(place)
    assert uniform[0] < centre[0] - 3.5
    assert widened_structure(mask, margins).nearest_lps_mm(place)[0] > centre[0] - 3.0


def test_without_a_margin_there_is_nothing_to_draw(
    ball: tuple[highdicom.Volume, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    assert not widened_structure(ball[0], 0.0).has_margin
    assert widened_structure(ball[0], 0.5).has_margin
