from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from prompts import Box, Click, GeometryError, PromptError, box_extent, click_index, first_box, next_click
from prompts.annotator import Looseness, inner_click, loose_box, outer_click, padded_box, slice_correction


def masks(shape=(9, 11, 13)):
    return np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)


def clicked_voxel(click, affine):
    index = click_index(click, affine)
    assert index == pytest.approx(np.rint(index), abs=1e-6)
    return tuple(np.rint(index).astype(int).tolist())


# --- next_click ---


def test_a_missed_cube_is_clicked_in_its_middle(grid_affine):
    reference, predicted = masks()
    reference[2:7, 3:8, 4:9] = True
    click = next_click(reference, predicted, grid_affine)
    assert click.positive
    assert clicked_voxel(click, grid_affine) == (4, 5, 6)


def test_what_was_segmented_too_much_gets_a_negative_click(grid_affine):
    reference, predicted = masks()
    predicted[2:7, 3:8, 4:9] = True
    click = next_click(reference, predicted, grid_affine)
    assert not click.positive
    assert clicked_voxel(click, grid_affine) == (4, 5, 6)


def test_the_largest_of_several_errors_is_corrected(grid_affine):
    reference, predicted = masks()
    reference[0:3, 0:3, 0:3] = True  # 27 voxels missed
    predicted[5:8, 6:9, 6:10] = True  # 36 voxels too many
    assert not next_click(reference, predicted, grid_affine).positive


def test_voxels_that_touch_at_a_corner_are_one_error(grid_affine):
    reference, predicted = masks()
    reference[0:2, 0:2, 0:2] = reference[2:4, 2:4, 2:4] = True  # 16 voxels with 26 neighbours, two times 8 with fewer
    predicted[6:9, 6:8, 6:8] = True  # 12 voxels
    assert next_click(reference, predicted, grid_affine).positive


def test_the_middle_is_measured_in_voxels_and_not_in_millimetres(oblique_affine):
    """A slab of 3 × 15 × 15 voxels is 2 voxels deep along its whole middle slice; in mm it is deepest at its centre."""
    reference, predicted = masks((5, 17, 17))
    reference[1:4, 1:16, 1:16] = True
    drawn = np.array(
        [
            clicked_voxel(next_click(reference, predicted, oblique_affine, seed=seed), oblique_affine)
            for seed in range(60)
        ]
    )
    assert set(drawn[:, 0]) == {2}
    assert drawn[:, 1:].min(axis=0).tolist() == [2, 2] and drawn[:, 1:].max(axis=0).tolist() == [14, 14]


def test_beyond_the_volume_there_is_no_error(grid_affine):
    reference, predicted = masks((5, 5, 5))
    reference[...] = True
    assert clicked_voxel(next_click(reference, predicted, grid_affine), grid_affine) == (2, 2, 2)


def test_among_equally_deep_voxels_the_seed_draws_the_one_the_challenge_would(plain_affine):
    reference, predicted = masks()
    reference[4, 5, 2:6] = (
        True  # a line of four voxels, all of depth 1; numpy's legacy generator, seed 42, draws number 2
    )
    assert clicked_voxel(next_click(reference, predicted, plain_affine), plain_affine) == (4, 5, 4)
    drawn = {
        clicked_voxel(next_click(reference, predicted, plain_affine, seed=seed), plain_affine) for seed in range(40)
    }
    assert drawn == {(4, 5, column) for column in range(2, 6)}


def test_without_an_error_there_is_no_click(grid_affine):
    reference, _ = masks()
    reference[2:4, 2:4, 2:4] = True
    assert next_click(reference, reference.copy(), grid_affine) is None


def test_an_annotator_who_paints_what_was_clicked_ends_with_the_reference(grid_affine):
    reference, predicted = masks()
    reference[2:5, 3:6, 4:6] = True
    predicted[3:8, 3:6, 5:9] = True
    clicks = 0
    while (click := next_click(reference, predicted, grid_affine)) is not None:
        predicted[clicked_voxel(click, grid_affine)] = click.positive
        clicks += 1
    assert (predicted == reference).all()
    assert clicks == 3 * 3 * 2 + 5 * 3 * 4 - 2 * 2 * 3 * 1  # symmetric difference: 18 + 60 − 2 · (2 · 3 · 1)


def brute_force_depth(component):
    """Distance in voxels to the nearest voxel outside, by comparing all with all."""
    padded = np.pad(component, 1)
    inside, outside = np.argwhere(padded), np.argwhere(~padded)
    depth = np.zeros(padded.shape)
    depth[tuple(inside.T)] = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(axis=2).min(axis=1))
    return depth[1:-1, 1:-1, 1:-1]


def brute_force_components(error):
    """26-connected groups by flooding."""
    left, groups = {tuple(voxel) for voxel in np.argwhere(error)}, []
    while left:
        front, group = [left.pop()], set()
        while front:
            voxel = front.pop()
            group.add(voxel)
            near = {other for other in left if max(abs(a - b) for a, b in zip(voxel, other, strict=True)) <= 1}
            left -= near
            front.extend(near)
        groups.append(group)
    return groups


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    reference=numpy_strategies.arrays(bool, (3, 5, 6)),
    predicted=numpy_strategies.arrays(bool, (3, 5, 6)),
    seed=st.integers(0, 5),
)
def test_the_click_is_where_comparing_all_voxels_with_all_others_puts_it(reference, predicted, seed):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    click = next_click(reference, predicted, affine, seed=seed)
    groups = brute_force_components(reference != predicted)
    if not groups:
        assert click is None
        return
    voxel = clicked_voxel(click, affine)
    group = next(group for group in groups if voxel in group)
    assert len(group) == max(len(other) for other in groups)
    component = np.zeros(reference.shape, dtype=bool)
    component[tuple(np.array(sorted(group)).T)] = True
    depth = brute_force_depth(component)
    assert depth[voxel] == depth.max()
    assert click.positive == reference[voxel]
    assert click == next_click(reference, predicted, affine, seed=seed)


# --- first_box ---


def test_the_first_box_lies_on_the_middle_of_the_slices_that_hold_the_structure(grid_affine):
    reference, _ = masks((9, 20, 20))
    reference[[1, 2, 7, 8], 5:9, 6:12] = True  # unique slices 1, 2, 7, 8: number 4 // 2 is slice 7
    extent = box_extent(first_box(reference, grid_affine, 0, seed=0), grid_affine, reference.shape)
    assert extent.axis == 0
    assert extent.index_range.tolist() == [[7, 7], [5, 8], [6, 11]]  # 20 pixels a side: 5 × 20 / 256 is below one pixel


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_first_box_grows_by_a_whole_number_of_steps_from_none_to_five(grid_affine, axis):
    shape = [256, 256, 256]
    shape[axis] = 3
    reference = np.zeros(shape, dtype=bool)
    low, high = np.array([100, 110, 120]), np.array([140, 160, 180])
    low[axis] = high[axis] = 1
    reference[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] = True
    growths = []
    for seed in range(60):
        extent = box_extent(first_box(reference, grid_affine, axis, seed=seed), grid_affine, shape)
        assert extent.axis == axis
        in_plane = [other for other in range(3) if other != axis]
        grown = {*(low - extent.low_index)[in_plane].tolist(), *(extent.high_index - high)[in_plane].tolist()}
        assert len(grown) == 1
        growths.append(grown.pop())
    assert set(growths) == {0, 1, 2, 3, 4, 5}


def test_a_step_is_a_256th_of_the_side_rounded_down(plain_affine):
    reference = np.zeros((1, 512, 300), dtype=bool)
    reference[0, 200:300, 100:200] = True
    for seed in range(30):
        extent = box_extent(first_box(reference, plain_affine, 0, seed=seed), plain_affine, reference.shape)
        rows, columns = 200 - int(extent.low_index[1]), 100 - int(extent.low_index[2])
        step = rows // 2
        assert (rows, columns) == (2 * step, int(step * 300 / 256))


def test_the_first_box_stays_in_the_image(plain_affine):
    reference = np.ones((1, 256, 256), dtype=bool)
    box = first_box(reference, plain_affine, 0, seed=3)
    assert box == Box((0, 0, 0), (255, 255, 0))


@pytest.mark.parametrize("column", [0, 10, 19])
def test_a_structure_of_one_voxel_gets_a_box_that_has_an_extent(grid_affine, column):
    reference, _ = masks((9, 20, 20))
    reference[4, 7, column] = True
    extent = box_extent(first_box(reference, grid_affine, 0, seed=0), grid_affine, reference.shape)
    assert extent.axis == 0
    assert reference[extent.slices].any()


def test_the_same_seed_draws_the_same_box(grid_affine):
    reference = np.zeros((3, 256, 256), dtype=bool)
    reference[1, 100:120, 90:95] = True
    assert first_box(reference, grid_affine, 0, seed=5) == first_box(reference, grid_affine, 0, seed=5)


def test_a_first_box_and_clicks_on_a_real_structure_lie_in_its_volume(shared_data):
    nibabel = pytest.importorskip("nibabel")
    labels = nibabel.load(shared_data / "cases" / "mr_hippocampus_006" / "labels.nii.gz")
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ labels.affine
    reference = np.asarray(labels.dataobj) == 1
    extent = box_extent(first_box(reference, affine, 1, seed=0), affine, reference.shape)
    assert extent.axis == 1
    on_slice = np.zeros(reference.shape, dtype=bool)
    on_slice[extent.slices] = True
    plane = np.zeros(reference.shape, dtype=bool)
    plane[:, extent.low_index[1], :] = True
    assert reference[on_slice].sum() == reference[plane].sum() > 0
    click = next_click(reference, np.zeros_like(reference), affine)
    assert isinstance(click, Click) and click.positive
    assert reference[clicked_voxel(click, affine)]


# --- clicks on slices ---


def test_the_correction_falls_into_the_largest_error_with_its_sign():
    reference = np.zeros((40, 40), dtype=bool)
    reference[5:25, 5:25] = True
    predicted = reference.copy()
    predicted[5:15, 5:25] = False
    predicted[30:34, 30:34] = True
    for seed in range(8):
        (row, column), positive = slice_correction(reference, predicted, np.random.default_rng(seed))
        assert positive
        assert 5 <= row < 15 and 5 <= column < 25
    (row, column), positive = slice_correction(reference, reference | predicted, np.random.default_rng(0))
    assert not positive
    assert 30 <= row < 34 and 30 <= column < 34
    assert slice_correction(reference, reference, np.random.default_rng(0)) is None


def test_clicks_fall_inside_and_outside_as_named():
    mask = np.zeros((30, 30), dtype=bool)
    mask[10:18, 4:27] = True
    for seed in range(20):
        rng = np.random.default_rng(seed)
        row, column = inner_click(mask, rng).astype(int)
        assert mask[row, column]
        row, column = outer_click(mask, rng).astype(int)
        assert not mask[row, column]
    assert outer_click(np.ones((5, 5), dtype=bool), np.random.default_rng(0)) is None


# --- loose boxes ---


@pytest.mark.parametrize("looseness", Looseness)
def test_every_looseness_pads_within_its_bounds(looseness):
    reference = np.zeros((256, 512), dtype=bool)
    reference[100:120, 200:300] = True
    low, high, extent = np.array([100, 200]), np.array([119, 299]), np.array([20, 100])
    sides = np.array(reference.shape)
    least, most = {
        Looseness.EVEN: (0 * sides, 5 / 256 * sides),
        Looseness.UNEVEN: (0 * sides, 5 / 256 * sides),
        Looseness.PRECISE: (-0.06 * extent, 0.06 * extent),
        Looseness.HASTY: (-0.04 * extent, 0.15 * extent),
    }[looseness]
    for seed in range(100):
        box = loose_box(reference, looseness, np.random.default_rng(seed))
        for padding in (low - box[0], box[1] - high):
            assert (padding >= least).all() and (padding <= most).all()


def test_a_bounded_padding_stays_below_a_share_of_the_extent_and_a_crop_does_not_clip_its_box():
    reference = np.zeros((12, 12), dtype=bool)
    reference[4:8, 0:6] = True
    rng = np.random.default_rng(0)
    boxes = np.array([loose_box(reference, Looseness.EVEN, rng, most=0.5, side=512.0) for _ in range(60)])
    assert boxes.min(axis=0)[0].tolist() == [2, -3]
    assert boxes.max(axis=0)[1].tolist() == [9, 8]
    assert loose_box(reference, Looseness.EVEN, rng).min() >= 0


def test_a_box_is_padded_by_one_number_or_one_for_each_axis_or_side():
    reference = np.zeros((9, 9), dtype=bool)
    reference[3:5, 4:8] = True
    assert padded_box(reference, 0).tolist() == [[3, 4], [4, 7]]
    assert padded_box(reference, [1, 2]).tolist() == [[2, 2], [5, 8]]
    assert padded_box(reference, [[1, 2], [0, 3]], clipped=False).tolist() == [[2, 2], [4, 10]]
    with pytest.raises(PromptError, match="got an empty mask"):
        padded_box(np.zeros((3, 3), dtype=bool), 1)


# --- what is refused ---


def test_an_empty_structure_has_no_box(plain_affine):
    with pytest.raises(PromptError, match="got an empty mask"):
        first_box(masks()[0], plain_affine, 0, seed=0)


def test_slices_one_voxel_wide_hold_no_box(plain_affine):
    with pytest.raises(PromptError, match="one along array axis 2"):
        first_box(np.ones((4, 5, 1), dtype=bool), plain_affine, 0, seed=0)


@pytest.mark.parametrize("mask", [np.ones((3, 3), dtype=bool), np.ones((3, 3, 3)), [[[True]]]])
def test_only_bool_volumes_are_masks(plain_affine, mask):
    with pytest.raises(GeometryError, match="the reference as a 3D bool array"):
        first_box(mask, plain_affine, 0, seed=0)
    with pytest.raises(GeometryError, match="the prediction as a 3D bool array"):
        next_click(np.ones((3, 3, 3), dtype=bool), mask, plain_affine)


def test_masks_of_two_grids_and_axes_that_are_none_are_refused(plain_affine):
    with pytest.raises(GeometryError, match="two masks of one grid"):
        next_click(masks()[0], masks((3, 3, 3))[0], plain_affine)
    for axis in (-1, 3):
        with pytest.raises(GeometryError, match="array axis 0, 1 or 2"):
            first_box(np.ones((3, 3, 3), dtype=bool), plain_affine, axis, seed=0)
    with pytest.raises(GeometryError):
        next_click(*masks(), np.eye(3))
