"""Each flaw of a mask is found, and a sound mask has none."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.geometry import lps_from_index
from medsam_planner.planning.mask_flaws import FlawKind, find_flaws
from tests.medsam_planner.planning.planning_scenes import capsule, shape_covering, volume

SHAPE = (24, 30, 30)


def block(affine, first=(6, 8, 8), last=(16, 20, 20)):
    inside = np.zeros(SHAPE, dtype=bool)
    inside[tuple(slice(low, high) for low, high in zip(first, last, strict=True))] = True
    return volume(inside, affine)


def kinds(*arguments, **options):
    return {flaw.kind for flaw in find_flaws(*arguments, **options)}


def test_a_sound_mask_has_no_flaw(any_affine):
    mask = block(any_affine)
    spread = volume(np.full(SHAPE, 3.0, dtype=np.float32), any_affine)
    assert find_flaws(mask, boundary_spread_mm=spread, prompted_slices=[10], axis=0) == ()


def test_a_round_mask_of_eight_voxels_has_no_flaw(plain_affine):
    shape = shape_covering(plain_affine, 30.0)
    centre = lps_from_index(plain_affine, (15, 15, 15))
    mask = capsule(shape, plain_affine, centre, centre, 4.6)
    assert find_flaws(mask, prompted_slices=[15]) == ()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mask_of_one_slice_is_told(any_affine, axis):
    first, last = [6, 8, 8], [16, 20, 20]
    first[axis], last[axis] = 10, 11
    (flaw,) = find_flaws(block(any_affine, first, last))
    assert flaw.kind is FlawKind.ONE_SLICE


@pytest.mark.parametrize(("thickness", "is_thin"), [(2, True), (7, True), (8, False)])
def test_less_than_eight_voxels_across_is_thin(any_affine, thickness, is_thin):
    found = find_flaws(block(any_affine, last=(16, 8 + thickness, 20)))
    assert [flaw.text for flaw in found] == ([f"is only {thickness} voxels across"] if is_thin else [])


def test_a_thin_vessel_that_runs_askew_is_thin_although_its_box_is_large(plain_affine):
    vessel = capsule((30, 30, 30), plain_affine, (5.0, 5.0, 5.0), (24.0, 24.0, 24.0), 2.0)
    assert kinds(vessel) == {FlawKind.THIN}


def test_a_prompted_slice_that_stands_out_on_both_sides_is_a_step(any_affine):
    mask = block(any_affine)
    mask.array[10, 5:24, 8:20] = True  # 19 rows where the neighbours have 12
    (flaw,) = find_flaws(mask, prompted_slices=[10], axis=0)
    assert (flaw.kind, flaw.text) == (FlawKind.STEPPED, "jumps in area on both sides of its prompted slice 11")
    assert find_flaws(mask, prompted_slices=[12], axis=0) == ()
    mask.array[11, 5:24, 8:20] = True  # it goes on on one side
    assert find_flaws(mask, prompted_slices=[10], axis=0) == ()


def test_a_prompted_slice_that_is_smaller_than_both_neighbours_is_a_step(any_affine):
    mask = block(any_affine)
    mask.array[10, 16:20] = False
    assert kinds(mask, prompted_slices=[10], axis=0) == {FlawKind.STEPPED}


@pytest.mark.parametrize(("first", "last"), [((0, 8, 8), (16, 20, 20)), ((6, 8, 18), (16, 20, 30))])
def test_a_mask_at_the_edge_of_the_study_is_cut(any_affine, first, last):
    assert kinds(block(any_affine, first, last)) == {FlawKind.CUT}


def test_a_spread_below_the_voxel_is_told_with_the_voxels_size(plain_affine):
    """On voxels of 1 mm: 0.1 mm is below, 1.0 mm is not."""
    mask = block(plain_affine)
    below, at = (volume(np.full(SHAPE, value, dtype=np.float32), plain_affine) for value in (0.1, 1.0))
    (flaw,) = find_flaws(mask, boundary_spread_mm=below)
    assert flaw.kind is FlawKind.SPREAD_BELOW_VOXEL
    assert "(1.0 mm)" in flaw.text
    assert find_flaws(mask, boundary_spread_mm=at) == ()


def test_an_empty_mask_is_refused_elsewhere(plain_affine):
    assert find_flaws(volume(np.zeros(SHAPE, dtype=bool), plain_affine)) == ()
