"""Small files that grow."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medsam_planner.errors import StudyError
from medsam_planner.io import load_volume, unpacking
from medsam_planner.io.unpacking import most_unpacked_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("packed_bytes", "most"),
    [(1_000, GIB // 2), (4 << 20, 800 << 20), (32 << 20, 6400 << 20), (1 << 30, 8 * GIB)],
    ids=["half a GiB is free", "200 times", "200 times of more", "never more than a study has"],
)
def test_what_a_file_may_grow_to_follows_its_size(packed_bytes: int, most: int) -> None:
    assert most_unpacked_bytes(packed_bytes) == max(most, GIB // 2)


def test_a_zip_of_more_files_than_a_series_has_is_refused_and_the_limit_is_said(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(unpacking.MAX_MEMBERS + 1):
            archive.writestr(f"{number}.dcm", b"")
    with pytest.raises(StudyError, match="at most 20000 files"):
        load_volume(path)


def test_a_zip_that_grows_a_thousandfold_is_refused_before_a_byte_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_FREE_BYTES", 1 << 20)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.dcm", bytes(1 << 20))
    with pytest.raises(StudyError, match="times its size"):
        load_volume(path)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_nifti_whose_header_promises_a_thousand_times_its_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "_FREE_BYTES", 1 << 20)
    image = nibabel.Nifti1Image(np.zeros((200, 200, 200), np.int16), np.eye(4))
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(image.to_bytes(), 9))
    assert path.stat().st_size < 100_000
    with pytest.raises(StudyError, match=r"scan\.nii\.gz unpacks to more than"):
        load_volume(path)
