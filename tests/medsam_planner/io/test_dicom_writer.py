"""A volume written as CT files is, to other readers, that volume."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io import load_volume
from medsam_planner.io.dicom_writer import write_ct_series
from tests.medsam_planner.io.dicom_series import blob_hu, same_voxels


def _volume(affine: NDArray[np.float64], array: NDArray[np.float32] | None = None) -> highdicom.Volume:
    return highdicom.Volume(blob_hu() if array is None else array, affine, "PATIENT")


def test_highdicom_reads_the_same_volume(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    paths = write_ct_series(_volume(grid_affine), tmp_path / "ct", seed=3)
    assert [path.name for path in paths] == [f"slice_{k:04d}.dcm" for k in range(7)]
    back = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths])
    assert same_voxels(blob_hu(), grid_affine, back.array, back.affine)
    loaded = load_volume(tmp_path / "ct")
    assert loaded.source.operations == ()  # nothing had to be filled in
    assert loaded.source.modality == "CT"


def test_files_state_what_the_ct_image_iod_requires(tmp_path: Path, oblique_affine: NDArray[np.float64]) -> None:
    first = pydicom.dcmread(
        write_ct_series(
            _volume(oblique_affine), tmp_path, patient_name="Phantom^Pelvis", series_description="Becken, schräg"
        )[0]
    )
    assert first.SOPClassUID == pydicom.uid.CTImageStorage == first.file_meta.MediaStorageSOPClassUID
    assert first.PatientName == "Phantom^Pelvis"
    assert first.SeriesDescription == "Becken, schräg"
    assert (first.RescaleSlope, first.RescaleIntercept, first.RescaleType) == (1, -1024, "HU")
    assert len(first.ImageType) == 3
    required_but_maybe_empty = "StudyDate StudyTime AccessionNumber ReferringPhysicianName PatientBirthDate PatientSex"
    for keyword in f"{required_but_maybe_empty} StudyID AcquisitionNumber KVP PositionReferenceIndicator".split():
        assert keyword in first
    for uid in (first.StudyInstanceUID, first.SeriesInstanceUID, first.SOPInstanceUID, first.FrameOfReferenceUID):
        assert uid.is_valid


def test_same_seed_same_bytes_and_another_seed_other_identifiers(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    runs = [write_ct_series(_volume(plain_affine), tmp_path / str(n), seed=seed) for n, seed in enumerate((5, 5, 6))]
    assert [path.read_bytes() for path in runs[0]] == [path.read_bytes() for path in runs[1]]
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for run in (runs[0], runs[2]) for path in run}
    assert len(uids) == 14


def test_hu_are_rounded_to_whole_numbers(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    array = np.linspace(-3, 3, 60, dtype=np.float32).reshape(3, 4, 5)
    write_ct_series(_volume(plain_affine, array), tmp_path)
    loaded = load_volume(tmp_path)
    assert same_voxels(np.rint(array), plain_affine, loaded.array, loaded.affine)


@pytest.mark.parametrize("value", [-1025.0, 70000.0, np.nan])
def test_values_that_do_not_fit_are_refused(value: float, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    array[0, 0, 0] = value
    with pytest.raises(StudyError, match="from -1024 to 64511 HU"):
        write_ct_series(_volume(plain_affine, array), tmp_path)
