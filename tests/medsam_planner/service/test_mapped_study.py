"""The server's own copy of a study is the study itself, whatever happens to the files it came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medsam_planner import load_volume
from medsam_planner.errors import StudyError
from medsam_planner.service.core.mapped_study import read_copy, write_copy
from medsam_planner.volumes import volume_sha256
from tests.medsam_planner.io.dicom_series import write_ct_series


@pytest.fixture(params=["nifti", "dicom"])
def place(request: pytest.FixtureRequest, study_path: Path, tmp_path: Path) -> Path:
    if request.param == "dicom":
        voxels = np.random.default_rng(0).integers(-1000, 1000, (4, 12, 10), dtype=np.int16)
        write_ct_series(tmp_path / "series", voxels, np.diag([2.0, 1.0, 1.0, 1.0]))
        return tmp_path / "series"
    return study_path


def test_a_copy_is_the_study_with_its_headers_and_cannot_be_written_to(place: Path, tmp_path: Path) -> None:
    study = load_volume(place)
    write_copy(tmp_path / "copy", study)
    copy = read_copy(tmp_path / "copy", volume_sha256(study))
    np.testing.assert_array_equal(copy.array, study.array)
    np.testing.assert_array_equal(copy.affine, study.affine)
    assert copy.source == study.source
    assert (copy.frame_of_reference_uid, copy.coordinate_system) == (
        study.frame_of_reference_uid,
        study.coordinate_system,
    )
    with pytest.raises(ValueError, match="read-only"):
        copy.array[0, 0, 0] = 1


@pytest.mark.parametrize("name", ["voxels.npy", "source.pickle"])
def test_a_damaged_or_absent_copy_is_no_study(study_path: Path, tmp_path: Path, name: str) -> None:
    study = load_volume(study_path)
    sha256 = volume_sha256(study)
    write_copy(tmp_path, study)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StudyError, match="Open it as a new study"):
        read_copy(tmp_path, sha256)
    (tmp_path / name).unlink()
    with pytest.raises(StudyError, match="Open it as a new study"):
        read_copy(tmp_path, sha256)


def test_a_copy_of_other_voxels_is_refused(study_path: Path, tmp_path: Path) -> None:
    study = load_volume(study_path)
    write_copy(tmp_path, study)
    content = bytearray((tmp_path / "voxels.npy").read_bytes())
    content[-1] ^= 1
    (tmp_path / "voxels.npy").write_bytes(content)
    with pytest.raises(StudyError, match="damaged"):
        read_copy(tmp_path, volume_sha256(study))


def test_the_hash_of_voxels_that_can_be_written_to_is_computed_each_time(study_path: Path) -> None:
    study = load_volume(study_path)
    before = volume_sha256(study)
    study.array[0, 0, 0] += 1
    assert volume_sha256(study) != before
