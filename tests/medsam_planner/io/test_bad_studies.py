"""Studies that are wrong, each with the words a person needs to mend it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, RTStructureSetStorage, SegmentationStorage

from medsam_planner.errors import AmbiguousSeriesError, GantryTiltError, MedsamPlannerError, StudyError
from medsam_planner.io import archive as archive_module
from medsam_planner.io import load_volume
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, enhanced_ct, save_all, sheared, write_ct_series

_AFFINE = np.array([[0.0, 0.0, 0.5, -60], [0.0, 0.75, 0.0, 20], [2.0, 0.0, 0.0, 100], [0, 0, 0, 1]])


def _series(folder: Path, change: Callable[[int, pydicom.Dataset], None] | None = None, **overrides: object) -> Path:
    write_ct_series(folder, blob_hu(), _AFFINE, change=change, **overrides)
    return folder


def _on_slice(number: int, **values: object) -> Callable[[int, pydicom.Dataset], None]:
    def change(k: int, dataset: pydicom.Dataset) -> None:
        if k == number:
            for keyword, value in values.items():
                if value is None:
                    delattr(dataset, keyword)
                else:
                    setattr(dataset, keyword, value)

    return change


def absent(folder: Path) -> Path:
    return folder / "nowhere"


def empty_folder(folder: Path) -> Path:
    return folder


def text_file(folder: Path) -> Path:
    (folder / "notes.txt").write_text("CT of the abdomen, see the other folder. " * 20)
    return folder / "notes.txt"


def folder_of_texts(folder: Path) -> Path:
    text_file(folder)
    return folder


def text_named_dcm_at_the_end_of_a_series(folder: Path) -> Path:
    _series(folder)
    (folder / "slice_007.dcm").write_text("CT of the abdomen. " * 40)
    return folder


def empty_file_named_dcm(folder: Path) -> Path:
    (folder / "slice.DCM").touch()
    return folder


def only_rtstruct_and_seg(folder: Path) -> Path:
    datasets = ct_datasets(blob_hu((2, 4, 4)), _AFFINE)
    for dataset, modality, sop_class in zip(
        datasets, ("RTSTRUCT", "SEG"), (RTStructureSetStorage, SegmentationStorage), strict=True
    ):
        dataset.Modality, dataset.SOPClassUID = modality, sop_class
        dataset.file_meta.MediaStorageSOPClassUID = sop_class
    save_all(folder, datasets)
    return folder


def missing_slice(folder: Path) -> Path:
    _series(folder)
    (folder / "slice_003").unlink()
    return folder


def two_missing_slices(folder: Path) -> Path:
    _series(folder)
    (folder / "slice_003").unlink()
    (folder / "slice_004").unlink()
    return folder


def unequal_spacing(folder: Path) -> Path:
    return _series(folder, _on_slice(6, ImagePositionPatient=[-60, 20, 112.7]))


def slice_a_little_astray(folder: Path) -> Path:
    return _series(folder, _on_slice(3, ImagePositionPatient=[-59.6, 20, 106]))


def duplicate_slice(folder: Path) -> Path:
    _series(folder)
    shutil.copy(folder / "slice_002", folder / "copy_of_002")
    return folder


def two_phases_in_one_series(folder: Path) -> Path:
    _series(folder)
    for path in list(folder.iterdir()):
        shutil.copy(path, folder / f"second_{path.name}")
    return folder


def gantry_tilt(folder: Path) -> Path:
    return _series(folder, sheared(_AFFINE, 0.5))


def small_tilt_that_highdicom_lets_pass(folder: Path) -> Path:
    return _series(folder, sheared(_AFFINE, 0.05))  # 1.4 degrees


def tilt_and_gap(folder: Path) -> Path:
    gantry_tilt(folder)
    (folder / "slice_003").unlink()
    return folder


def mixed_orientations(folder: Path) -> Path:
    return _series(folder, _on_slice(4, ImageOrientationPatient=[0, 1, 0, 0, 0, 1]))


def mixed_sizes(folder: Path) -> Path:
    datasets = ct_datasets(blob_hu(), _AFFINE)
    datasets[5].Rows, datasets[5].Columns = 10, 12
    save_all(folder, datasets)
    return folder


def mixed_pixel_spacings(folder: Path) -> Path:
    return _series(folder, _on_slice(1, PixelSpacing=[0.75, 0.6]))


def mixed_frames_of_reference(folder: Path) -> Path:
    return _series(folder, _on_slice(1, FrameOfReferenceUID="1.2.3.4"))


def one_slice_without_position(folder: Path) -> Path:
    return _series(folder, _on_slice(2, ImagePositionPatient=None))


def no_orientation(folder: Path) -> Path:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        del dataset.ImageOrientationPatient

    return _series(folder, change)


def skew_orientation(folder: Path) -> Path:
    return _series(folder, ImageOrientationPatient=[1, 0, 0, 0.5, 0.5, 0])


def negative_pixel_spacing(folder: Path) -> Path:
    return _series(folder, PixelSpacing=[0.75, -0.5])


def two_slices(folder: Path) -> Path:
    write_ct_series(folder, blob_hu((2, 6, 6)), _AFFINE)
    return folder


def only_localizers(folder: Path) -> Path:
    return _series(folder, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


def colour(folder: Path) -> Path:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit = 7
        dataset.PixelData = dataset.PixelData + dataset.PixelData[: len(dataset.PixelData) // 2]

    return _series(folder, change)


def palette_in_one_slice(folder: Path) -> Path:
    return _series(folder, _on_slice(2, PhotometricInterpretation="PALETTE COLOR"))


def truncated_pixels(folder: Path) -> Path:
    _series(folder)
    path = folder / "slice_003"
    path.write_bytes(path.read_bytes()[:-50])
    return folder


def truncated_header(folder: Path) -> Path:
    _series(folder)
    path = folder / "slice_006"  # the last slice: its loss would leave no gap
    path.write_bytes(path.read_bytes()[:600])
    return folder


def damaged_compressed_pixels(folder: Path) -> Path:
    _series(folder, transfer_syntax=RLELossless)
    path = folder / "slice_003"
    content = path.read_bytes()
    path.write_bytes(content[:-100] + bytes(100))
    return folder


def broken_link(folder: Path) -> Path:
    _series(folder)
    (folder / "slice_006").unlink()
    (folder / "slice_006").symlink_to(folder / "annex" / "gone")
    return folder


def binary_that_is_no_dicom(folder: Path) -> Path:
    (folder / "numbers.bin").write_bytes(
        (np.arange(1000, dtype="<i4") * 77 + 8).tobytes()
    )  # begins 08 00 00 00, as group 8
    return folder / "numbers.bin"


def no_pixels(folder: Path) -> Path:
    return _series(folder, _on_slice(3, PixelData=None))


def angiography(folder: Path) -> Path:
    return _series(folder, Modality="XA")


def ct_without_rescale(folder: Path) -> Path:
    def change(_: int, dataset: pydicom.Dataset) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept

    return _series(folder, change)


def enhanced_ct_without_rescale(folder: Path) -> Path:
    dataset = enhanced_ct(ct_datasets(blob_hu(), _AFFINE))
    del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    save_all(folder, [dataset])
    return folder


def one_slice_without_rescale(folder: Path) -> Path:
    return _series(folder, _on_slice(2, RescaleSlope=None))


def frames_without_places(folder: Path) -> Path:
    (dataset, *_) = ct_datasets(blob_hu((1, 6, 6)), _AFFINE)
    dataset.NumberOfFrames = 5
    dataset.PixelData = dataset.PixelData * 5
    save_all(folder, [dataset])
    return folder / "slice_000"


def several_series(folder: Path) -> Path:
    _series(folder, SeriesDescription="venous")
    write_ct_series(folder, blob_hu((4, 8, 8)), _AFFINE, prefix="b", SeriesDescription="arterial")
    return folder


def truncated_zip(folder: Path) -> Path:
    path = good_zip(folder)
    path.write_bytes(path.read_bytes()[:-200])
    return path


def zip_that_reaches_outside(folder: Path) -> Path:
    path = good_zip(folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../evil.dcm", "evil")
    return path


def encrypted_zip(folder: Path) -> Path:
    path = good_zip(folder)
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


def good_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "study.zip", "w") as archive:
        for path in write_ct_series(folder / "ct", blob_hu(), _AFFINE):
            archive.write(path, path.name)
    return folder / "study.zip"


_CASES: list[tuple[Callable[[Path], Path], type[MedsamPlannerError], tuple[str, ...]]] = [
    (absent, StudyError, ("does not exist", "nowhere")),
    (empty_folder, StudyError, ("is empty",)),
    (text_file, StudyError, ("notes.txt", "none of these")),
    (folder_of_texts, StudyError, ("found only: 1 not DICOM",)),
    (only_rtstruct_and_seg, StudyError, ("found only: 1 RTSTRUCT, 1 SEG",)),
    (missing_slice, StudyError, ("1 slice is missing", "slice_002", "slice_004", "4.00 mm")),
    (two_missing_slices, StudyError, ("2 slices are missing", "6.00 mm")),
    (unequal_spacing, StudyError, ("not equally spaced", "2 mm (5 times)", "2.7 mm (1 times)")),
    (slice_a_little_astray, StudyError, ("slice_003", "0.40 mm")),
    (duplicate_slice, StudyError, ("1 slice lies at the place of another", "copy_of_002", "slice_002")),
    (two_phases_in_one_series, StudyError, ("7 slices lie at the place of another", "phases")),
    (gantry_tilt, GantryTiltError, ("14.0°", "--resample-tilt")),
    (small_tilt_that_highdicom_lets_pass, GantryTiltError, ("1.4°", "--resample-tilt")),
    (tilt_and_gap, StudyError, ("1 slice is missing", "14.0°", "equally spaced")),
    (mixed_orientations, StudyError, ("2 different orientations", "slice_004")),
    (mixed_sizes, StudyError, ("2 different sizes", "slice_005")),
    (mixed_pixel_spacings, StudyError, ("2 different pixel spacings", "slice_001")),
    (mixed_frames_of_reference, StudyError, ("2 different frames of reference",)),
    (one_slice_without_position, StudyError, ("1 of 7 files", "slice_002", "ImagePositionPatient is missing")),
    (no_orientation, StudyError, ("7 of 7 files", "ImageOrientationPatient is missing")),
    (skew_orientation, StudyError, ("perpendicular unit vectors", "slice_000")),
    (negative_pixel_spacing, StudyError, ("is not positive",)),
    (two_slices, StudyError, ("it has 2 slices", "at least 3")),
    (only_localizers, StudyError, ("only localizer images", "slice_000")),
    (colour, StudyError, ("colour pixels (RGB)", "slice_000")),
    (palette_in_one_slice, StudyError, ("1 of 7 files hold colour", "slice_002")),
    (truncated_pixels, StudyError, ("slice_003", "truncated")),
    (truncated_header, StudyError, ("slice_006", "damaged")),
    (damaged_compressed_pixels, StudyError, ("slice_003", "RLE Lossless")),
    (text_named_dcm_at_the_end_of_a_series, StudyError, ("slice_007.dcm", "no DICOM file", "copy the study again")),
    (empty_file_named_dcm, StudyError, ("slice.DCM", "no DICOM file")),
    (broken_link, StudyError, ("slice_006", "cannot be opened")),
    (binary_that_is_no_dicom, StudyError, ("numbers.bin", "none of these")),
    (enhanced_ct_without_rescale, StudyError, ("RescaleSlope",)),
    (no_pixels, StudyError, ("slice_003", "no pixel data")),
    (angiography, StudyError, ("modality is 'XA'", "modality='CT'")),
    (ct_without_rescale, StudyError, ("RescaleSlope", "modality='CT'")),
    (one_slice_without_rescale, StudyError, ("1 of 7 files", "slice_002")),
    (frames_without_places, StudyError, ("5 frames but 0 functional groups",)),
    (several_series, AmbiguousSeriesError, ("found 2", "venous", "arterial", "--series")),
    (truncated_zip, StudyError, ("study.zip", "truncated or damaged", "copy it again")),
    (zip_that_reaches_outside, StudyError, ("../../evil.dcm", "outside itself")),
    (encrypted_zip, StudyError, ("encrypted",)),
]


@pytest.mark.parametrize(("build", "error", "words"), _CASES, ids=[case[0].__name__ for case in _CASES])
def test_bad_study_is_refused_in_words(
    build: Callable[[Path], Path], error: type[MedsamPlannerError], words: tuple[str, ...], tmp_path: Path
) -> None:
    path = build(tmp_path)
    with pytest.raises(MedsamPlannerError) as caught:
        load_volume(path)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


def test_the_same_series_without_the_fault_is_read(tmp_path: Path) -> None:
    assert load_volume(_series(tmp_path)).array.shape == (7, 12, 10)
    assert load_volume(good_zip(tmp_path)).array.shape == (7, 12, 10)


def test_the_companions_that_macos_writes_beside_files_are_no_lost_slices(tmp_path: Path) -> None:
    _series(tmp_path)
    (tmp_path / "._slice_002.dcm").write_bytes(b"\0\5\x16\7" + bytes(200))
    assert load_volume(tmp_path).array.shape == (7, 12, 10)


def test_nothing_is_written_outside_by_a_hostile_zip(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    path = zip_that_reaches_outside(tmp_path / "in" / "deep")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StudyError):
        load_volume(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_that_unpacks_to_too_much_is_stopped_while_unpacking(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(50_000_000))
    assert path.stat().st_size < 100_000
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(StudyError, match="unpacks to more than"):
        archive_module.unpack_archive(path, target, max_bytes=3_000_000)
    assert sum(file.stat().st_size for file in target.iterdir()) <= 3_000_000


def test_stating_the_modality_admits_values_that_the_files_do_not_explain(tmp_path: Path) -> None:
    for build in (ct_without_rescale, angiography):
        folder = tmp_path / build.__name__
        folder.mkdir()
        assert load_volume(build(folder), modality="CT").source.modality == "CT"


def test_modality_is_ct_or_mr(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"'CT' or 'MR', got 'PET'"):
        load_volume(_series(tmp_path), modality="PET")


def test_refusal_names_the_files_that_were_ignored(tmp_path: Path) -> None:
    two_slices(tmp_path)
    text_file(tmp_path)
    with pytest.raises(StudyError, match=r"Ignored files in .*: 1 not DICOM"):
        load_volume(tmp_path)
