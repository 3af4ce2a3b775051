"""Slice and field map onto each other exactly; resampling neither shifts nor aliases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medsam_planner.engine.protocol import Crop, SlicePrompt
from medsam_planner.engine.zoom import best_crop, crop_to_slice, extract, paste, prompt_to_crop, slice_to_crop
from medsam_planner.errors import GeometryError

sides = st.floats(5, 300)
centres = st.floats(-20, 120)


@given(row=centres, column=centres, height=sides, width=sides, size=st.sampled_from([8, 96, 128]))
def test_positions_survive_the_way_to_the_model_and_back(row, column, height, width, size):
    crop = Crop((row, column), (height, width), size)
    positions = np.array([[0.0, 0.0], [13.25, 77.5], [-4.0, 101.0]])
    np.testing.assert_allclose(crop_to_slice(slice_to_crop(positions, crop), crop), positions, atol=1e-9)


def test_a_field_of_one_model_pixel_per_slice_pixel_copies_the_slice():
    image = np.random.default_rng(0).random((40, 50)).astype(np.float32)
    # Sixteen pixels around the corner between pixels 19|20 and 29|30: rows 12..27, columns 22..37.
    crop = Crop((19.5, 29.5), (16.0, 16.0), 16)
    np.testing.assert_allclose(extract(image, crop), image[12:28, 22:38], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(row=st.floats(20, 60), column=st.floats(20, 60), height=st.floats(10, 40), width=st.floats(10, 40))
def test_a_linear_ramp_is_read_at_exactly_the_mapped_positions(row, column, height, width):
    rows, columns = np.mgrid[:81, :83].astype(np.float64)
    ramp = 2.0 * rows - 0.5 * columns
    crop = Crop((row, column), (height, width), 24)
    model = np.stack(np.meshgrid(np.arange(24), np.arange(24), indexing="ij"), axis=-1)
    expected = crop_to_slice(model, crop) @ [2.0, -0.5]
    inner = slice(2, -2)
    np.testing.assert_allclose(extract(ramp, crop)[inner, inner], expected[inner, inner], atol=1e-3)


def test_shrinking_a_checkerboard_gives_grey_and_not_stripes():
    board = (np.indices((128, 128)).sum(axis=0) % 2).astype(np.float32)
    small = extract(board, Crop((63.5, 63.5), (120.0, 120.0), 24))
    np.testing.assert_allclose(small, 0.5, atol=0.01)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.5, 0.7)])
def test_a_disc_comes_back_from_the_field_where_it_was_to_a_tenth_of_a_pixel(spacing):
    rows, columns = np.mgrid[:60, :110].astype(np.float64)
    centre = (31.3, 52.7)
    distance_mm = np.hypot((rows - centre[0]) * spacing[0], (columns - centre[1]) * spacing[1]) - 14.0
    image = np.clip(-distance_mm, -4, 4)
    crop = Crop((30.0, 55.0), (50 / spacing[0], 50 / spacing[1]), 96)
    back = paste(extract(image, crop), crop, image.shape, fill=-9.0)
    inside = back > -8
    weights = np.clip(back, 0, None) * inside
    found = [(weights * grid).sum() / weights.sum() for grid in (rows, columns)]
    np.testing.assert_allclose(found, centre, atol=0.1)
    true_mask = image > 0
    assert 2 * (true_mask & (back > 0)).sum() / (true_mask.sum() + (back > 0).sum()) > 0.98


def test_a_field_square_in_millimetres_shows_a_round_disc_on_anisotropic_pixels():
    spacing = np.array([3.0, 1.0])
    rows, columns = np.mgrid[:40, :120].astype(np.float64)
    disc = (np.hypot((rows - 20) * 3.0, columns - 60) < 25).astype(np.float32)
    field = extract(disc, Crop((20.0, 60.0), tuple(80.0 / spacing), 80)) > 0.5
    filled = np.argwhere(field)
    height, width = filled.max(0) - filled.min(0) + 1
    assert abs(int(height) - int(width)) <= 2
    assert abs(int(width) - 50) <= 2


def test_outside_the_slice_the_edge_repeats_and_outside_the_field_the_fill_stands():
    image = np.tile(np.arange(10, dtype=np.float32), (10, 1))
    beyond = extract(image, Crop((4.5, -20.0), (10.0, 10.0), 10))
    np.testing.assert_array_equal(beyond, 0.0)
    pasted = paste(np.ones((8, 8), dtype=np.float32), Crop((2.0, 2.0), (4.0, 4.0), 8), (10, 10), fill=-20.0)
    assert set(np.unique(pasted)) == {-20.0, 1.0}
    # Pixels 0..4 have their centres within 2 ± 2.
    np.testing.assert_array_equal(pasted == 1.0, np.pad(np.ones((5, 5), dtype=bool), ((0, 5), (0, 5))))


def test_a_field_wholly_outside_the_slice_pastes_nothing():
    pasted = paste(np.ones((8, 8), dtype=np.float32), Crop((-50.0, 2.0), (4.0, 4.0), 8), (10, 10), fill=-3.0)
    np.testing.assert_array_equal(pasted, -3.0)


def test_several_maps_are_pasted_at_once_as_one_by_one():
    maps = np.random.default_rng(1).standard_normal((3, 12, 12)).astype(np.float32)
    crop = Crop((8.2, 9.1), (9.0, 14.0), 12)
    together = paste(maps, crop, (20, 20), fill=-20.0)
    for index in range(3):
        np.testing.assert_allclose(together[index], paste(maps[index], crop, (20, 20), fill=-20.0), atol=1e-6)


def test_box_points_and_mask_of_a_prompt_stay_on_the_same_pixels():
    mask = np.zeros((60, 60), dtype=np.float32)
    mask[20:31, 25:36] = 1.0
    crop = Crop((25.0, 30.0), (24.0, 24.0), 96)
    prompt = SlicePrompt(
        box=np.array([20.0, 25.0, 30.0, 35.0]),
        points=np.array([[25.0, 30.0]]),
        labels=np.array([True]),
        mask=mask,
    )
    mapped = prompt_to_crop(prompt, crop)
    np.testing.assert_allclose(mapped.points, [[47.5, 47.5]])
    rows, columns = np.nonzero(mapped.mask > 0.5)
    # Half a slice pixel, two model pixels, lies between a box through pixel centres and the mask's outer edge.
    np.testing.assert_allclose(
        [rows.min() + 2, columns.min() + 2, rows.max() - 2, columns.max() - 2], mapped.box, atol=0.75
    )
    assert mapped.labels is prompt.labels


def test_a_prompt_of_nothing_maps_to_nothing():
    assert prompt_to_crop(SlicePrompt(), Crop((1.0, 1.0), (4.0, 4.0), 8)).is_empty()


@pytest.mark.parametrize("crop", [Crop((1.0, 1.0), (0.0, 4.0), 8), Crop((np.nan, 1.0), (4.0, 4.0), 8)])
def test_a_field_without_extent_is_refused(crop):
    with pytest.raises(GeometryError, match="positive sides"):
        extract(np.zeros((4, 4)), crop)


def test_a_volume_or_a_map_of_another_size_is_refused():
    crop = Crop((1.0, 1.0), (4.0, 4.0), 8)
    with pytest.raises(GeometryError, match="slice of shape"):
        extract(np.zeros((4, 4, 4)), crop)
    with pytest.raises(GeometryError, match="8 x 8"):
        paste(np.zeros((7, 7), dtype=np.float32), crop, (4, 4))


def test_of_a_ladder_the_field_that_its_neighbours_confirm_is_believed():
    def disc(radius: float) -> np.ndarray:
        return np.hypot(*(np.indices((60, 60)) - 30)) < radius

    # The two middle fields agree (IoU 0.81), the outer ones see something else and are a little surer of it.
    masks = [disc(4), disc(18), disc(20), np.roll(disc(8), 20, axis=0)]
    assert best_crop([0.7, 0.6, 0.62, 0.7], masks) in (1, 2)
    assert best_crop([0.2, 0.9], masks[:2]) == 1
    assert best_crop([0.4], masks[:1]) == 0


def test_a_ladder_without_fields_is_refused():
    with pytest.raises(GeometryError, match="1 or more"):
        best_crop([], [])
