"""Masks on another grid: no voxel of them is lost, and nothing is marked that they do not touch."""

from __future__ import annotations

import itertools

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.geometry import index_from_lps, lps_from_index, spacing_mm, voxel_diagonal_mm
from medsam_planner.io.conservative_resampling import covering_map, covering_mask, grid_around, is_on_grid


def volume(array, affine, uid=None):
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT", frame_of_reference_uid=uid)


def grid(spacing, origin, order=(0, 1, 2), signs=(1, 1, 1)):
    """Axes along x, y and z in any order and direction."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(order)] * np.array(spacing) * np.array(signs)
    affine[:3, 3] = origin
    return affine


def turned(affine, deg, axis=2):
    angle = np.deg2rad(deg)
    a, b = [other for other in range(3) if other != axis]
    turn = np.eye(4)
    turn[a, a] = turn[b, b] = np.cos(angle)
    turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
    return turn @ affine


def covered_share(mask, reference):
    """Share of each voxel of `reference` that lies in the mask, both along x, y and z: products of overlaps."""
    corners = np.array([[-0.5] * 3, [0.5] * 3])
    boxes = np.sort(lps_from_index(mask.affine, np.argwhere(mask.array)[:, None] + corners), axis=1)
    index = np.array(list(np.ndindex(*reference.spatial_shape)))
    voxels = np.sort(lps_from_index(reference.affine, index[:, None] + corners), axis=1)
    low = np.maximum(voxels[:, None, 0], boxes[None, :, 0])
    high = np.minimum(voxels[:, None, 1], boxes[None, :, 1])
    volume_mm3 = np.maximum(high - low, 0).prod(axis=2).sum(axis=1)
    return (volume_mm3 / spacing_mm(reference.affine).prod()).reshape(reference.spatial_shape)


def random_pair(seed):
    """A sparse mask and a grid it lies in, both along x, y and z in some order and direction."""
    draw = np.random.default_rng(seed)
    grids = []
    for _ in range(2):
        spacing = draw.choice([0.5, 1.0, 1.5, 2.0, 3.0], 3)
        grids.append(grid(spacing, draw.uniform(-2, 2, 3), draw.permutation(3), draw.choice([-1, 1], 3)))
    array = draw.random((5, 6, 4)) < 0.06
    array[tuple(draw.integers(0, (5, 6, 4)))] = True
    return volume(array, grids[0]), volume(np.zeros((5, 4, 6)), grids[1])


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_voxels_that_touch_the_mask_are_marked(seed):
    mask, reference = random_pair(seed)
    np.testing.assert_array_equal(covering_mask(mask, reference).array, covered_share(mask, reference) > 1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_exactly_the_voxels_wholly_in_the_mask_are_marked_for_a_corridor(seed):
    sparse, reference = random_pair(seed)
    mask = volume(~sparse.array, sparse.affine)  # beyond its grid there is no corridor
    np.testing.assert_array_equal(
        covering_mask(mask, reference, inner=True).array, covered_share(mask, reference) > 1 - 1e-9
    )


def test_a_sheet_between_two_slices_marks_both():
    """1 mm voxels from z = 2 to 3 mm; slices of 5 mm centred at 0 and 5 meet at 2.5."""
    sheet = volume(np.ones((1, 4, 4), dtype=bool), grid((1.0, 1.0, 1.0), (0.0, 0.0, 2.5), (2, 1, 0)))
    slices = volume(np.zeros((3, 4, 4)), grid((5.0, 1.0, 1.0), (0.0, 0.0, 0.0), (2, 1, 0)))
    assert covering_mask(sheet, slices).array.all(axis=(1, 2)).tolist() == [True, True, False]


@pytest.mark.parametrize("deg", [3.0, 30.0, 45.0, 190.0])
@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 1.0, 4.0), (2.0, 1.0, 1.0)])
def test_no_part_of_a_turned_mask_is_lost_and_little_is_added(deg, spacing, oblique_affine):
    draw = np.random.default_rng(7)
    reference = volume(np.zeros((9, 18, 16)), oblique_affine)
    affine = turned(turned(grid(spacing, (0, 0, 0)), deg), deg / 2, axis=0)
    array = draw.random((7, 7, 5)) < 0.03
    array[3, 3, 2] = True
    middle = lps_from_index(oblique_affine, np.array([4.0, 9.0, 8.0]))
    affine[:3, 3] += middle - lps_from_index(affine, np.array([3.0, 3.0, 2.0]))
    mask = volume(array, affine)
    marked = covering_mask(mask, reference).array

    inside = np.array(list(itertools.product(np.linspace(-0.48, 0.48, 7), repeat=3)))
    places = lps_from_index(affine, (np.argwhere(array)[:, None] + inside).reshape(-1, 3))
    touched = np.rint(index_from_lps(oblique_affine, places)).astype(int)
    touched = touched[((touched >= 0) & (touched < marked.shape)).all(axis=1)]
    assert marked[tuple(touched.T)].all()

    added = np.argwhere(marked)
    gap = np.linalg.norm(lps_from_index(oblique_affine, added)[:, None] - places[None], axis=2).min(axis=1)
    assert gap.max() < voxel_diagonal_mm(oblique_affine) / 2 + spacing_mm(oblique_affine).min()


def test_a_turned_corridor_holds_no_place_outside_the_given_one(oblique_affine):
    reference = volume(np.zeros((8, 16, 14)), oblique_affine)
    affine = turned(grid((0.8, 0.8, 0.8), (0, 0, 0)), 27.0, axis=1)
    affine[:3, 3] += lps_from_index(oblique_affine, np.array([4.0, 8.0, 7.0])) - lps_from_index(affine, [7.5, 7.5, 7.5])
    mask = volume(np.ones((16, 16, 16), dtype=bool), affine)
    marked = np.argwhere(covering_mask(mask, reference, inner=True).array)
    assert len(marked) > 50
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    places = lps_from_index(oblique_affine, (marked[:, None] + corners).reshape(-1, 3))
    index = index_from_lps(affine, places)
    assert (index > -0.5 - 0.03).all() and (index < 15.5 + 0.03).all()


def test_a_mask_on_the_grid_or_stored_the_other_way_round_stays_as_it_is(oblique_affine):
    array = np.random.default_rng(3).random((4, 6, 5)) < 0.4
    reference = volume(np.zeros(array.shape), oblique_affine)
    rounded = oblique_affine.copy()
    rounded[:3, 3] += 1e-3
    flipped = oblique_affine.copy()
    flipped[:3, 3] = lps_from_index(oblique_affine, np.array([0.0, 5.0, 0.0]))
    flipped[:3, 1] *= -1
    for affine, stored in ((oblique_affine, array), (rounded, array), (flipped, array[:, ::-1])):
        np.testing.assert_array_equal(covering_mask(volume(stored, affine), reference).array, array)
        np.testing.assert_array_equal(covering_mask(volume(stored, affine), reference, inner=True).array, array)


def test_spacings_that_drift_apart_over_many_voxels_are_two_grids(plain_affine):
    """0.001 mm more a voxel is half a voxel after 500."""
    other = plain_affine.copy()
    other[:3, 2] *= 1.001
    long = np.zeros((2, 2, 600))
    assert not is_on_grid(volume(long, other), volume(long, plain_affine))
    assert is_on_grid(volume(long[..., :5], other), volume(long[..., :5], plain_affine))


def test_the_peak_of_a_finer_map_reaches_every_voxel_it_lies_in(plain_affine):
    coarse = grid((5.0, 1.0, 1.0), (0.0, 0.0, 2.0), (2, 1, 0))
    values = np.zeros((20, 4, 4), dtype=np.float32)
    values[6, 2, 2] = 3.0  # at z = 6 mm, 1 mm off the centre of the second slice
    brought = covering_map(volume(values, plain_affine), volume(np.zeros((4, 4, 4)), coarse))
    assert brought.array[1, 2, 2] == 3.0 and brought.array[3].max() == 0.0


def test_a_grid_is_continued_to_hold_a_mask_that_reaches_beyond_it(oblique_affine):
    reference = volume(np.zeros((4, 6, 5)), oblique_affine)
    affine = oblique_affine.copy()
    affine[:3, 3] = lps_from_index(oblique_affine, np.array([-2.0, 3.0, 0.0]))
    mask = volume(np.ones((4, 6, 5), dtype=bool), affine)
    grown = grid_around(reference, mask, most_mm=100.0)
    assert grown.spatial_shape == (6, 9, 5)
    np.testing.assert_allclose(index_from_lps(grown.affine, affine[:3, 3]), (0.0, 3.0, 0.0), atol=1e-9)
    assert grid_around(reference, mask, most_mm=3.0).spatial_shape == (5, 9, 5)  # slices lie 2.5 mm apart
    assert grid_around(mask, mask, most_mm=100.0) is mask


def test_masks_of_another_frame_of_reference_are_refused(plain_affine):
    mask = volume(np.ones((2, 2, 2), dtype=bool), plain_affine, "1.2.3")
    with pytest.raises(GeometryError, match=r"1\.2\.3"):
        covering_mask(mask, volume(np.zeros((2, 2, 2)), plain_affine, "1.2.4"))
