"""Planes through volumes: known places land on known pixels, and letters name the right side."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.drawing.camera import direction_letters
from medsam_planner.drawing.reformat import (
    STANDARD_PLANES,
    Plane,
    sample_plane,
    standard_plane,
    tool_frame,
)
from medsam_planner.errors import GeometryError
from medsam_planner.geometry import lps_from_index

SHAPE = (40, 90, 80)


def grid_positions(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return lps_from_index(affine, np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))


def volume(array: NDArray, affine: NDArray[np.float64]) -> highdicom.Volume:
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


@pytest.fixture(params=["plain", "oblique"])
def affine(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    return request.getfixturevalue(f"{request.param}_affine")


@pytest.mark.parametrize("name", STANDARD_PLANES)
def test_a_ball_left_behind_and_above_the_centre_appears_where_a_radiologist_looks(
    affine: NDArray[np.float64], name: str
) -> None:
    middle = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)
    offset = np.array([9.0, 6.0, 7.0])  # left, posterior, superior
    ball = volume(np.linalg.norm(grid_positions(affine) - middle - offset, axis=-1) <= 5.0, affine)
    centre = middle.copy()
    centre[{"axial": 2, "coronal": 1, "sagittal": 0}[name]] += offset[{"axial": 2, "coronal": 1, "sagittal": 0}[name]]
    sampled = sample_plane(ball, standard_plane(name, centre, 40.0, 80))
    row, column = np.argwhere(np.nan_to_num(sampled) > 0.5).mean(axis=0)
    # Half-millimetre pixels, centre at 39.5: 9 mm to the left is 18 columns to the viewer's right, and so on.
    expected = {
        "axial": (39.5 + 12, 39.5 + 18),
        "coronal": (39.5 - 14, 39.5 + 18),
        "sagittal": (39.5 - 14, 39.5 + 12),
    }[name]
    assert (row, column) == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize(
    ("name", "left", "right", "top", "bottom"),
    [("axial", "R", "L", "A", "P"), ("coronal", "R", "L", "S", "I"), ("sagittal", "A", "P", "S", "I")],
)
def test_standard_planes_follow_the_radiological_convention(
    name: str, left: str, right: str, top: str, bottom: str
) -> None:
    letters = standard_plane(name, (0, 0, 0), 10.0, 10).letters
    assert (letters.left, letters.right, letters.top, letters.bottom) == (left, right, top, bottom)


def test_a_linear_field_is_sampled_exactly_on_a_turned_plane(affine: NDArray[np.float64]) -> None:
    gradient = np.array([0.3, -1.7, 0.9])
    field = volume((grid_positions(affine) @ gradient).astype(np.float64), affine)
    along, across, _ = tool_frame((0, 0, 0), (1, 2, 3))
    middle = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)
    plane = Plane(middle, across, along, (24.0, 12.0), (48, 24))
    sampled = sample_plane(field, plane)
    assert sampled.shape == (24, 48)
    assert not np.isnan(sampled).any()
    np.testing.assert_allclose(sampled, plane.positions_lps_mm() @ gradient, atol=1e-3)


def test_the_nearest_voxel_is_read_at_its_own_centre(affine: NDArray[np.float64]) -> None:
    array = np.zeros(SHAPE, dtype=np.int16)
    array[20, 41, 33] = 7
    place = lps_from_index(affine, (20, 41, 33))
    for order in (0, 1):
        sampled = sample_plane(volume(array, affine), standard_plane("axial", place, 1.0, 1), order=order)
        assert sampled.item() == pytest.approx(7.0)


def test_outside_the_volume_is_unknown_and_not_air(affine: NDArray[np.float64]) -> None:
    ones = volume(np.ones(SHAPE, dtype=np.float32), affine)
    border = lps_from_index(affine, (0, 45, 40))
    outwards = lps_from_index(affine, (-1, 45, 40)) - border
    assert sample_plane(ones, standard_plane("axial", border + 0.4 * outwards, 1e-3, 1)).item() == 1.0
    assert np.isnan(sample_plane(ones, standard_plane("axial", border + 0.6 * outwards, 1e-3, 1)).item())


def test_pixels_and_positions_are_inverse_to_each_other() -> None:
    along, across, _ = tool_frame((1, 2, 3), (-7, 20, 11))
    plane = Plane(np.array([5.0, -3.0, 8.0]), across, along, (30.0, 20.0), (60, 40))
    pixels = plane.pixels_from_lps(plane.positions_lps_mm())
    rows, columns = np.indices((40, 60))
    np.testing.assert_allclose(pixels, np.stack([columns, rows, np.zeros((40, 60))], axis=-1), atol=1e-9)
    behind = plane.centre_lps_mm + 4.0 * plane.into_lps
    assert plane.pixels_from_lps(behind)[2] == pytest.approx(4.0)


def test_a_coarser_plane_keeps_the_corner_of_the_finer_one() -> None:
    plane = standard_plane("coronal", (1.0, 2.0, 3.0), 10.1, 101)
    coarse = plane.coarser(2)
    assert coarse.size == (51, 51)
    fine_block = plane.positions_lps_mm()[:2, :2].mean(axis=(0, 1))
    np.testing.assert_allclose(coarse.positions_lps_mm()[0, 0], fine_block, atol=1e-9)


def test_opposite_edges_carry_opposite_letters(oblique_affine: NDArray[np.float64]) -> None:
    opposite = str.maketrans("LRAPSI", "RLPAIS")
    for column in oblique_affine[:3, :3].T:
        assert direction_letters(-column) == direction_letters(column).translate(opposite)


def test_the_first_lengthwise_picture_contains_the_limiting_structure() -> None:
    entry, target, contact = np.array([0.0, 0, 0]), np.array([10.0, 40, -20]), np.array([9.0, 15, -2])
    along, across, athwart = tool_frame(entry, target, contact)
    assert np.linalg.norm(np.stack([along, across, athwart]), axis=1) == pytest.approx([1, 1, 1])
    assert (contact - entry) @ athwart == pytest.approx(0.0, abs=1e-9)
    # Looking along the tool with `across` to the right, `athwart` is down: the picture is not mirrored.
    np.testing.assert_allclose(np.cross(across, athwart), along, atol=1e-9)


def test_pictures_along_a_tool_keep_left_on_the_viewers_right() -> None:
    for contact in ((5.0, 0, 0), (-5.0, 0, 0), None):
        _, across, _ = tool_frame((0, 0, 0), (0, 30, 0), contact)
        assert direction_letters(across) == "L"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"right_lps": (1, 1, 0)}, "unit vectors"),
        ({"down_lps": (1, 0, 0)}, "unit vectors"),
        ({"extent_mm": (10.0, 20.0)}, "square pixels"),
        ({"extent_mm": (0.0, 0.0)}, "positive extent"),
        ({"centre_lps_mm": (0, 0, np.nan)}, "finite"),
    ],
)
def test_a_plane_that_would_distort_is_refused(change: dict, message: str) -> None:
    fields = {
        "centre_lps_mm": (0, 0, 0),
        "right_lps": (1, 0, 0),
        "down_lps": (0, 1, 0),
        "extent_mm": (10.0, 10.0),
        "size": (5, 5),
    }
    with pytest.raises(GeometryError, match=message):
        Plane(**{**fields, **change})


def test_wrong_requests_are_refused(plain_affine: NDArray[np.float64]) -> None:
    with pytest.raises(GeometryError, match="axial, coronal, sagittal"):
        standard_plane("oblique", (0, 0, 0), 10.0, 10)
    with pytest.raises(GeometryError, match="away from the target"):
        tool_frame((1, 2, 3), (1, 2, 3))
    with pytest.raises(GeometryError, match="order 0"):
        sample_plane(volume(np.zeros((2, 2, 2)), plain_affine), standard_plane("axial", (0, 0, 0), 1, 1), order=3)
