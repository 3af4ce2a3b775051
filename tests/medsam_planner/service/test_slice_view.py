"""One view: lossless grey, outlines in the right pixels, prompts and marks on their slices."""

from __future__ import annotations

import base64
import io
from typing import Any

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medsam_planner.service.display import Plane, display_for
from medsam_planner.service.slice_view import (
    Layers,
    Mark,
    Outline,
    OverlayMap,
    ViewRequest,
    exact_values,
    grey_png,
    outlines,
    overlay_png,
    view,
)
from prompts import Box, Click, Edit, InitialMask, VoxelMask

SHAPE = (8, 20, 30)


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_grey_values_are_the_window_without_loss() -> None:
    """Centre 40, width 400: −160 is black, 240 white, 40 the middle."""
    picture = np.array([[-1000, -160, 40, 240, 3000]], dtype=np.float32)
    np.testing.assert_array_equal(pixels(grey_png(picture, -160, 240)), [[0, 0, 128, 255, 255]])


def test_whole_values_travel_as_16_bits_and_all_others_as_they_are() -> None:
    whole = np.array([[-1024, 0, 3071]], dtype=np.float32)
    assert exact_values(whole).dtype == np.int16
    np.testing.assert_array_equal(exact_values(whole), whole)
    for other in (whole + 0.5, whole * 100):
        assert exact_values(other).dtype == np.float32
        np.testing.assert_array_equal(exact_values(other), other.astype(np.float32))


def test_an_outline_runs_where_the_probability_crosses_one_half() -> None:
    """Voxels 4 to 8 along rows and 5 to 9 along columns are inside: the line is half a voxel farther out."""
    picture = np.zeros((20, 30), dtype=np.float32)
    picture[4:9, 5:10] = 1
    (line,) = outlines(picture)
    columns, rows = np.array(line).T
    assert (columns.min(), columns.max()) == (4.5, 9.5)
    assert (rows.min(), rows.max()) == (3.5, 8.5)
    assert line[0] == line[-1]


def test_a_structure_at_the_edge_of_the_slice_keeps_a_closed_outline() -> None:
    picture = np.zeros((20, 30), dtype=np.float32)
    picture[0:3, 0:3] = 1
    (line,) = outlines(picture)
    assert line[0] == line[-1]
    assert np.array(line).min() == -0.5


def test_nothing_has_no_outline() -> None:
    assert outlines(np.full((5, 5), 0.4, dtype=np.float32)) == []


def test_the_lowest_value_of_a_map_is_clear_and_the_highest_opaque() -> None:
    scale = OverlayMap("uncertainty", "uncertainty", "bit", np.zeros(SHAPE), 0.0, 1.0, "magma")
    found = pixels(overlay_png(np.array([[0.0, 1.0]]), scale))
    assert found[0, 0, 3] == 0
    assert found[0, 1, 3] == 255


@pytest.fixture(params=["plain", "oblique"])
def study(
    request: pytest.FixtureRequest, plain_affine: NDArray[np.float64], oblique_affine: NDArray[np.float64]
) -> highdicom.Volume:
    affine = plain_affine if request.param == "plain" else oblique_affine
    array = np.random.default_rng(1).normal(0, 100, SHAPE).astype(np.float32)
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


def shown(
    study: highdicom.Volume, plane: Plane, index: int, layers: Layers, overlay: str = "outline"
) -> dict[str, Any]:
    return view(display_for(study, plane), ViewRequest(index, overlay), layers)


@pytest.mark.parametrize("plane", Plane)
def test_the_outline_of_a_mask_lies_on_its_voxels(study: highdicom.Volume, plane: Plane) -> None:
    probability = np.zeros(SHAPE, dtype=np.float32)
    probability[2:6, 5:11, 8:20] = 1
    display = display_for(study, plane)
    index = {0: 3, 1: 7, 2: 12}[display.axis]
    document = shown(study, plane, index, Layers(outlines=(Outline("lesion", "#ffffff", probability, {}, True),)))
    (drawn,) = document["outlines"]
    corners = display.screen_from_index([[2, 5, 8], [5, 10, 19]])
    expected_low, expected_high = corners.min(axis=0)[:2] - 0.5, corners.max(axis=0)[:2] + 0.5
    line = np.concatenate([np.array(part) for part in drawn["lines"]])
    np.testing.assert_allclose(line.min(axis=0), expected_low, atol=1e-6)
    np.testing.assert_allclose(line.max(axis=0), expected_high, atol=1e-6)


@pytest.mark.parametrize("plane", Plane)
def test_a_mask_by_hand_is_seen_in_the_outline_and_not_drawn_as_a_prompt(study: highdicom.Volume, plane: Plane) -> None:
    mask = VoxelMask.from_array(np.ones(SHAPE, dtype=bool), study.affine)
    assert shown(study, plane, 2, Layers(prompts=(InitialMask(mask), Edit(mask))))["prompts"] == []


@pytest.mark.parametrize("plane", Plane)
def test_a_prompt_is_strong_on_its_slice_faint_beside_it_and_gone_far_away(
    study: highdicom.Volume, plane: Plane
) -> None:
    display = display_for(study, plane)
    step_mm = np.linalg.norm(study.affine[:3, display.axis])
    layers = Layers(prompts=(Click(display.lps_at(2, 3.0, 4.0), positive=False),))
    (here,) = shown(study, plane, 2, layers)["prompts"]
    np.testing.assert_allclose(here["points"], [[3.0, 4.0]], atol=1e-9)
    assert (here["positive"], here["faint"]) == (False, False)
    (beside,) = shown(study, plane, 3, layers)["prompts"]
    assert beside["faint"]
    far = 2 + int(np.ceil(10.0 / step_mm)) + 1
    if far < display.slice_count:
        assert shown(study, plane, far, layers)["prompts"] == []


@pytest.mark.parametrize("plane", Plane)
def test_a_box_is_drawn_around_the_voxels_it_holds(study: highdicom.Volume, plane: Plane) -> None:
    display = display_for(study, plane)
    box = Box(display.lps_at(1, 2, 1), display.lps_at(1, 5, 4))
    (drawn,) = shown(study, plane, 1, Layers(prompts=(box,)))["prompts"]
    np.testing.assert_allclose(drawn["rectangle"], [1.5, 0.5, 5.5, 4.5], atol=1e-6)


def test_a_sphere_shrinks_with_the_distance_of_the_slice(plain_affine: NDArray[np.float64]) -> None:
    """Radius 5, three slices of 1 mm away: 4."""
    study = highdicom.Volume(array=np.ones((20, 20, 20)), affine=plain_affine, coordinate_system="PATIENT")
    mark = Mark("target", "target", np.array([[4.0, 5.0, 6.0]]), radius_mm=5.0)
    (drawn,) = shown(study, Plane.AXIAL, 9, Layers(marks=(mark,)))["marks"]
    assert drawn["radius_mm"] == pytest.approx(4.0)
    assert drawn["points"] == [[4.0, 5.0]]


def test_a_path_is_thick_where_it_meets_the_slice(plain_affine: NDArray[np.float64]) -> None:
    """From z = 0 to z = 10 with radius 1, slice z = 5: between 40 % and 60 % of the way."""
    study = highdicom.Volume(array=np.ones((12, 20, 20)), affine=plain_affine, coordinate_system="PATIENT")
    mark = Mark("path", "", np.array([[2.0, 2.0, 0.0], [8.0, 2.0, 10.0]]), radius_mm=1.0)
    (drawn,) = shown(study, Plane.AXIAL, 5, Layers(marks=(mark,)))["marks"]
    assert drawn["inside"] == pytest.approx([0.4, 0.6])
    (missed,) = shown(study, Plane.CORONAL, 9, Layers(marks=(mark,)))["marks"]
    assert missed["inside"] is None


def test_an_overlay_brings_its_colour_bar_with_unit(study: highdicom.Volume) -> None:
    spread = OverlayMap("boundary_spread_mm", "boundary spread", "mm", np.ones(SHAPE), 0.0, 2.5, "plasma")
    document = shown(study, Plane.AXIAL, 1, Layers(maps=(spread,)), overlay="boundary_spread_mm")
    assert (document["bar"]["unit"], document["bar"]["high"], document["bar"]["warning"]) == ("mm", 2.5, "")
    assert base64.b64decode(document["overlay"].partition(",")[2]).startswith(b"\x89PNG")
    assert shown(study, Plane.AXIAL, 1, Layers(maps=(spread,)), overlay="saliency")["bar"] is None


def test_a_slice_beyond_the_volume_becomes_the_last_one(study: highdicom.Volume) -> None:
    document = shown(study, Plane.AXIAL, 999, Layers())
    assert document["index"] == document["count"] - 1
