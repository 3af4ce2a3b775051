from __future__ import annotations

import numpy as np
import pytest

from prompts.affine import (
    axis_letters,
    gap_text,
    index_from_lps,
    lps_from_index,
    nearest_index,
    require_affine,
    require_shape,
)
from prompts.errors import GeometryError


def test_position_of_a_voxel_is_the_origin_plus_its_columns(oblique_affine):
    expected = oblique_affine[:3, 3] + 2 * oblique_affine[:3, 0] - oblique_affine[:3, 1] + 3 * oblique_affine[:3, 2]
    assert lps_from_index(oblique_affine, (2, -1, 3)) == pytest.approx(expected)


def test_index_and_position_are_inverse_on_every_grid(grid_affine):
    index = np.random.default_rng(0).uniform(-50, 50, size=(20, 4, 3))
    assert index_from_lps(grid_affine, lps_from_index(grid_affine, index)) == pytest.approx(index, abs=1e-9)


def test_letters_name_the_low_and_the_high_end_of_each_axis(plain_affine):
    assert axis_letters(plain_affine) == (("I", "S"), ("A", "P"), ("R", "L"))
    flipped = plain_affine.copy()
    flipped[:, 0] *= -1
    assert axis_letters(flipped) == (("S", "I"), ("A", "P"), ("R", "L"))


def test_letters_of_an_oblique_grid_name_the_nearest_direction(oblique_affine):
    # axis 0 runs along (cos −40°, sin −40°, 0): towards the left; axis 1 towards the front; axis 2 towards the head
    assert axis_letters(oblique_affine) == (("R", "L"), ("P", "A"), ("I", "S"))


def test_a_face_belongs_to_the_voxel_above_it_everywhere():
    assert nearest_index([-0.5, 0.5, 1.5, 2.5, 2.49]).tolist() == [0, 1, 2, 3, 2]


def test_gap_is_told_in_millimetres_and_towards_the_patients_side(oblique_affine):
    assert gap_text(oblique_affine, (2.0, 0.0, 0.0)) == "5.0 mm to the L"
    assert gap_text(oblique_affine, (0.0, -10.0, 0.0)) == "7.0 mm to the P"


@pytest.mark.parametrize(
    "affine",
    [np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan), np.ones((4, 4)), np.diag([1, 1, 1, 2])],
    ids=["3x3", "zeros", "nan", "singular", "last-row"],
)
def test_what_is_no_affine_is_refused(affine):
    with pytest.raises(GeometryError, match="affine"):
        require_affine(affine)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 0), (2, 3, -1), (2.0, 3.0, 4.0)])
def test_what_is_no_shape_is_refused(shape):
    with pytest.raises(GeometryError, match="three positive voxel counts"):
        require_shape(shape)
