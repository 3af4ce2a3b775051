"""Where a screen position lies in the patient, and which side of the screen is which side of the patient."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.service.display import Plane, SliceDisplay, display_for, display_windows, side_letters

SHAPE = (6, 7, 9)


def volume(affine: NDArray[np.float64], array: NDArray[np.float32] | None = None) -> highdicom.Volume:
    values = np.zeros(SHAPE, dtype=np.float32) if array is None else array
    return highdicom.Volume(array=values, affine=affine, coordinate_system="PATIENT")


def windows_of(study: highdicom.Volume) -> dict[str, dict[str, float]]:
    """As the workbench asks for them."""
    return display_windows(study, normalisation_for(study, None, "full"))


@pytest.fixture(params=["plain", "oblique", "mirrored"])
def affine(
    request: pytest.FixtureRequest, plain_affine: NDArray[np.float64], oblique_affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    mirrored = np.diag([-1.0, 2.0, -3.0, 1.0])
    return {"plain": plain_affine, "oblique": oblique_affine, "mirrored": mirrored}[request.param]


@pytest.mark.parametrize("plane", Plane)
def test_a_click_goes_to_the_patient_and_back(affine: NDArray[np.float64], plane: Plane) -> None:
    display = display_for(volume(affine), plane)
    for slice_index, column, row in [(0, 0, 0), (2, 3.25, 1.5), (display.slice_count - 1, display.size[0] - 1, 2)]:
        back = display.screen_from_lps(display.lps_at(slice_index, column, row))
        np.testing.assert_allclose(back, [column, row, slice_index], atol=1e-9)


@pytest.mark.parametrize("plane", Plane)
def test_the_voxel_under_a_pixel_is_the_voxel_that_is_drawn(affine: NDArray[np.float64], plane: Plane) -> None:
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    display = display_for(volume(affine, array), plane)
    picture = display.picture(array, 3)
    assert picture.shape == display.size[::-1]
    for column, row in [(0, 0), (display.size[0] - 1, 0), (2, display.size[1] - 1)]:
        assert picture[row, column] == array[tuple(display.index_at(3, column, row).astype(int))]


@pytest.mark.parametrize("plane", Plane)
def test_a_step_on_the_screen_is_a_step_of_the_stated_size(affine: NDArray[np.float64], plane: Plane) -> None:
    display = display_for(volume(affine), plane)
    right, down = display.lps_steps
    here = display.lps_at(2, 1, 1)
    np.testing.assert_allclose(display.lps_at(2, 2, 1) - here, right)
    np.testing.assert_allclose(display.lps_at(2, 1, 2) - here, down)
    np.testing.assert_allclose([np.linalg.norm(right), np.linalg.norm(down)], display.pixel_mm)


@pytest.mark.parametrize(
    ("plane", "letters"),
    [
        (Plane.AXIAL, {"left": "R", "right": "L", "top": "A", "bottom": "P"}),
        (Plane.CORONAL, {"left": "R", "right": "L", "top": "S", "bottom": "I"}),
        (Plane.SAGITTAL, {"left": "A", "right": "P", "top": "S", "bottom": "I"}),
    ],
)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_the_view_is_radiological_however_the_array_runs(
    plane: Plane, letters: dict[str, str], signs: tuple[int, int, int]
) -> None:
    for order in ([2, 1, 0], [0, 1, 2], [1, 2, 0]):
        affine = np.eye(4)
        affine[:3, :3] = (np.eye(3) * np.array(signs))[:, order]
        assert display_for(volume(affine), plane).letters == letters


def test_a_known_place_is_shown_on_its_side() -> None:
    """Left of the patient, towards the back and the head: right and low on axial, right and high on coronal."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    whole = volume(affine)
    place = (12.0, 10.0, 14.0)
    axial, coronal, sagittal = (display_for(whole, plane).screen_from_lps(place) for plane in Plane)
    np.testing.assert_allclose(axial, [6, 5, 7])
    np.testing.assert_allclose(coronal, [6, 8 - 7, 5])
    np.testing.assert_allclose(sagittal, [5, 8 - 7, 6])


def test_each_plane_takes_another_array_axis_even_at_45_degrees() -> None:
    """Two axes at 45° between left and back: each alone could claim either direction."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, -1, 0], [1, 1, 0], [0, 0, np.sqrt(2)]]) / np.sqrt(2)
    assert sorted(display_for(volume(affine), plane).axis for plane in Plane) == [0, 1, 2]


def test_letters_name_a_slant_that_can_be_seen() -> None:
    assert side_letters([1, 0, 0]) == "L"
    assert side_letters([-0.98, 0.1, 0.05]) == "R"
    assert side_letters([np.cos(np.deg2rad(30)), 0, -np.sin(np.deg2rad(30))]) == "LI"
    assert side_letters([0, -0.6, 0.8]) == "SA"


def test_opposite_sides_carry_opposite_letters(affine: NDArray[np.float64]) -> None:
    opposite = str.maketrans("LRPASI", "RLAPIS")
    for plane in Plane:
        letters = display_for(volume(affine), plane).letters
        assert letters["left"].translate(opposite) == letters["right"]
        assert letters["top"].translate(opposite) == letters["bottom"]


def test_a_ct_begins_in_the_soft_tissue_window_and_an_mr_in_its_own_range(plain_affine: NDArray[np.float64]) -> None:
    hounsfield = np.full(SHAPE, -1000, dtype=np.float32)
    hounsfield[2:] = 40
    assert next(iter(windows_of(volume(plain_affine, hounsfield)).items())) == (
        "soft-tissue",
        {"centre": 40.0, "width": 400.0},
    )
    signal = np.linspace(0, 1000, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE)
    windows = windows_of(volume(plain_affine, signal))
    assert "soft-tissue" not in windows
    assert windows["full"] == {"centre": 500.0, "width": 1000.0}


def test_an_image_without_contrast_is_refused(plain_affine: NDArray[np.float64]) -> None:
    with pytest.raises(StudyError):
        windows_of(volume(plain_affine))


def test_upright_turns_a_section_as_the_picture_is_turned(affine: NDArray[np.float64]) -> None:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    for plane in Plane:
        display: SliceDisplay = display_for(volume(affine, array), plane)
        section = np.moveaxis(array, display.axis, 0)[2]
        np.testing.assert_array_equal(display.upright(section), display.picture(array, 2))
