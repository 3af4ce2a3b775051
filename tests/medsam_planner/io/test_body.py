"""The body is what is no air, with what it encloses on axial slices, on any axes."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import StudyError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io.body import body_mask
from medsam_planner.volumes import StudySource, StudyVolume


def study(array, modality, affine=None):
    volume = highdicom.Volume(array, np.eye(4) if affine is None else affine, "PATIENT")
    return StudyVolume.from_volume(volume, StudySource(path=None, format="nifti", modality=modality))


def axes(order, signs, spacing):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * np.array(spacing))[:, order] * np.array(signs)
    return affine


def turned_about_x(affine, deg):
    angle = np.deg2rad(deg)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


ORDERS = [(0, 1, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0), (0, 2, 1), (1, 0, 2)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_tube_with_two_open_lungs_is_filled_and_the_table_left_out(order, modality):
    x, y, _ = np.indices((48, 40, 12))
    tube = ((y - 18) / 15) ** 2 + ((x - 24) / 20) ** 2 <= 1
    lungs = (((y - 18) / 6) ** 2 + ((x - 15) / 5) ** 2 <= 1) | (((y - 18) / 6) ** 2 + ((x - 33) / 5) ** 2 <= 1)
    table = (y == 38) & (x > 4)
    dense, air = (40.0, -1000.0) if modality == "CT" else (500.0, 8.0)
    array = np.where((tube & ~lungs) | table, dense, air) + np.random.default_rng(0).normal(0, 5, x.shape)
    stored = study(np.ascontiguousarray(array.transpose(order)), modality, axes(order, (1, 1, 1), (1.0, 1.0, 1.0)))
    found = body_mask(stored).array.transpose(np.argsort(order))
    assert (found & tube).sum() > 0.999 * tube.sum()  # but for corners of single voxels
    assert not found[:, 36:].any() and (found & ~tube).sum() == 0


def chest(affine, shape):
    """HU of a cylinder of soft tissue along z with a lung that runs through all of it, and the distance to its axis."""
    places = lps_from_index(affine, np.moveaxis(np.indices(shape), 0, -1).astype(float))
    middle = lps_from_index(affine, (np.array(shape) - 1) / 2.0)
    radius = np.linalg.norm((places - middle)[..., :2], axis=-1)
    return np.where(radius < 15, -850.0, np.where(radius < 30, 30.0, -1000.0)).astype(np.float32), radius


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
@pytest.mark.parametrize("deg", [0.0, 15.0])
def test_lungs_cut_by_the_ends_of_the_volume_belong_to_the_body(order, signs, deg):
    affine = turned_about_x(axes(order, signs, (2.0, 2.0, 3.0)), deg)
    shape = tuple(np.array([40, 40, 10])[list(order)].tolist())
    hu, radius = chest(affine, shape)
    found = body_mask(study(hu, "CT", affine)).array
    np.testing.assert_array_equal(found[radius < 20], True)
    assert not found[radius > 33].any()


def test_a_chest_wall_of_ten_millimetres_is_no_sheet_and_holds_its_lung_at_any_voxel_size():
    """A wall of 10 mm is 4 voxels of 2.5 mm, and the study may have two slices only."""
    for spacing, slices in ((2.5, 12), (2.5, 2), (1.0, 4)):
        side = round(90 / spacing)
        _, j, i = np.indices((slices, side, side))
        radius = spacing * np.hypot(j - (side - 1) / 2, i - (side - 1) / 2)
        hu = np.where((radius < 40) & (radius > 30), 30.0, -900.0).astype(np.float32)
        found = body_mask(study(hu, "CT", axes((2, 1, 0), (1, 1, 1), (spacing, spacing, 5.0)))).array
        inside = radius < 40
        assert np.count_nonzero(found != inside) < 0.01 * np.count_nonzero(inside), (spacing, slices)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_study_of_air_alone_or_of_one_value_has_no_body(modality):
    with pytest.raises(StudyError, match="Expected a body"):
        body_mask(study(np.full((3, 4, 5), -1000.0 if modality == "CT" else 0.0), modality))
    if modality == "MR":
        with pytest.raises(StudyError, match="Expected a body"):
            body_mask(study(np.full((3, 4, 5), 7.0), modality))
