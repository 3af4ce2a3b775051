from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from prompts import Edit, GeometryError, InitialMask, PromptError, VoxelMask, validate
from prompts.affine import lps_from_index

SHAPE = (3, 4, 5)
masks = arrays.arrays(bool, SHAPE).filter(np.any)


def placed(mask, affine, shape=SHAPE):
    """The mask on a whole grid."""
    (k, j, i), part = mask.on_grid(affine, shape)
    whole = np.zeros(shape, bool)
    whole[k : k + part.shape[0], j : j + part.shape[1], i : i + part.shape[2]] = part
    return whole


def test_runs_count_voxels_outside_and_inside_in_turn_within_the_smallest_box():
    inside = np.zeros(SHAPE, bool)
    inside[1, 1, 2:4] = inside[1, 2, 3] = True
    mask = VoxelMask.from_array(inside, np.diag([4.0, 2.0, 1.0, 1.0]))
    assert mask.first_voxel_lps_mm == (4.0, 2.0, 2.0)
    assert mask.voxel_steps_lps_mm == ((4.0, 0.0, 0.0), (0.0, 2.0, 0.0), (0.0, 0.0, 1.0))
    assert mask.size == (1, 2, 2)
    assert mask.runs == (0, 2, 1, 1)  # two inside, one outside, one inside
    assert mask.voxel_count == 3


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inside=masks)
def test_a_mask_comes_back_on_its_grid(grid_affine, inside):
    assert np.array_equal(placed(VoxelMask.from_array(inside, grid_affine), grid_affine), inside)


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inside=masks, order=st.permutations([0, 1, 2]), reverse=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_a_mask_comes_back_where_the_same_voxels_are_stored_in_another_order(grid_affine, inside, order, reverse):
    mask = VoxelMask.from_array(inside, grid_affine)
    axes = tuple(axis for axis in range(3) if reverse[axis])
    stored = np.flip(inside.transpose(order), axes)
    affine = np.eye(4)
    affine[:3, :3] = grid_affine[:3, list(order)] * np.where(reverse, -1.0, 1.0)
    begin = [SHAPE[axis] - 1 if reverse[order.index(axis)] else 0 for axis in range(3)]
    affine[:3, 3] = lps_from_index(grid_affine, begin)
    assert np.array_equal(placed(mask, affine, stored.shape), stored)


def test_a_part_of_the_grid_gives_the_same_mask_as_the_whole(grid_affine):
    inside = np.zeros(SHAPE, bool)
    inside[1, 2:4, 1:4] = True
    part = inside[1:3, 1:4, 1:5]
    whole = VoxelMask.from_array(inside, grid_affine)
    assert VoxelMask.from_array(part, grid_affine, first_index=(1, 1, 1)) == whole


@pytest.mark.parametrize("shift", [0.0, 0.3])
@pytest.mark.parametrize("scale", [1.0, 1.02, 2.0])
def test_other_voxels_are_refused_and_nothing_is_resampled(grid_affine, shift, scale):
    mask = VoxelMask.from_array(np.ones(SHAPE, bool), grid_affine)
    other = grid_affine.copy()
    other[:3, 0] *= scale
    other[:3, 3] += shift * grid_affine[:3, 1]
    if (shift, scale) == (0.0, 1.0):
        assert placed(mask, other).all()
        return
    for prompt in (InitialMask(mask), Edit(mask)):
        with pytest.raises(GeometryError, match="voxels that the mask was drawn on"):
            validate(prompt, other, SHAPE)


def test_affines_that_differ_by_the_rounding_of_a_file_are_of_one_grid(oblique_affine):
    mask = VoxelMask.from_array(np.ones(SHAPE, bool), oblique_affine)
    assert placed(mask, oblique_affine.astype(np.float32).astype(np.float64)).all()


def test_a_mask_that_reaches_beyond_the_volume_is_refused_with_how_far(plain_affine):
    mask = VoxelMask.from_array(np.ones(SHAPE, bool), plain_affine)
    with pytest.raises(PromptError, match=r"reaches 1\.0 mm to the S beyond it"):
        validate(Edit(mask), plain_affine, (2, 4, 5))


def test_what_is_no_mask_is_refused(plain_affine):
    with pytest.raises(PromptError, match="at least one voxel inside"):
        VoxelMask.from_array(np.zeros(SHAPE, bool), plain_affine)
    for wrong in (np.ones(SHAPE, np.uint8), np.ones((4, 5), bool)):
        with pytest.raises(GeometryError, match="three axes and type bool"):
            VoxelMask.from_array(wrong, plain_affine)
    steps = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    with pytest.raises(PromptError, match="add up to the 4 voxels of the box"):
        VoxelMask((0.0, 0.0, 0.0), steps, (1, 2, 2), (1, 2))
    with pytest.raises(PromptError, match="none but the first of 0"):
        VoxelMask((0.0, 0.0, 0.0), steps, (1, 2, 2), (2, 0, 2))
    with pytest.raises(PromptError, match="three steps in different directions"):
        VoxelMask((0.0, 0.0, 0.0), (steps[0], steps[0], steps[2]), (1, 2, 2), (0, 4))
    with pytest.raises(PromptError, match="within 100 m"):
        VoxelMask((float("nan"), 0.0, 0.0), steps, (1, 2, 2), (0, 4))
    with pytest.raises(PromptError, match="got an empty one"):
        VoxelMask((0.0, 0.0, 0.0), steps, (1, 2, 2), (4,))
