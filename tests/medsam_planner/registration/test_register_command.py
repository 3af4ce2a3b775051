"""``register`` as a person meets it: files with hashes, and refusals that leave nothing behind."""

from __future__ import annotations

import json

import highdicom
import numpy as np
import pytest
from PIL import Image

from medsam_planner.cli.app import run
from medsam_planner.errors import StudyError
from medsam_planner.io import save_nifti
from medsam_planner.io.dicom_writer import write_ct_series
from medsam_planner.io.loading import load_volume
from medsam_planner.landmarks.landmark_file import Landmark, Landmarks, write_landmarks
from medsam_planner.registration.rigid_transform import RigidTransform
from medsam_planner.registration.transform_file import read_transform
from medsam_planner.volumes import volume_sha256
from medsam_planner.workflow.register import RegisterRequest, searched_series

STEP = RigidTransform.about((0, 0, 0), (0, 0, 0.1), (4, -3, 2))
POINTS = {"a": (10.0, 0, 0), "b": (-10.0, 3, 0), "c": (0.0, 12, 4), "d": (2.0, -9, 11)}


@pytest.fixture
def studies(tmp_path):
    affine = np.diag([2.0, 1.5, 1.5, 1.0])
    random = np.random.default_rng(0)
    for name, matrix in (("fixed", affine), ("moving", STEP.moving_from_fixed @ affine)):
        save_nifti(highdicom.Volume(random.normal(0, 1, (20, 24, 22)), matrix, "PATIENT"), tmp_path / f"{name}.nii.gz")
    fixed = {name: Landmark(tuple(STEP.apply(place))) for name, place in POINTS.items()}
    write_landmarks(tmp_path / "fixed.json", Landmarks(fixed))
    write_landmarks(tmp_path / "moving.json", Landmarks({name: Landmark(place) for name, place in POINTS.items()}))
    return tmp_path


def arguments(folder, *more):
    pair = [str(folder / "fixed.nii.gz"), str(folder / "moving.nii.gz"), "--out", str(folder / "out")]
    files = ["--fixed-landmarks", str(folder / "fixed.json"), "--moving-landmarks", str(folder / "moving.json")]
    return ["register", *pair, *files, *more]


def test_landmarks_register_and_the_transform_names_both_series(studies, capsys) -> None:
    assert run(arguments(studies, "--by-landmarks")) == 0
    recorded = read_transform(studies / "out" / "transform.json")
    assert np.allclose(recorded.transform.fixed_from_moving, STEP.fixed_from_moving, atol=1e-6)
    for name, record in (("fixed", recorded.fixed), ("moving", recorded.moving)):
        study = load_volume(studies / f"{name}.nii.gz")
        assert record.sha256 == volume_sha256(study)
        assert record.is_of(study)
    assert Image.open(studies / "out" / "checkerboard.png").size[0] > 300
    assert "do not say whether both series are of one patient" in capsys.readouterr().out


def test_the_bias_field_of_both_mrs_is_corrected_for_the_search_and_of_no_ct(studies) -> None:
    affine = np.diag([2.0, 1.5, 1.5, 1.0])
    shading = 100 * np.exp(-np.indices((20, 24, 22))[1] / 24)
    save_nifti(highdicom.Volume(shading.astype(np.float32), affine, "PATIENT"), studies / "shaded.nii.gz")
    path = studies / "shaded.nii.gz"
    mr, ct = (load_volume(path, modality=name) for name in ("MR", "CT"))
    request = RegisterRequest(path, path, corrects_bias_field=True)
    both = searched_series(request, mr, mr, None)
    assert all(np.std(one.array) < np.std(mr.array) for one in both)
    first, second = searched_series(request, ct, mr, None)
    assert first is ct and np.array_equal(second.array, both[1].array)
    with pytest.raises(StudyError, match="Expected an MR to correct the bias field of"):
        searched_series(request, ct, ct, None)


def test_noise_is_refused_and_nothing_is_written(studies, capsys) -> None:
    assert run(arguments(studies)) == 2
    assert "The registration was refused" in capsys.readouterr().err
    assert not (studies / "out").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"direction": "p_moving = fixed_from_moving * p_fixed"}, "direction"),
        ({"fixed_from_moving": np.diag([1.0, 1, -1, 1]).tolist()}, "mirrors"),
        ({"schema_version": 9}, "schema_version"),
        ({"error": {"centre_lps_mm": [0, 0, 0]}}, "covariance"),
    ],
)
def test_a_changed_transform_is_refused(studies, change, told) -> None:
    from medsam_planner.errors import ConfigError

    assert run(arguments(studies, "--by-landmarks")) == 0
    path = studies / "out" / "transform.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=told):
        read_transform(path)


def test_series_of_different_patients_are_refused_unless_it_is_said(tmp_path, capsys) -> None:
    import pydicom

    volume = highdicom.Volume(np.random.default_rng(0).normal(0, 50, (8, 16, 16)), np.diag([2.0, 1, 1, 1]), "PATIENT")
    for name in ("one", "other"):
        write_ct_series(volume, tmp_path / name)
        for path in (tmp_path / name).iterdir():
            dataset = pydicom.dcmread(path)
            dataset.PatientID, dataset.FrameOfReferenceUID = name, "1.2.3"
            dataset.save_as(path)
    pair = ["register", str(tmp_path / "one"), str(tmp_path / "other"), "--out", str(tmp_path / "out")]
    assert run(pair) == 2
    assert "different patient IDs" in capsys.readouterr().err
    assert run([*pair, "--different-patients"]) == 0
    assert read_transform(tmp_path / "out" / "transform.json").error is None
