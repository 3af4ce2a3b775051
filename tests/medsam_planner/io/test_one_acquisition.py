"""Slices at the right places that are no one volume: refused by inspection and by reading, in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence as DicomSequence

from medsam_planner.errors import StudyError
from medsam_planner.io import inspect_study, load_volume
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, enhanced_ct, save_all, write_ct_series

_AFFINE = np.array([[0, 0, 1.0, -5], [0, 1.0, 0, 3], [2.5, 0, 0, 40], [0, 0, 0, 1]])
_TYPE = ["ORIGINAL", "PRIMARY"]
_MIXED = [
    ("MR", "ImageType", [[*_TYPE, "M"], [*_TYPE, "P"]]),
    ("MR", "ImageType", [[*_TYPE, "FFE", "M"], [*_TYPE, "FFE", "P"]]),
    ("CT", "ImageType", [[*_TYPE, "AXIAL"], ["DERIVED", "SECONDARY", "MIP"]]),
    ("MR", "ComplexImageComponent", ["MAGNITUDE", "PHASE"]),
    ("MR", "EchoTime", ["10", "80"]),
    ("CT", "KVP", ["80", "140"]),
    ("CT", "ConvolutionKernel", ["B10", "B80"]),
    ("CT", "PatientPosition", ["HFS", "FFP"]),
]


def refused(folder: Path, *words: str) -> None:
    """Inspection and reading both, for one reason."""
    (series,) = inspect_study(folder).series
    with pytest.raises(StudyError) as caught:
        load_volume(folder)
    assert series.problems and not inspect_study(folder).readable
    for word in words:
        assert word in " ".join(series.problems) and word in str(caught.value)


@pytest.mark.parametrize("way", ["alternating", "halves", "one slice"])
@pytest.mark.parametrize(("modality", "keyword", "values"), _MIXED)
def test_slices_of_two_acquisitions_are_refused(modality, keyword, values, way, tmp_path: Path) -> None:
    second = {"alternating": lambda k: k % 2, "halves": lambda k: k > 3, "one slice": lambda k: k == 4}[way]

    def mix(k: int, dataset: pydicom.Dataset) -> None:
        setattr(dataset, keyword, values[int(second(k))])

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=mix, Modality=modality)
    refused(tmp_path, keyword, "slice_000", "slice_00")


def _group(dataset: pydicom.Dataset, sequence: str, **values: Any) -> None:
    item = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    setattr(dataset, sequence, DicomSequence([item]))


@pytest.mark.parametrize(
    ("sequence", "element", "values", "keyword"),
    [
        ("MREchoSequence", "EffectiveEchoTime", (10.0, 80.0), "EchoTime"),
        ("MRImageFrameTypeSequence", "ComplexImageComponent", ("MAGNITUDE", "PHASE"), "ComplexImageComponent"),
        ("MRImageFrameTypeSequence", "FrameType", ([*_TYPE, "M"], [*_TYPE, "P"]), "ImageType"),
        ("CTReconstructionSequence", "ConvolutionKernel", ("B10", "B80"), "ConvolutionKernel"),
    ],
)
def test_frames_of_two_acquisitions_in_one_file_are_refused(sequence, element, values, keyword, tmp_path: Path) -> None:
    file = enhanced_ct(ct_datasets(blob_hu(), _AFFINE, Modality="MR"))
    for k, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        _group(frame, sequence, **{element: values[k % 2]})
    save_all(tmp_path, [file])
    refused(tmp_path, keyword, "frame 2")


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("EchoTime", ["2.10", "2.104"]),
        ("KVP", ["120", "120.0"]),
        ("KVP", ["120", ""]),
        ("PatientPosition", ["HFS", ""]),
        ("ImageType", [[*_TYPE, "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]]),
    ],
)
def test_what_scanners_write_for_one_acquisition_is_read_without_a_word(keyword, values, tmp_path: Path) -> None:
    def vary(k: int, dataset: pydicom.Dataset) -> None:
        setattr(dataset, keyword, values[k % 2])

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=vary, Modality="MR")
    assert inspect_study(tmp_path).readable
    assert load_volume(tmp_path).source.notes == ()


@pytest.mark.parametrize(
    ("keyword", "values"),
    [("AcquisitionDate", ["20200101", "20210101"]), ("SeriesDescription", ["early", "late"])],
)
def test_another_date_or_description_is_told_and_read(keyword, values, tmp_path: Path) -> None:
    def halves(k: int, dataset: pydicom.Dataset) -> None:
        setattr(dataset, keyword, values[k // 4])

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=halves)
    (series,) = inspect_study(tmp_path).readable
    for notes in (series.notes, load_volume(tmp_path).source.notes):
        assert [keyword in note and f"'{values[1]}' in slice_004" in note for note in notes] == [True]


def test_pictures_of_a_screen_are_no_volume(tmp_path: Path) -> None:
    write_ct_series(tmp_path, blob_hu(), _AFFINE, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"])
    refused(tmp_path, "SCREEN SAVE", "slice_000")


@pytest.mark.parametrize(
    ("keyword", "values"), [("AcquisitionNumber", ("1", "2")), ("RescaleIntercept", ("-1024", "-1000"))]
)
def test_two_values_of_a_number_that_slices_usually_share_are_noted(keyword, values, tmp_path: Path) -> None:
    def mix(k: int, dataset: pydicom.Dataset) -> None:
        setattr(dataset, keyword, values[int(k > 3)])

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=mix)
    (series,) = inspect_study(tmp_path).series
    assert not series.problems and any(keyword in note and "belong together" in note for note in series.notes)


def test_a_number_that_counts_the_slices_or_is_spelled_in_two_ways_is_not_noted(tmp_path: Path) -> None:
    def count(k: int, dataset: pydicom.Dataset) -> None:
        dataset.AcquisitionNumber = k + 1
        dataset.RescaleIntercept = ("-1024", "-1024.0")[k % 2]

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=count)
    (series,) = inspect_study(tmp_path).series
    assert not any("AcquisitionNumber" in note or "RescaleIntercept" in note for note in series.notes)
