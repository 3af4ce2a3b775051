"""Where a mask that covers part of the study says nothing."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.planning.mask_coverage import known_part
from tests.medsam_planner.planning.planning_scenes import volume

SHAPE = (20, 30, 40)


@pytest.fixture
def upper_half(any_affine):
    """A mask on the voxels 10 to 19 of the first axis, and the study."""
    study = volume(np.zeros(SHAPE), any_affine)
    part = any_affine.copy()
    part[:3, 3] = lps_from_index(any_affine, (10, 0, 0))
    return known_part(volume(np.zeros((10, 30, 40), dtype=bool), part), study), any_affine, spacing_mm(any_affine)[0]


def test_a_mask_on_the_studys_grid_knows_all_of_it(any_affine):
    study = volume(np.zeros(SHAPE), any_affine)
    assert known_part(volume(np.zeros(SHAPE, dtype=bool), any_affine), study) is None


def test_a_mask_on_coarser_voxels_of_the_same_extent_knows_all_of_it(plain_affine):
    coarse = plain_affine.copy()
    coarse[:3, :3] *= 2
    coarse[:3, 3] = lps_from_index(plain_affine, (0.5, 0.5, 0.5))
    assert known_part(volume(np.zeros((10, 15, 20), dtype=bool), coarse), volume(np.zeros(SHAPE), plain_affine)) is None


def test_half_a_study_is_said_to_be_half(upper_half):
    assert upper_half[0].share == pytest.approx(0.5, abs=0.01)


def test_a_path_in_the_other_half_is_unknown_from_end_to_end(upper_half):
    part, affine, _ = upper_half
    line = lps_from_index(affine, [(4, 5, 5), (4, 5, 35)])
    assert part.unknown_stretches_mm(line) == [pytest.approx((0.0, 30 * spacing_mm(affine)[2]))]
    assert part.depth_mm(line) == 0.0


def test_a_path_that_leaves_the_known_half_is_unknown_from_there_on(upper_half):
    """From the middle of voxel 17 down to that of voxel 2: half a voxel of tolerance before the face at 9.5."""
    part, affine, step = upper_half
    ((first, last),) = part.unknown_stretches_mm(lps_from_index(affine, [(17, 15, 20), (2, 15, 20)]))
    assert first == pytest.approx(8 * step, abs=0.3)
    assert last == pytest.approx(15 * step)


def test_a_path_within_the_known_half_keeps_its_distance_from_the_unknown(upper_half):
    """Along voxels 14: 4.5 voxels above the face. The faces of the study itself do not count: nothing lies there."""
    part, affine, step = upper_half
    line = lps_from_index(affine, [(14, 0, 1), (14, 29, 38)])
    assert part.unknown_stretches_mm(line) == []
    assert part.depth_mm(line) == pytest.approx(4.5 * step)
