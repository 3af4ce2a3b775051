"""Every score can be redone by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.lab.evaluation.scores import area_under_scores, clicks_to, dice, end_scores, score


def cube(shift=0, shape=(24, 24, 24), side=10):
    mask = np.zeros(shape, dtype=bool)
    mask[5 + shift : 5 + shift + side, 5 : 5 + side, 5 : 5 + side] = True
    return mask


def test_dice_of_known_masks():
    a = np.zeros((4, 4), dtype=bool)
    b = a.copy()
    a[:2], b[1:3] = True, True
    assert dice(a, b) == pytest.approx(2 * 4 / 16)
    assert dice(a, a) == 1.0
    assert dice(a, ~a) == 0.0


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_a_cube_shifted_by_n_of_its_ten_voxels_overlaps_by_the_rest_and_lies_n_mm_away(shift):
    found = score(cube(), cube(shift), (1.0, 1.0, 1.0))
    assert found.dice == pytest.approx((10 - shift) / 10)
    assert found.hd95_mm == pytest.approx(shift)
    within = (found.surface_dice_1mm, found.surface_dice_2mm, found.surface_dice_5mm)
    for tolerance_mm, share in zip((1, 2, 5), within, strict=True):
        assert (share == pytest.approx(1.0)) == (tolerance_mm >= shift)


def test_distances_are_in_mm_of_the_axis_along_which_a_mask_is_off():
    along_thick = score(cube(), cube(1), (2.5, 1.0, 1.0))
    assert along_thick.hd95_mm == pytest.approx(2.5)
    assert along_thick.surface_dice_2mm < 1 == pytest.approx(along_thick.surface_dice_5mm)
    assert score(cube(), cube(1), (1.0, 2.5, 2.5)).hd95_mm == pytest.approx(1.0)


def test_of_a_plate_moved_off_along_its_normal_the_facing_sides_are_near_and_the_far_ones_are_not():
    plate = np.zeros((60, 60, 24), dtype=bool)
    plate[10:50, 10:50, 5:8] = True
    found = score(plate, np.roll(plate, 6, axis=2), (1.0, 1.0, 1.0))  # facing sides 3 mm apart, the far ones 6 mm
    side, rim = 40 * 40, 4 * 40 * 3
    assert found.dice == found.surface_dice_2mm == 0.0
    assert found.surface_dice_5mm == pytest.approx((side + rim * 2 / 3) / (2 * side + rim), abs=0.03)
    assert found.hd95_mm == pytest.approx(6.0)


def test_a_slice_is_scored_as_a_volume_is():
    found = score(cube()[6], np.roll(cube()[6], 2, axis=0), (1.0, 1.0))
    assert found.dice == pytest.approx(0.8)
    assert (found.surface_dice_1mm < 1, found.surface_dice_2mm) == (True, pytest.approx(1.0))
    assert found.hd95_mm == pytest.approx(2.0)


def test_two_empty_masks_agree_and_a_miss_is_as_far_as_the_grid_is_long():
    empty = np.zeros((3, 4, 12), dtype=bool)
    both = score(empty, empty, (1.0, 1.0, 1.0))
    assert (both.dice, both.surface_dice_2mm, both.hd95_mm) == (1.0, 1.0, 0.0)
    assert dice(empty, empty) == 1.0
    ball = empty.copy()
    ball[1, 2, 3] = True
    for reference, predicted in ((ball, empty), (empty, ball)):
        missed = score(reference, predicted, (1.0, 1.0, 1.0))
        assert (missed.dice, missed.surface_dice_5mm) == (0.0, 0.0)
        assert missed.hd95_mm == pytest.approx(13.0)  # 3, 4, 12


def test_masks_of_two_grids_and_spacings_for_another_number_of_axes_are_refused():
    with pytest.raises(GeometryError, match="one 2D or 3D grid"):
        score(cube(), cube()[:-1], (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="2 spacings"):
        score(cube(), cube(), (1.0, 1.0))


def test_slices_past_the_ends_and_slices_left_out_are_counted():
    reference, found = np.zeros((10, 3, 3), dtype=bool), np.zeros((10, 3, 3), dtype=bool)
    reference[3:7, 1, 1] = True
    found[[1, 2, 3, 6, 7], 1, 1] = True
    assert end_scores(reference, found, 0).slices_beyond == 3  # 1, 2 and 7
    assert end_scores(reference, found, 0).slices_missed == 2  # 4 and 5
    assert end_scores(reference, reference, 0).slices_beyond == end_scores(reference, reference, 0).slices_missed == 0
    with pytest.raises(GeometryError, match="empty"):
        end_scores(found & False, found, 0)


def test_the_area_is_that_of_trapezoids_one_click_wide():
    assert area_under_scores([0.0, 1.0, 1.0]) == pytest.approx(0.5 + 1.0)
    assert area_under_scores([1.0] * 5) == pytest.approx(4.0)
    assert area_under_scores([0.7]) == 0.0


def test_clicks_are_counted_to_the_first_score_that_suffices():
    assert clicks_to([0.5, 0.79, 0.80, 0.6], 0.80) == 2
    assert clicks_to([0.95], 0.90) == 0
    assert clicks_to([0.5, 0.6], 0.90) is None
