"""Regular DICOM series, in every encoding, come back value by value and place by place."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medsam_planner.errors import AmbiguousSeriesError, OperationCancelledError, StudyError
from medsam_planner.io import load_volume, save_nifti
from tests.medsam_planner.io.dicom_series import (
    blob_hu,
    ct_datasets,
    enhanced_ct,
    same_voxels,
    save_all,
    write_ct_series,
)

_SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
]


@pytest.mark.parametrize("syntax", _SYNTAXES, ids=lambda uid: uid.keyword)
def test_every_transfer_syntax_gives_the_same_volume(
    syntax: UID, tmp_path: Path, oblique_affine: NDArray[np.float64]
) -> None:
    array = blob_hu((4, 40, 36))  # JPEG 2000 halves a slice five times
    write_ct_series(tmp_path, array, oblique_affine, transfer_syntax=syntax)
    volume = load_volume(tmp_path)
    assert volume.array.dtype == np.float32
    assert same_voxels(array, oblique_affine, volume.array, volume.affine)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *_SYNTAXES[3:]], ids=lambda uid: uid.keyword)
def test_a_file_cut_anywhere_is_refused_or_still_whole(
    syntax: UID, tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1000, (4, 32, 32)).astype(np.float32)
    paths = write_ct_series(tmp_path, array, plain_affine, transfer_syntax=syntax)
    whole = load_volume(tmp_path).array
    content = paths[1].read_bytes()
    refused = 0
    for length in [*range(140, len(content), max(1, len(content) // 12)), len(content) - 3, len(content) - 1]:
        paths[1].write_bytes(content[:length])
        try:
            volume = load_volume(tmp_path)
        except StudyError as error:
            refused += 1
            assert paths[1].name in str(error)
        else:
            np.testing.assert_array_equal(volume.array, whole)
    assert refused >= 10


def test_volume_lies_where_the_slices_lie(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    write_ct_series(tmp_path, array, grid_affine)
    volume = load_volume(tmp_path)
    assert same_voxels(array, grid_affine, volume.array, volume.affine)
    assert volume.coordinate_system == highdicom.CoordinateSystemNames.PATIENT
    for k, header in enumerate(volume.source.datasets):
        place = volume.affine @ [k, 0, 0, 1]
        np.testing.assert_allclose(place[:3], [float(v) for v in header.ImagePositionPatient], atol=1e-6)
        assert "PixelData" not in header


def test_names_and_order_of_the_files_do_not_matter(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    paths = write_ct_series(tmp_path / "a", blob_hu(), plain_affine)
    for number, path in enumerate(reversed(paths)):
        target = tmp_path / "b" / f"deep{number % 2}" / f"IMG{number}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    one, other = load_volume(tmp_path / "a"), load_volume(tmp_path / "b")
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_array_equal(one.affine, other.affine)


def test_rescale_of_each_slice_is_its_own(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    def halve(k: int, dataset: pydicom.Dataset) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2")
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 * (k + 1), -1024 + k
        dataset.PixelData = np.rint((stored - 1024.0 + 1024 - k) / (0.5 * (k + 1))).astype("<u2").tobytes()

    array = 100.0 * np.ones((4, 8, 8), dtype=np.float32)
    write_ct_series(tmp_path, array, plain_affine, change=halve)
    volume = load_volume(tmp_path)
    assert np.abs(volume.array - 100.0).max() <= 1.0  # half a step of slope 2
    assert len({float(header.RescaleSlope) for header in volume.source.datasets}) == 4


def test_display_inversion_does_not_touch_the_values(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    write_ct_series(
        tmp_path, array, plain_affine, PhotometricInterpretation="MONOCHROME1", WindowCenter=40, WindowWidth=80
    )
    volume = load_volume(tmp_path)
    assert same_voxels(array, plain_affine, volume.array, volume.affine)


def test_one_multi_frame_file_is_the_same_volume(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    (path,) = save_all(tmp_path, [enhanced_ct(ct_datasets(array, grid_affine))])
    for place in (path, tmp_path):
        volume = load_volume(place)
        assert same_voxels(array, grid_affine, volume.array, volume.affine)
    assert len(volume.source.datasets) == 1


def test_multi_frame_compressed_file_is_the_same_volume(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    save_all(tmp_path, [enhanced_ct(ct_datasets(array, plain_affine))], transfer_syntax=RLELossless)
    volume = load_volume(tmp_path)
    assert same_voxels(array, plain_affine, volume.array, volume.affine)


def test_zip_is_the_same_volume_and_leaves_nothing_behind(tmp_path: Path, oblique_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in write_ct_series(tmp_path / "ct", array, oblique_affine):
            archive.write(path, f"export/{path.name}")
        archive.writestr("export/README.txt", "hello")
    volume = load_volume(tmp_path / "study.zip")
    assert same_voxels(array, oblique_affine, volume.array, volume.affine)
    assert volume.source.path == tmp_path / "study.zip"
    assert any("1 not DICOM" in note for note in volume.source.notes)


def test_files_without_preamble_are_read(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    array = blob_hu()
    for dataset, path in zip(
        ct_datasets(array, plain_affine),
        write_ct_series(tmp_path, array, plain_affine),
        strict=True,
    ):
        del dataset.file_meta
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
    volume = load_volume(tmp_path)
    assert same_voxels(array, plain_affine, volume.array, volume.affine)


def test_blank_identifiers_are_filled_alike_wherever_the_files_lie(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    def blank(_: int, dataset: pydicom.Dataset) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            setattr(dataset, keyword, "")
        del dataset.FrameOfReferenceUID
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"  # one for all: no identity of its own

    array = blob_hu()
    for name in ("a", "b"):
        write_ct_series(tmp_path / name, array, plain_affine, change=blank, prefix=name)
    one, other = load_volume(tmp_path / "a"), load_volume(tmp_path / "b")
    assert same_voxels(array, plain_affine, one.array, one.affine)
    (operation,) = one.source.operations
    assert operation["name"] == "fill_blank_uids"
    assert set(operation["filled_count_by_keyword"].values()) == {7}
    uids = [header.SOPInstanceUID for header in one.source.datasets]
    assert len(set(uids)) == 7
    assert uids == [header.SOPInstanceUID for header in other.source.datasets]
    assert one.frame_of_reference_uid == other.frame_of_reference_uid is not None


def test_blank_identifiers_of_two_stacks_do_not_mix(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    def blank(_: int, dataset: pydicom.Dataset) -> None:
        dataset.SeriesInstanceUID = ""

    turned = plain_affine.copy()
    turned[:3, :3] = plain_affine[:3, [2, 0, 1]]
    write_ct_series(tmp_path, blob_hu(), plain_affine, change=blank, prefix="axial")
    write_ct_series(tmp_path, blob_hu((5, 9, 9)), turned, change=blank, prefix="turned")
    with pytest.raises(AmbiguousSeriesError, match="found 2"):
        load_volume(tmp_path)
    assert load_volume(tmp_path, series="1").array.size == 7 * 12 * 10


def test_rounding_of_direction_cosines_is_one_orientation(tmp_path: Path, oblique_affine: NDArray[np.float64]) -> None:
    def jitter(k: int, dataset: pydicom.Dataset) -> None:
        dataset.ImageOrientationPatient = [round(float(v), 6 + k % 2) for v in dataset.ImageOrientationPatient]

    array = blob_hu()
    write_ct_series(tmp_path, array, oblique_affine, change=jitter)
    volume = load_volume(tmp_path)
    assert np.abs(np.sort(volume.array.ravel()) - np.sort(array.ravel())).max() == 0


def test_a_tilt_tag_that_the_positions_contradict_is_noted(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path, blob_hu(), plain_affine, GantryDetectorTilt="12.5")
    (note,) = load_volume(tmp_path).source.notes
    assert "12.5°" in note


def test_nifti_beside_dicom_is_ignored_and_noted(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path, blob_hu(), plain_affine)
    save_nifti(load_volume(tmp_path), tmp_path / "mask.nii.gz")
    volume = load_volume(tmp_path)
    assert volume.source.format == "dicom"
    assert volume.source.notes == ("Ignored files: 1 NIfTI.",)


class _Watcher:
    def __init__(self, stop_at: str) -> None:
        self.stages: list[str] = []
        self.stop_at = stop_at

    def update(self, stage: str, done: int, total: int) -> None:
        assert 0 <= done <= total
        self.stages.append(stage)

    @property
    def is_cancelled(self) -> bool:
        return self.stages[-1] == self.stop_at


def test_reading_reports_and_can_be_cancelled(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path, blob_hu(), plain_affine)
    watcher = _Watcher("never")
    load_volume(tmp_path, progress=watcher)
    assert list(dict.fromkeys(watcher.stages)) == ["Reading headers", "Decoding slices"]
    with pytest.raises(OperationCancelledError):
        load_volume(tmp_path, progress=_Watcher("Decoding slices"))


class TestChoice:
    """Several series: list, ask, never guess."""

    @pytest.fixture
    def study(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> Path:
        for number, (name, size) in enumerate([("Thin", 5), ("Thick", 7), ("thick ", 6)], start=1):
            write_ct_series(
                tmp_path, blob_hu((size, 8, 8)), plain_affine, prefix=name.strip() + str(size),
                SeriesDescription=name, SeriesNumber=number,
            )  # fmt: skip
        return tmp_path

    def test_error_lists_number_uid_description_and_shape(self, study: Path) -> None:
        with pytest.raises(AmbiguousSeriesError) as caught:
            load_volume(study)
        uid = pydicom.dcmread(study / "Thin5_000").SeriesInstanceUID
        for part in ("--series", "1: CT, 5 files, 5 × 8 × 8, 'Thin'", "2: CT, 7 files", uid):
            assert part in str(caught.value)

    def test_number_uid_and_unique_description_choose(self, study: Path) -> None:
        uid = str(pydicom.dcmread(study / "Thick7_000").SeriesInstanceUID)
        assert load_volume(study, series="2").array.shape == (7, 8, 8)
        assert load_volume(study, series=uid).array.shape == (7, 8, 8)
        assert load_volume(study, series="thin").array.shape == (5, 8, 8)

    def test_description_of_two_series_is_not_enough(self, study: Path) -> None:
        with pytest.raises(AmbiguousSeriesError, match="fits 2 series"):
            load_volume(study, series="thick")

    def test_unknown_series_is_refused_with_the_list(self, study: Path) -> None:
        with pytest.raises(StudyError, match=r"No series '9'(.|\n)*3: CT"):
            load_volume(study, series="9")

    def test_screenshot_and_localizer_series_are_left_aside_with_a_note(
        self, tmp_path: Path, plain_affine: NDArray[np.float64]
    ) -> None:
        write_ct_series(tmp_path, blob_hu(), plain_affine, SeriesNumber=2)
        write_ct_series(
            tmp_path, blob_hu((3, 20, 20)), plain_affine, prefix="scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
        )
        write_ct_series(tmp_path, blob_hu((1, 5, 5)), plain_affine, prefix="single", SeriesNumber=3)
        volume = load_volume(tmp_path)
        assert volume.array.shape == (7, 12, 10)
        assert len(volume.source.notes) == 2
        assert "localizer" in volume.source.notes[0]

    def test_localizer_inside_the_series_is_left_aside_with_a_note(
        self, tmp_path: Path, plain_affine: NDArray[np.float64]
    ) -> None:
        datasets = ct_datasets(blob_hu(), plain_affine)
        (scout, *_) = ct_datasets(blob_hu((1, 30, 30)), plain_affine)
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        scout.SeriesInstanceUID = datasets[0].SeriesInstanceUID
        save_all(tmp_path, [*datasets, scout])
        volume = load_volume(tmp_path)
        assert volume.array.shape == (7, 12, 10)
        assert "slice_007" in volume.source.notes[0]
