"""What is carried onto another series lies where the transform says, and its error is in the plan."""

from __future__ import annotations

import math

import highdicom
import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import lps_from_index
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.io.loading import load_map
from medsam_planner.landmarks.landmark_file import Landmark, Landmarks, read_landmarks, write_landmarks
from medsam_planner.planning.plan_file import read_plan_file
from medsam_planner.registration.register import Registration
from medsam_planner.registration.rigid_error import RigidError
from medsam_planner.registration.rigid_transform import RigidTransform
from medsam_planner.registration.transform_file import read_transform, transform_document, write_transform
from medsam_planner.workflow.mask_files import plan_file_evidence
from medsam_planner.workflow.plan_request import resolve
from prompts import Box, Click, Edit, PromptFile, PromptLog, VoxelMask, read_prompt_file, write_prompt_file

STEP = RigidTransform.about((0, 0, 0), (0, 0, math.pi / 2), (3, 0, -2))  # left goes to the back
SHAPE = (30, 40, 40)
AFFINE = np.array([[0, 0, 1.0, -20], [0, 1.0, 0, -20], [1.5, 0, 0, -22], [0, 0, 0, 1]])
PLAN = """
# to the lesion
landmarks = "points.json"
target = "landmark:lesion"
[study]
path = "moving.nii.gz"
[tool]
radius_mm = 1.0
entry_error_mm = 3.0
target_error_mm = 4.0
[entry]
skin = true # through the skin
centre_lps_mm = [-15.0, 0.0, 0.0]
radius_mm = 8.0
[[structures]]
name = "vessel"
role = "avoid"
mask = "vessel.nii.gz"
"""


@pytest.fixture
def folder(tmp_path):
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    random = np.random.default_rng(0)
    studies = {}
    for name in ("fixed", "moving"):
        places = lps_from_index(AFFINE, index)
        inside = np.linalg.norm(places, axis=-1) < 17
        volume = highdicom.Volume(np.where(inside, 40, -1000) + random.normal(0, 5, SHAPE), AFFINE, "PATIENT")
        save_nifti(volume, tmp_path / f"{name}.nii.gz")
        studies[name] = load_volume(tmp_path / f"{name}.nii.gz")
    vessel = np.zeros(SHAPE, dtype=bool)
    vessel[15:17, 24:26, 10:14] = True
    save_nifti(highdicom.Volume(vessel, AFFINE, "PATIENT"), tmp_path / "vessel.nii.gz")
    write_landmarks(tmp_path / "points.json", Landmarks({"lesion": Landmark((4.0, 0, 0))}))
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    # 1 mm² per axis in translation, 0.2 rad about z: at (0, 10, 0) of the fixed series, 1 mm² + (2 mm)² along x.
    error = RigidError((0, 0, 0), tuple(map(tuple, np.diag([1.0, 1, 1, 0, 0, 0.04]))))
    document = transform_document(Registration(STEP, "test", error), studies["fixed"], studies["moving"])
    write_transform(tmp_path / "transform.json", document)
    return tmp_path


def moved(folder, *names, more=()):
    out = folder / "out"
    files = [str(folder / name) for name in names]
    return run(["move", str(folder / "transform.json"), *files, "--out", str(out), *map(str, more)]), out


def test_a_mask_is_moved_by_its_affine_and_back(folder) -> None:
    code, out = moved(folder, "vessel.nii.gz")
    assert code == 0
    before, after = load_map(folder / "vessel.nii.gz"), load_map(out / "vessel.nii.gz")
    assert np.array_equal(before.array, after.array)
    assert np.allclose(after.affine, STEP.fixed_from_moving @ before.affine, atol=1e-4)


def test_clicks_and_boxes_lie_at_their_moved_places(folder) -> None:
    log = PromptLog("organ")
    log.add(Box((-5, -4, 0.5), (7, 4, 0.5)))  # on one slice
    log.add(Click((4, 0, 0.5), positive=False))
    write_prompt_file(folder / "prompts.json", PromptFile((log,)))
    code, out = moved(folder, "prompts.json")
    assert code == 0
    box, click = read_prompt_file(out / "prompts.json").log("organ").prompts
    assert np.allclose(click.position_lps_mm, (3, 4, -1.5))
    ends = np.sort([box.corner_lps_mm, box.opposite_lps_mm], axis=0)
    assert np.allclose(ends, [(-1, -5, -1), (7, 7, -1)])  # the slices of both lie 1.5 mm apart: the nearest to −1.5


def test_an_edit_is_refused_with_what_to_do(folder, capsys) -> None:
    log = PromptLog("organ")
    log.add(Edit(VoxelMask.from_array(load_map(folder / "vessel.nii.gz").array > 0, AFFINE)))
    write_prompt_file(folder / "prompts.json", PromptFile((log,)))
    code, out = moved(folder, "prompts.json")
    assert code == 2
    assert "begin from it (--begin-from)" in capsys.readouterr().err
    assert not out.exists()


def test_a_moved_plan_has_the_registrations_error_in_its_tool(folder) -> None:
    code, out = moved(folder, "plan.toml", more=("--onto", folder / "fixed.nii.gz"))
    assert code == 0
    assert "# to the lesion" in (out / "plan.toml").read_text()
    assert read_landmarks(out / "points.json").position("lesion") == pytest.approx((3, 4, -2))
    plan_file = read_plan_file(out / "plan.toml")
    assert plan_file.entry.centre_lps_mm == pytest.approx([3, -15, -2])
    study = load_volume(plan_file.study.path)
    inputs = resolve(plan_file.request(), study, plan_file_evidence(plan_file, study))
    tool = inputs.problem.tool
    # At (3, 4, −2): covariance 1 + 0.04·|(−4, 3)|² = 1 + 0.04·25 = 2 along the worst direction.
    assert tool.target_error_mm == pytest.approx(math.sqrt(4.0**2 + 2.0))
    assert tool.entry_error_mm > math.sqrt(3.0**2 + 1 + 0.04 * 10**2)
    assert any("error of the registration" in note for note in inputs.notes)


def test_two_masks_of_one_name_are_not_moved_onto_each_other(folder, capsys) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "vessel.nii.gz").write_bytes((folder / "vessel.nii.gz").read_bytes())
    second = '[[structures]]\nname = "nerve"\nrole = "avoid"\nmask = "other/vessel.nii.gz"\n'
    (folder / "plan.toml").write_text(PLAN + second, encoding="utf-8")
    code, out = moved(folder, "plan.toml", more=("--onto", folder / "fixed.nii.gz"))
    assert code == 2
    assert "two that would be written as vessel.nii.gz" in capsys.readouterr().err
    assert not out.exists()


def test_structures_written_in_one_line_are_moved_too(folder) -> None:
    before, _, _ = PLAN.partition("[[structures]]")
    one_line = '\nstructures = [{ name = "vessel", role = "avoid", mask = "./vessel.nii.gz" }]'
    (folder / "plan.toml").write_text(one_line + before, encoding="utf-8")
    code, out = moved(folder, "plan.toml", more=("--onto", folder / "fixed.nii.gz"))
    assert code == 0
    assert read_plan_file(out / "plan.toml").structures[0].mask == out / "vessel.nii.gz"


def test_the_error_is_the_same_seen_from_either_series(folder) -> None:
    recorded = read_transform(folder / "transform.json")
    there = recorded.error_on(load_volume(folder / "moving.nii.gz"))
    place = (5.0, -8, 3)
    assert there.axis_sd_mm(place) == pytest.approx(float(recorded.error.axis_sd_mm(STEP.apply(place))))


def test_a_plan_on_a_third_study_refuses_the_transform(folder) -> None:
    other = load_volume(folder / "fixed.nii.gz")
    third = highdicom.Volume(other.array + 1, other.affine, "PATIENT")
    with pytest.raises(ConfigError, match="two other series"):
        read_transform(folder / "transform.json").error_on(third)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("plan.toml", PLAN, "--onto STUDY"),
        ("notes.txt", "", "Expected a NIfTI mask"),
        ("prompts.json", "{}", "expected the key"),
    ],
)
def test_what_cannot_be_moved_is_refused(folder, capsys, name, text, told) -> None:
    (folder / name).write_text(text, encoding="utf-8")
    code, out = moved(folder, name)
    assert code == 2
    assert told in capsys.readouterr().err
    assert not out.exists()
