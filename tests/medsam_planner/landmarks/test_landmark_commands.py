"""``landmarks`` as a person meets it."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.landmarks.landmark_file import Landmark, Landmarks, read_landmarks, write_landmarks
from medsam_planner.volumes import volume_sha256


@pytest.fixture
def folder(tmp_path):
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1]
    affine[:3, 3] = (-15, -15, -15)
    k, j, i = np.indices((31, 31, 31)) - 15
    bright = 400 * np.exp(-((i - 2) ** 2 + (j + 3) ** 2 + (k - 1) ** 2) / 8)
    save_nifti(highdicom.Volume(bright.astype(np.float32), affine, "PATIENT"), tmp_path / "mr.nii.gz")
    save_nifti(highdicom.Volume(i**2 + j**2 + k**2 < 50, affine, "PATIENT"), tmp_path / "ball.nii.gz")
    return tmp_path


def placed(folder, name, position, *more):
    return run(
        ["landmarks", "set", str(folder / "l.json"), name, position, "--study", str(folder / "mr.nii.gz"), *more]
    )


def test_a_click_is_refined_and_kept_with_the_study_it_is_of(folder) -> None:
    assert placed(folder, "spot", "3,-2,1", "--towards", "brightest", "--within", "4") == 0
    mask = ("--mask", str(folder / "ball.nii.gz"), "--towards", "anterior", "--within", "6")
    assert placed(folder, "pole", "1,-5,0", *mask) == 0
    assert placed(folder, "click", "9,9,9") == 0
    known = read_landmarks(folder / "l.json")
    assert known.position("spot") == pytest.approx((2, -3, 1), abs=0.1)
    assert known.position("pole") == pytest.approx((0, -7, 0), abs=1e-6)
    assert known.position("click") == (9, 9, 9)
    assert known.image_sha256 == volume_sha256(load_volume(folder / "mr.nii.gz"))


@pytest.mark.parametrize(
    ("position", "more", "told"),
    [
        ("900,0,0", (), "inside the study"),
        ("1,2", (), "X,Y,Z"),
        ("1,2,nan", (), "inside the study"),
        ("0,0,0", ("--towards", "anterior"), "a mask together with a direction"),
        ("0,0,0", ("--towards", "brightest", "--within", "500"), "up to 30 mm"),
    ],
)
def test_a_wrong_click_is_refused_and_leaves_no_file(folder, capsys, position, more, told) -> None:
    assert placed(folder, "x", position, *more) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "l.json").exists()


def test_angles_say_whether_a_cup_lies_in_lewinneks_zone(tmp_path, capsys) -> None:
    pelvis = {
        "ASIS left": (120.0, -80.0, 50.0),
        "ASIS right": (-120.0, -80.0, 50.0),
        "pubic tubercle left": (25.0, -80.0, -40.0),
        "pubic tubercle right": (-25.0, -80.0, -40.0),
    }
    write_landmarks(tmp_path / "l.json", Landmarks({name: Landmark(place) for name, place in pelvis.items()}))
    ri, ra = np.deg2rad((40, 15))
    axis = f"{np.cos(ra) * np.sin(ri)},{-np.sin(ra)},{-np.cos(ra) * np.cos(ri)}"
    assert run(["landmarks", "angles", str(tmp_path / "l.json"), "--side", "left", "--axis", axis]) == 0
    assert "radiographic: inclination 40.0°, anteversion 15.0°" in capsys.readouterr().out
    assert run(["landmarks", "angles", str(tmp_path / "l.json"), "--side", "left", "--axis", "1,0,0"]) == 1
    assert run(["landmarks", "angles", str(tmp_path / "l.json"), "--side", "left"]) == 2  # no rim
