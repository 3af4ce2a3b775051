"""The shift between two slices, found where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.propagation.motion import STEEPEST_SLOPE, moved, slice_motion_px

SHAPE = (70, 90)


def _disc(row: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def _image(row: float, column: float, radius: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 0.05, SHAPE)
    return (np.where(_disc(row, column, radius), 0.8, 0.2) + noise).astype(np.float32)


@pytest.mark.parametrize("shift", [(3, -5), (-4, 0), (0, 2), (6, 6)])
def test_a_disc_that_moved_is_found_where_it_went(shift):
    image, onto = _image(30, 40, 5), _image(30 + shift[0], 40 + shift[1], 5, seed=1)
    assert slice_motion_px(_disc(30, 40, 5), image, onto, (1.0, 1.0), 5.0) == shift


def test_what_stays_or_changes_its_shape_in_place_does_not_move():
    image = _image(30, 40, 8)
    assert slice_motion_px(_disc(30, 40, 8), image, _image(30, 40, 8, seed=2), (1.0, 1.0), 3.0) == (0, 0)
    assert slice_motion_px(_disc(30, 40, 8), image, _image(30, 40, 6, seed=2), (1.0, 1.0), 3.0) == (0, 0)


def test_no_shift_is_longer_than_the_steepest_slope_allows():
    mask = _disc(30, 40, 5)
    far = _image(30, 52, 5, seed=1)
    row, column = slice_motion_px(mask, _image(30, 40, 5), far, (1.0, 1.0), 3.0)
    assert np.hypot(row, column) <= STEEPEST_SLOPE * 3.0


def test_reach_is_in_millimetres_along_either_axis():
    mask, image = _disc(30, 40, 5), _image(30, 40, 5)
    assert slice_motion_px(mask, image, _image(30, 48, 5, seed=1), (1.0, 0.5), 2.0) == (0, 8)
    assert slice_motion_px(mask, image, _image(38, 40, 5, seed=1), (1.0, 0.5), 2.0)[0] <= 4


def test_a_large_structure_is_left_to_the_model_when_it_moves_little():
    mask = _disc(35, 45, 30)
    assert slice_motion_px(mask, _image(35, 45, 30), _image(37, 45, 30, seed=1), (1.0, 1.0), 3.0) == (0, 0)


def test_a_flat_slice_gives_no_shift():
    flat = np.full(SHAPE, 0.3, dtype=np.float32)
    assert slice_motion_px(_disc(30, 40, 5), flat, flat, (1.0, 1.0), 3.0) == (0, 0)


@pytest.mark.parametrize("corner", [(2, 2), (67, 87)])
def test_structures_at_the_border_of_the_slice_are_matched_too(corner):
    mask = _disc(*corner, 4)
    inward = (corner[0] + (3 if corner[0] < 10 else -3), corner[1])
    found = slice_motion_px(mask, _image(*corner, 4), _image(*inward, 4, seed=1), (1.0, 1.0), 3.0)
    assert found == (inward[0] - corner[0], 0)


def test_fine_pixels_are_searched_in_larger_jumps():
    mask = _disc(30, 40, 12)
    found = slice_motion_px(mask, _image(30, 40, 12), _image(30, 52, 12, seed=1), (0.3, 0.3), 2.5)
    assert found[0] == 0
    assert abs(found[1] - 12) <= 2


def test_moving_there_and_back_keeps_the_middle_and_fills_the_border():
    values = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    there = moved(values, (4, -3), beyond=0.0)
    np.testing.assert_array_equal(there[4:, :-3], values[:-4, 3:])
    assert not there[:4].any()
    assert not there[:, -3:].any()
    np.testing.assert_array_equal(moved(values, (2, 0))[0], values[0])
    np.testing.assert_array_equal(moved(there, (-4, 3), beyond=0.0)[:-4, 3:], values[:-4, 3:])
    assert moved(values, (0, 0)) is values
