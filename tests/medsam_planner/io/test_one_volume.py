"""Files of one series UID: the whole of one patient, or a refusal that says whose files lie there."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medsam_planner.errors import AmbiguousSeriesError, StudyError
from medsam_planner.io import inspect_study, load_volume, save_dicom_seg
from medsam_planner.volumes import volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, enhanced_ct, save_all, write_ct_series

_AFFINE = np.array([[0, 0, 1.0, -5], [0, 1.0, 0, 3], [2.5, 0, 0, 40], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("PatientID", ("P0", "P1")),
        ("PatientID", ("P0", "")),
        ("PatientName", ("Case^0", "Case^1")),
        ("PatientBirthDate", ("19500101", "19600101")),
        ("PatientSex", ("F", "M")),
        ("StudyInstanceUID", ("1.2.3", "1.2.4")),
        ("Modality", ("CT", "MR")),
    ],
)
@pytest.mark.parametrize("series_uid", ["1.2.3.4", ""])
def test_files_of_two_patients_or_studies_are_named_by_both(keyword, values, series_uid, tmp_path: Path) -> None:
    def halves(k: int, dataset: pydicom.Dataset) -> None:
        setattr(dataset, keyword, values[k // 4])

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=halves, SeriesInstanceUID=series_uid)
    if keyword == "Modality" and not series_uid:  # two series of their own, and neither is read without being named
        with pytest.raises(AmbiguousSeriesError):
            load_volume(tmp_path)
        return
    with pytest.raises(StudyError) as caught:
        load_volume(tmp_path)
    for word in (keyword, *(f"'{value}'" for value in values), "slice_000", "slice_004"):
        assert word in str(caught.value)
    assert any(keyword in problem for problem in inspect_study(tmp_path).series[0].problems)


def parts(
    counts: list[int], order: list[int] | None = None, *, array: np.ndarray | None = None
) -> list[pydicom.Dataset]:
    """One series as multi-frame files of so many frames each, stored in any order."""
    datasets = ct_datasets(blob_hu() if array is None else array, _AFFINE)
    ends = np.cumsum([0, *counts])
    files = [enhanced_ct(datasets[a:b]) for a, b in itertools.pairwise(ends)]
    for number, file in enumerate(files):
        file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    return [files[number] for number in order or range(len(files))]


@pytest.mark.parametrize(
    ("counts", "order"),
    [
        ([1] * 7, None),
        ([1] * 7, [6, 5, 4, 3, 2, 1, 0]),
        ([1] * 7, [3, 0, 5, 1, 6, 2, 4]),
        ([4, 3], None),
        ([4, 3], [1, 0]),
        ([3, 1, 3], [2, 0, 1]),
    ],
)
def test_a_series_in_several_multi_frame_files_is_one_volume(counts, order, tmp_path: Path) -> None:
    save_all(tmp_path, parts(counts, order))
    (series,) = inspect_study(tmp_path).readable
    volume = load_volume(tmp_path)
    assert series.shape == volume.spatial_shape == blob_hu().shape
    save_all(tmp_path / "plain", ct_datasets(blob_hu(), _AFFINE))
    plain = load_volume(tmp_path / "plain")
    np.testing.assert_array_equal(volume.array, plain.array)
    np.testing.assert_allclose(volume.affine, plain.affine)
    np.testing.assert_allclose(series.affine, volume.affine)


@pytest.mark.parametrize("counts", [[1] * 7, [4, 3]])
def test_a_mask_of_several_multi_frame_files_refers_to_them_all(counts, tmp_path: Path) -> None:
    save_all(tmp_path / "ct", parts(counts))
    study = load_volume(tmp_path / "ct")
    path = save_dicom_seg(volume_like(study, study.array > -600), tmp_path / "mask.dcm", study, label="all")
    written = pydicom.dcmread(path)
    assert len(written.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == len(counts)


def test_a_lost_part_is_a_gap_and_a_part_alone_is_told(tmp_path: Path) -> None:
    first, _, last = parts([3, 1, 3])
    save_all(tmp_path, [first, last])
    with pytest.raises(StudyError, match="missing"):
        load_volume(tmp_path)


def test_files_that_are_phases_stay_volumes_of_their_own(tmp_path: Path) -> None:
    early, late = parts([7])[0], parts([7], array=blob_hu() + 50)[0]
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = "1.2.3.9"
    save_all(tmp_path, [early, late])
    assert len(inspect_study(tmp_path).readable) == 2
    with pytest.raises(AmbiguousSeriesError):
        load_volume(tmp_path)
    assert load_volume(tmp_path, series="1").array.shape == blob_hu().shape


@pytest.mark.parametrize("digits", [0.02, 0.05])
@pytest.mark.parametrize("form", ["single frames", "one file"])
def test_positions_rounded_by_the_scanner_are_read_with_a_note(digits, form, tmp_path: Path) -> None:
    rounding = np.random.default_rng(1)
    datasets = ct_datasets(blob_hu((20, 6, 5)), _AFFINE)
    for dataset in datasets:
        x, y, z = (float(value) for value in dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, y, round(z + float(rounding.uniform(-digits, digits)), 3)]
    save_all(tmp_path, datasets if form == "single frames" else [enhanced_ct(datasets)])
    volume = load_volume(tmp_path)
    assert volume.spatial_shape == (20, 6, 5)
    assert any("rounded positions" in note for note in volume.source.notes)
    np.testing.assert_allclose(volume.spacing, (2.5, 1, 1), atol=0.01)


def test_a_missing_slice_of_a_thin_stack_is_still_missed(tmp_path: Path) -> None:
    thin = _AFFINE.copy()
    thin[2, 0] = 0.15
    for lost in (1, 9, 18):
        datasets = ct_datasets(blob_hu((20, 6, 5)), thin)
        save_all(tmp_path / str(lost), datasets[:lost] + datasets[lost + 1 :])
        with pytest.raises(StudyError, match="missing"):
            load_volume(tmp_path / str(lost))


@pytest.mark.parametrize("spacing", [0.001, 500.0])
def test_pixels_that_no_person_has_are_doubted_in_dicom_too(spacing: float, tmp_path: Path) -> None:
    write_ct_series(tmp_path, blob_hu(), _AFFINE, PixelSpacing=[spacing, spacing])
    with pytest.raises(StudyError, match="millimetres"):
        load_volume(tmp_path)
