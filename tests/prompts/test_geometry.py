from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from prompts import Box, Click, GeometryError, PromptError, Scribble, box_extent, click_index, scribble_indices
from prompts.affine import lps_from_index, nearest_index
from prompts.geometry import slice_across

SHAPE = (12, 40, 30)

# The grid fixtures are constants, so sharing one between examples shares nothing.
each_grid = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
index_pairs = st.tuples(*[st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).map(sorted) for n in SHAPE])


def box_between(affine, low, high):
    return Box(*lps_from_index(affine, [low, high]))


@each_grid
@given(pairs=index_pairs, swaps=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_any_two_opposite_corners_mean_all_voxels_between_them_inclusive(grid_affine, pairs, swaps):
    low, high = np.transpose(pairs)
    assume((low == high).sum() <= 1)
    first, second = np.where(swaps, high, low), np.where(swaps, low, high)
    extent = box_extent(box_between(grid_affine, first, second), grid_affine, SHAPE)
    assert extent.low_index.tolist() == low.tolist()
    assert extent.high_index.tolist() == high.tolist()
    assert extent.index_range.tolist() == [list(pair) for pair in pairs]
    assert extent.axis == (int(np.flatnonzero(low == high)[0]) if (low == high).any() else None)
    assert extent.low == pytest.approx(low, abs=1e-9) and extent.high == pytest.approx(high, abs=1e-9)


@each_grid
@given(
    low=st.tuples(*[st.integers(-3 * 16, n * 8).map(lambda sixteenths: sixteenths / 16) for n in SHAPE]),
    size=st.tuples(*[st.integers(17, n * 8).map(lambda sixteenths: sixteenths / 16) for n in SHAPE]),
)
def test_the_voxels_of_a_box_are_those_whose_centres_lie_in_it(grid_affine, low, size):
    low = np.array(low)
    high = low + size
    box = box_between(grid_affine, low, high)
    centres = np.indices(SHAPE)
    expected = np.ones(SHAPE, dtype=bool)
    for axis in range(3):
        expected &= (centres[axis] >= low[axis] - 1e-3) & (centres[axis] <= high[axis] + 1e-3)
    if not expected.any() or ((np.floor(high + 1e-3) - np.ceil(low - 1e-3)) < 1).sum() > 1:
        with pytest.raises(PromptError):
            box_extent(box, grid_affine, SHAPE)
        return
    found = np.zeros(SHAPE, dtype=bool)
    found[box_extent(box, grid_affine, SHAPE).slices] = True
    assert (found == expected).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_box_one_slice_thick_is_2d_across_that_axis(grid_affine, axis):
    low, high = np.array([2, 3, 4]), np.array([8, 9, 10])
    low[axis] = high[axis] = 6
    extent = box_extent(box_between(grid_affine, low, high), grid_affine, SHAPE)
    assert extent.axis == axis
    assert extent.low_index[axis] == extent.high_index[axis] == 6


def test_a_box_on_a_slice_of_an_oblique_volume_runs_along_no_patient_axis_and_is_still_2d(oblique_affine):
    box = box_between(oblique_affine, (5, 10, 8), (5, 30, 20))
    assert (np.abs(np.subtract(box.corner_lps_mm, box.opposite_lps_mm)) > 1).all()
    extent = box_extent(box, oblique_affine, SHAPE)
    assert extent.axis == 0
    assert extent.index_range.tolist() == [[5, 5], [10, 30], [8, 20]]


def test_corners_rounded_to_a_hundredth_of_a_voxel_inwards_lose_their_voxels_and_to_half_a_thousandth_do_not(
    grid_affine,
):
    def drawn_short(by):
        return box_extent(box_between(grid_affine, (2 + by, 3, 4), (8, 9 - by, 10)), grid_affine, SHAPE)

    assert drawn_short(0.0005).index_range.tolist() == [[2, 8], [3, 9], [4, 10]]
    assert drawn_short(0.01).index_range.tolist() == [[3, 8], [3, 8], [4, 10]]


def test_a_box_between_two_slices_lies_on_the_nearer_one(grid_affine):
    for place, expected in ((4.3, 4), (4.5, 5), (4.7, 5)):
        extent = box_extent(box_between(grid_affine, (place, 3, 4), (place, 9, 10)), grid_affine, SHAPE)
        assert (extent.axis, extent.low_index[0], extent.high_index[0]) == (0, expected, expected)
        assert extent.low[0] == pytest.approx(place)


def test_a_line_is_no_box(grid_affine):
    with pytest.raises(PromptError, match="along the axes 0, 2"):
        box_extent(box_between(grid_affine, (5, 3, 4), (5, 9, 4.2)), grid_affine, SHAPE)


def test_a_box_smaller_than_a_voxel_is_refused(grid_affine):
    with pytest.raises(PromptError, match="along the axes 0, 1, 2"):
        box_extent(box_between(grid_affine, (5.1, 3.1, 4.1), (5.2, 3.2, 4.2)), grid_affine, SHAPE)


def test_a_box_that_reaches_out_is_cut_at_the_edge_and_keeps_its_sides(grid_affine):
    extent = box_extent(box_between(grid_affine, (-4, 5, 20), (3, 99, 50)), grid_affine, SHAPE)
    assert extent.index_range.tolist() == [[0, 3], [5, 39], [20, 29]]
    assert extent.low == pytest.approx([-4, 5, 20]) and extent.high == pytest.approx([3, 99, 50])


def test_a_3d_box_of_which_one_slice_lies_in_the_volume_is_no_2d_box(grid_affine):
    extent = box_extent(box_between(grid_affine, (-4, 5, 5), (0, 9, 9)), grid_affine, SHAPE)
    assert extent.axis is None
    assert extent.index_range[0].tolist() == [0, 0]


def test_on_a_volume_of_one_slice_every_box_is_2d(grid_affine):
    extent = box_extent(box_between(grid_affine, (-2, 5, 5), (2, 9, 9)), grid_affine, (1, 40, 30))
    assert extent.axis == 0
    assert extent.index_range[0].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        ((14, 3, 4), (16, 9, 10), "3.0 mm to the S past the nearest voxel"),
        ((-4, 3, 4), (-2, 9, 10), "2.0 mm to the I past"),
        ((2, 42, 33), (4, 50, 50), "5.0 mm to the P and L past"),
        ((-3, 3, 4), (-0.3, 9, 10), "0.3 mm to the I past"),
        ((-0.6, 3, 4), (-0.6, 9, 10), "0.6 mm to the I past"),
    ],
)
def test_a_box_outside_is_refused_with_distance_and_side(plain_affine, low, high, expected):
    with pytest.raises(PromptError, match=expected):
        box_extent(box_between(plain_affine, low, high), plain_affine, SHAPE)


def test_flipping_an_axis_of_the_array_mirrors_the_voxels_and_nothing_else(grid_affine):
    box = box_between(grid_affine, (2, 3, 4), (8, 9, 10))
    for axis in range(3):
        flipped = grid_affine.copy()
        flipped[:, 3] += flipped[:, axis] * (SHAPE[axis] - 1)
        flipped[:, axis] *= -1
        expected = np.array([[2, 8], [3, 9], [4, 10]])
        expected[axis] = SHAPE[axis] - 1 - expected[axis, ::-1]
        assert box_extent(box, flipped, SHAPE).index_range.tolist() == expected.tolist()


def test_permuting_the_axes_of_the_array_permutes_the_voxels(grid_affine):
    box = box_between(grid_affine, (2, 3, 4), (2, 9, 10))
    for order in itertools.permutations(range(3)):
        extent = box_extent(box, grid_affine[:, [*order, 3]], [SHAPE[axis] for axis in order])
        assert extent.axis == order.index(0)
        assert extent.low_index.tolist() == [(2, 3, 4)[axis] for axis in order]


@pytest.mark.parametrize("factor", [0.4, 0.5, 1.7, 3.0])
def test_a_2d_box_stays_2d_on_a_resampled_copy(grid_affine, factor):
    resampled = grid_affine.copy()
    resampled[:3, :3] *= factor
    extent = box_extent(box_between(grid_affine, (5, 10, 4), (5, 30, 24)), resampled, (80, 150, 100))
    assert extent.axis == 0
    assert abs(extent.low_index[0] - 5 / factor) <= 0.5
    assert (extent.low_index[1:] * factor >= np.array([10, 4]) - 1e-2).all()
    assert (extent.high_index[1:] * factor <= np.array([30, 24]) + 1e-2).all()


def test_an_extent_cannot_be_changed(plain_affine):
    extent = box_extent(box_between(plain_affine, (2, 3, 4), (8, 9, 10)), plain_affine, SHAPE)
    for array in (extent.low, extent.high, extent.low_index, extent.high_index):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_grid_that_is_none_is_refused(plain_affine):
    box = Box((0, 0, 0), (5, 5, 5))
    with pytest.raises(GeometryError):
        box_extent(box, np.zeros((4, 4)), SHAPE)
    with pytest.raises(GeometryError):
        box_extent(box, plain_affine, (3, 4))
    with pytest.raises(GeometryError):
        click_index(Click((0, 0, 0)), np.eye(3))
    with pytest.raises(GeometryError):
        scribble_indices(Scribble([(0, 0, 0)]), np.eye(3), SHAPE)


def test_a_box_of_one_patients_ct_surrounds_the_same_tumour_on_the_mr(shared_data):
    """CT and MR of these patients share a frame of reference, not a grid; the masks are one tumour on both."""
    nibabel = pytest.importorskip("nibabel")
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    for subject in ("002", "018", "036"):
        masks = [
            nibabel.load(shared_data / "cases" / f"{modality}_sarcoma_sts_{subject}" / "labels.nii.gz")
            for modality in ("ct", "mr")
        ]
        (ct, mr), (ct_affine, mr_affine) = (
            [np.asarray(mask.dataobj) > 0 for mask in masks],
            [to_lps @ mask.affine for mask in masks],
        )
        drawn_on_ct = np.argwhere(ct)
        box = box_between(ct_affine, drawn_on_ct.min(axis=0), drawn_on_ct.max(axis=0))
        inside = mr[box_extent(box, mr_affine, mr.shape).slices].sum()
        assert inside / mr.sum() > 0.95


# --- clicks and scribbles ---


@each_grid
@given(index=st.tuples(*[st.floats(-5, n + 5) for n in SHAPE]))
def test_a_click_on_an_index_comes_back_to_it(grid_affine, index):
    click = Click(lps_from_index(grid_affine, index))
    assert click_index(click, grid_affine) == pytest.approx(np.array(index), abs=1e-9)


def line_between(affine, *indices, positive=True):
    return Scribble(lps_from_index(affine, indices), positive=positive)


def test_a_scribble_along_an_axis_passes_each_voxel_once(grid_affine):
    voxels = scribble_indices(line_between(grid_affine, (3, 5, 5), (3, 5, 9)), grid_affine, SHAPE)
    assert voxels.tolist() == [[3, 5, 5], [3, 5, 6], [3, 5, 7], [3, 5, 8], [3, 5, 9]]


def test_a_slanted_scribble_passes_the_voxels_a_reader_can_draw(grid_affine):
    # from (0, 0) to (1, 3) the line leaves row 0 at column 1.5, on the face between columns 1 and 2
    voxels = scribble_indices(line_between(grid_affine, (3, 0, 0), (3, 1.2, 3)), grid_affine, SHAPE)
    assert voxels[:, 1:].tolist() == [[0, 0], [0, 1], [1, 1], [1, 2], [1, 3]]


def test_a_scribble_of_one_position_is_one_voxel(grid_affine):
    assert scribble_indices(line_between(grid_affine, (3, 5.2, 5)), grid_affine, SHAPE).tolist() == [[3, 5, 5]]


def test_going_back_over_a_scribble_adds_no_voxel(grid_affine):
    there = scribble_indices(line_between(grid_affine, (3, 5, 5), (6, 9, 9)), grid_affine, SHAPE)
    and_back = scribble_indices(line_between(grid_affine, (3, 5, 5), (6, 9, 9), (3, 5, 5)), grid_affine, SHAPE)
    assert and_back.tolist() == there.tolist()


@each_grid
@given(corners=st.lists(st.tuples(*[st.floats(-0.4, n - 0.6) for n in SHAPE]), min_size=1, max_size=5))
def test_a_scribble_has_no_gap_and_misses_no_voxel_it_passes(grid_affine, corners):
    voxels = scribble_indices(line_between(grid_affine, *corners), grid_affine, SHAPE)
    found = {tuple(voxel) for voxel in voxels.tolist()}
    assert len(found) == len(voxels)
    assert ((voxels >= 0) & (voxels < SHAPE)).all()
    for start, end in itertools.pairwise(corners):
        along = np.array(start) + np.linspace(0, 1, 400)[:, None] * np.subtract(end, start)
        well_inside = (np.abs(along - np.floor(along) - 0.5) > 1e-6).all(axis=1)
        assert {tuple(voxel) for voxel in nearest_index(along[well_inside]).tolist()} <= found
    if len(corners) == 2:
        assert (np.abs(np.diff(voxels, axis=0)).max(axis=1, initial=0) <= 1).all()


@each_grid
@given(
    start=st.tuples(*[st.floats(-0.4, n - 0.6) for n in SHAPE]),
    end=st.tuples(*[st.floats(-0.4, n - 0.6) for n in SHAPE]),
)
def test_every_voxel_of_a_scribble_is_touched_by_the_line(grid_affine, start, end):
    for voxel in scribble_indices(line_between(grid_affine, start, end), grid_affine, SHAPE):
        enter, leave = 0.0, 1.0  # the part of the line within the voxel's slabs, by the definition of a voxel
        for axis in range(3):
            step = end[axis] - start[axis]
            low, high = voxel[axis] - 0.5 - 1e-6 - start[axis], voxel[axis] + 0.5 + 1e-6 - start[axis]
            if abs(step) < 1e-12:
                assert low <= 0 <= high
                continue
            near, far = sorted((low / step, high / step))
            enter, leave = max(enter, near), min(leave, far)
        assert enter <= leave


def test_the_part_of_a_scribble_outside_the_volume_is_left_out(grid_affine):
    voxels = scribble_indices(line_between(grid_affine, (-5, 5, 5), (2, 5, 5)), grid_affine, SHAPE)
    assert voxels.tolist() == [[0, 5, 5], [1, 5, 5], [2, 5, 5]]


def test_a_scribble_outside_is_refused(grid_affine):
    with pytest.raises(PromptError, match="all outside it"):
        scribble_indices(line_between(grid_affine, (-5, 5, 5), (-2, 9, 9)), grid_affine, SHAPE)
    with pytest.raises(PromptError, match="all outside it"):
        scribble_indices(line_between(grid_affine, (-5, 5, 5)), grid_affine, SHAPE)


def test_of_a_line_across_a_hundred_metres_only_the_volume_counts(plain_affine):
    far = Scribble([(-9e4, 5.2, 5.2), (9e4, 5.2, 5.2)])
    assert scribble_indices(far, plain_affine, SHAPE).tolist() == [[5, 5, column] for column in range(SHAPE[2])]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_a_view_whatever_the_memory_layout(order, axis):
    volume = np.array(np.arange(np.prod(SHAPE)).reshape(SHAPE), order=order)
    part = slice_across(volume, axis, 3)
    assert np.shares_memory(part, volume)
    np.testing.assert_array_equal(part, np.take(volume, 3, axis=axis))
