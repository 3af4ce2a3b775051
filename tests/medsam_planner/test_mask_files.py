"""Masks that a case names: nothing is lost on the way to the study's grid, and what is drawn decides nothing."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from scipy.spatial import cKDTree

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.planning.clearance import clearance
from medsam_planner.planning.plan_file import read_plan_file
from medsam_planner.planning.structures import Avoid, StayInside
from medsam_planner.planning.tool import Tool
from medsam_planner.volumes import StudySource, StudyVolume
from medsam_planner.workflow.mask_files import (
    file_evidence,
    map_over,
    plan_file_evidence,
    target_points,
)
from medsam_planner.workflow.mask_surfaces import drawn_surface, surface_of_mask
from medsam_planner.workflow.plan_request import resolve
from medsam_planner.workflow.written_plan import drawn_surfaces

TOOL = Tool(radius_mm=0.5, entry_error_mm=0.0, target_error_mm=0.0)


def volume(array, affine):
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


def study_on(shape, affine, tmp_path, modality="CT"):
    source = StudySource(path=tmp_path, format="nifti", modality=modality)
    return StudyVolume.from_volume(volume(np.zeros(shape, dtype=np.float32), affine), source)


def slices_of(thickness_mm, *, inplane_mm=2.0, origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * np.array([thickness_mm, inplane_mm, inplane_mm])
    affine[:3, 3] = origin
    return affine


def turned_about_x(affine, deg):
    angle = np.deg2rad(deg)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turn @ affine


def thin_sheet(affine, shape=(40, 80, 80)):
    """A plate one voxel thick, with a hole, off every larger grid."""
    sheet = np.zeros(shape, dtype=bool)
    sheet[shape[0] // 2 - 1, 20:50, 10:60] = True
    sheet[:, 30:34, 30:34] = False
    return volume(sheet, affine)


FINE = slices_of(0.5, inplane_mm=0.5, origin=(3.1, 2.7, 6.4))


def random_lines(count, low, high):
    return np.random.default_rng(5).uniform(low, high, (count, 2, 3))


def certified_mm(structure, lines):
    return clearance(lines, [structure], TOOL).certified_mm


@pytest.mark.parametrize("deg", [0.0, 23.0])
@pytest.mark.parametrize(("thickness", "inplane"), [(1.0, 2.0), (5.0, 2.0), (0.6, 0.4)])
def test_no_certified_clearance_exceeds_the_distance_to_the_mask_as_given(thickness, inplane, deg, tmp_path):
    """Masks finer and coarser than the study, along its axes and turned."""
    given = thin_sheet(turned_about_x(FINE, deg))
    shape = (round(40 / thickness), round(60 / inplane), round(60 / inplane))
    study = study_on(shape, slices_of(thickness, inplane_mm=inplane), tmp_path)
    found = file_evidence("vessel", save_nifti(given, tmp_path / "vessel.nii.gz"), study)
    lines = random_lines(300, (0, 0, 0), (58, 58, 38))
    centres = lps_from_index(given.affine, np.argwhere(given.array))
    along = lines[:, :1] + np.linspace(0, 1, 50)[None, :, None] * (lines[:, 1:] - lines[:, :1])
    nearest = cKDTree(centres).query(along)[0].min(axis=1)
    for structure in (Avoid("vessel", found.planned), Avoid("vessel", found.mask)):
        certified = certified_mm(structure, lines)
        assert (certified <= nearest - TOOL.radius_mm).all()
        assert (certified > 0).sum() > 20  # it is not that everything is refused
    assert np.median(nearest - certified_mm(Avoid("v", found.planned), lines)) < 3.5


@pytest.mark.parametrize("thickness", [0.4, 2.0, 20.0])
def test_no_certified_corridor_leaves_the_mask_as_given(thickness, tmp_path):
    """A box of 12 mm drawn at 0.5 mm, on slices thinner, thicker, and so thick that none lies wholly in it."""
    inside = np.zeros((40, 60, 60), dtype=bool)
    inside[8:32, 10:50, 10:50] = True
    study = study_on((round(40 / thickness), 60, 60), slices_of(thickness, inplane_mm=1.0), tmp_path)
    found = file_evidence("bone", save_nifti(volume(inside, FINE), tmp_path / "bone.nii.gz"), study, is_corridor=True)
    low, high = (lps_from_index(FINE, np.array(index)) for index in ((7.5, 9.5, 9.5), (31.5, 49.5, 49.5)))
    lines = random_lines(400, low, high)
    room = np.minimum(lines - low, high - lines).min(axis=(1, 2))
    certified = certified_mm(StayInside("bone", found.planned), lines)
    assert (certified <= room - TOOL.radius_mm).all() and (certified > 0).any()


def test_a_corridor_too_thin_for_the_grid_is_refused_with_both_spacings(tmp_path):
    """Sheets of 1 mm, in voxels whose diagonal is longer than that of the study's."""
    sheet = thin_sheet(slices_of(1.0, inplane_mm=3.0, origin=(0.0, 0.0, 0.4)), (10, 60, 60))
    study = study_on((20, 60, 60), slices_of(2.0), tmp_path)
    path = save_nifti(sheet, tmp_path / "bone.nii.gz")
    with pytest.raises(ConfigError, match=r"bone.*too thin") as caught:
        file_evidence("bone", path, study, is_corridor=True)
    assert "2 × 2 × 2 mm" in str(caught.value) and "1 × 3 × 3 mm" in str(caught.value)


@pytest.mark.parametrize("step", [2.0, 4.0])
def test_a_part_of_a_mask_beyond_the_study_still_keeps_tools_away(step, tmp_path):
    """A vessel 4 mm beside the last voxels of the study is not where the tool is, and near it all the same."""
    study = study_on((10, 20, 20), slices_of(2.0), tmp_path)
    grid = slices_of(step, inplane_mm=step)
    vessel = np.zeros((10, 20, 26), dtype=bool)
    vessel[:, 18 // int(step), 44 // int(step)] = vessel[0, 0, 0] = True
    found = file_evidence("vessel", save_nifti(volume(vessel, grid), tmp_path / "vessel.nii.gz"), study)
    mask = found.mask
    assert mask.spatial_shape == study.spatial_shape and mask.array.any() and not mask.array[:, :, 5:].any()
    line = np.array([[[38.0, 18.0, 2.0], [38.0, 18.0, 16.0]]])  # 6 mm from the centres at x = 44
    assert certified_mm(Avoid("vessel", found.planned), line)[0] <= 6 - TOOL.radius_mm


def test_a_mask_stored_the_other_way_round_is_planned_on_the_same_voxels(tmp_path):
    study = study_on((10, 20, 20), slices_of(2.0), tmp_path)
    array = np.random.default_rng(0).random((10, 20, 20)) < 0.2
    flipped = slices_of(2.0)
    flipped[:3, 3] = lps_from_index(flipped, np.array([0.0, 0.0, 19.0]))
    flipped[:3, 2] *= -1
    path = save_nifti(volume(array[:, :, ::-1], flipped), tmp_path / "vessel.nii.gz")
    np.testing.assert_array_equal(file_evidence("vessel", path, study).planned.array, array)


def test_targets_lie_in_the_mask_as_given(tmp_path):
    given = thin_sheet(FINE)
    study = study_on((8, 30, 30), slices_of(5.0), tmp_path)
    points = target_points(file_evidence("target", save_nifti(given, tmp_path / "lesion.nii.gz"), study), study)
    index = np.rint(index_from_lps(FINE, points)).astype(int)
    assert len(points) == given.array.sum() and given.array[tuple(index.T)].all()


@pytest.mark.parametrize(
    ("value", "told"), [(0, "mask of 'vessel' is empty"), (1, "mask of 'vessel' is full"), (np.nan, "'vessel'.*NaN")]
)
def test_a_mask_that_says_nothing_is_named(value, told, tmp_path):
    save_nifti(volume(np.full((5, 6, 7), value, dtype=np.float32), slices_of(2.0)), tmp_path / "vessel.nii.gz")
    with pytest.raises(ConfigError, match=told):
        file_evidence("vessel", tmp_path / "vessel.nii.gz", study_on((5, 6, 7), slices_of(2.0), tmp_path))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("value", [1, 255])
def test_masks_are_read_from_numbers_of_any_kind(dtype, value, tmp_path):
    array = np.zeros((5, 6, 7), dtype=dtype)
    array[2, 3, 4] = value
    save_nifti(volume(array, slices_of(2.0)), tmp_path / "vessel.nii.gz")
    mask = file_evidence("vessel", tmp_path / "vessel.nii.gz", study_on((5, 6, 7), slices_of(2.0), tmp_path)).mask
    np.testing.assert_array_equal(np.argwhere(mask.array), [[2, 3, 4]])


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_a_spread_of_one_value_is_a_spread(spread, tmp_path):
    mask = volume(np.zeros((5, 6, 7), dtype=bool), slices_of(2.0))
    mask.array[2, 3, 4] = True
    save_nifti(volume(np.full((5, 6, 7), spread, dtype=np.float32), slices_of(2.0)), tmp_path / "spread.nii.gz")
    np.testing.assert_allclose(map_over(mask, tmp_path / "spread.nii.gz", "vessel").array, spread)


def test_a_spread_that_leaves_out_a_part_of_its_mask_is_refused(tmp_path):
    mask = volume(np.ones((5, 6, 7), dtype=bool), slices_of(2.0))
    save_nifti(volume(np.ones((5, 6, 3), dtype=np.float32), slices_of(2.0)), tmp_path / "spread.nii.gz")
    with pytest.raises(ConfigError, match=r"'vessel'.*does not cover"):
        map_over(mask, tmp_path / "spread.nii.gz", "vessel")


# --- what is only drawn ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wide", [1, 2, 3])
def test_a_vessel_few_voxels_wide_is_drawn_from_end_to_end(wide, oblique_affine):
    array = np.zeros((20, 12, 12), dtype=bool)
    array[3:17, 6, 6 : 6 + wide] = True
    surface = surface_of_mask(volume(array, oblique_affine))
    index = index_from_lps(oblique_affine, surface.vertices_lps_mm)
    assert index[:, 0].min() < 4 and index[:, 0].max() > 15


def test_the_blur_of_a_thick_structure_is_left_alone(plain_affine):
    ball = (np.indices((30, 30, 30)) - 14.5).__pow__(2).sum(axis=0) <= 10**2
    surface = surface_of_mask(volume(ball, plain_affine))
    radius = np.linalg.norm(index_from_lps(plain_affine, surface.vertices_lps_mm) - 14.5, axis=1)
    assert abs(radius.mean() - 10) < 0.2 and radius.std() < 0.2


def test_a_large_mask_is_drawn_from_coarser_voxels_in_its_place_and_keeps_a_thin_part(oblique_affine):
    array = np.zeros((130, 150, 150), dtype=bool)
    array[5:100, 20:130, 20:130] = True
    array[100:128, 71, 71] = True  # a wire of one voxel on top
    surface = surface_of_mask(volume(array, oblique_affine))
    assert "marching cubes" in surface.history[0] and int(surface.history[0].split()[-2]) < 110_000
    index = index_from_lps(oblique_affine, surface.vertices_lps_mm)
    np.testing.assert_allclose(index.min(axis=0), (4.5, 19.5, 19.5), atol=1.0)
    assert index[:, 0].max() > 125
    body_mm3 = array.sum() * abs(np.linalg.det(oblique_affine[:3, :3]))
    assert surface.volume_mm3 == pytest.approx(body_mm3, rel=0.02)


def test_a_mask_that_cannot_be_drawn_is_left_out_of_the_picture(plain_affine):
    assert drawn_surface(volume(np.zeros((4, 4, 4), dtype=bool), plain_affine)) is None


# --- whole cases ----------------------------------------------------------------------------------------------------

CASE = """
[tool]
radius_mm = 0.5
[target]
point_lps_mm = [30.0, 30.0, 15.0]
[entry]
mask = "body.nii.gz"
[[structures]]
name = "vessel"
role = "avoid"
mask = "vessel.nii.gz"
"""


def case_of(tmp_path, vessel, text=CASE):
    study = study_on((15, 30, 30), slices_of(2.0), tmp_path)
    body = np.zeros(study.spatial_shape, dtype=bool)
    body[2:-2, 2:-2, 2:-2] = True
    save_nifti(volume(body, study.affine), tmp_path / "body.nii.gz")
    save_nifti(vessel, tmp_path / "vessel.nii.gz")
    (tmp_path / "case.toml").write_text(text, encoding="utf-8")
    case = read_plan_file(tmp_path / "case.toml")
    return resolve(case.request(), study, plan_file_evidence(case, study))


def test_a_vessel_one_voxel_wide_makes_a_problem_with_a_picture(tmp_path):
    vessel = volume(np.zeros((15, 30, 30), dtype=bool), slices_of(2.0))
    vessel.array[:, 20, 8] = True
    inputs = case_of(tmp_path, vessel)
    (structure,) = inputs.problem.structures
    assert structure.mask.array.sum() == 15 and "vessel" in drawn_surfaces(inputs, [])


def test_a_mask_with_a_spread_may_reach_beyond_the_study(tmp_path):
    grid = slices_of(2.0, origin=(-20.0, 0.0, 0.0))
    vessel = volume(np.zeros((15, 30, 30), dtype=bool), grid)
    vessel.array[7, 5, 4:20] = True
    save_nifti(volume(np.full((15, 30, 30), 0.5, dtype=np.float32), grid), tmp_path / "spread.nii.gz")
    inputs = case_of(tmp_path, vessel, CASE + 'spread = "spread.nii.gz"\n')
    (structure,) = inputs.problem.structures
    assert structure.mask.array.sum() == 16 and structure.margin_mm.spatial_shape == structure.mask.spatial_shape
    assert inputs.masks["vessel"].spatial_shape == (15, 30, 30)


def test_what_nifti_does_not_say_is_noted(tmp_path):
    for low, found, other in ((-150.0, "MR", "CT"), (-900.0, "CT", "MR")):
        array = np.random.default_rng(0).uniform(low, 500, (5, 6, 7)).astype(np.float32)
        array[0, 0, 0] = low
        source = load_volume(save_nifti(volume(array, slices_of(2.0)), tmp_path / "study.nii.gz")).source
        (note,) = source.notes
        assert f"Taken for {found}" in note and f"{low:g}" in note and f"--modality {other}" in note
    assert load_volume(tmp_path / "study.nii.gz", modality="CT").source.notes == ()
