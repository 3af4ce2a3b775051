"""What reading refuses for its values or its pixels, inspection says beforehand, and ends with exit code 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import RLELossless

from medsam_planner.cli.app import run
from medsam_planner.errors import StudyError
from medsam_planner.io import inspect_study, load_volume
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, enhanced_ct, save_all, write_ct_series

_AFFINE = np.array([[0, 0, 1.0, -5], [0, 1.0, 0, 3], [2.5, 0, 0, 40], [0, 0, 0, 1]])


def without_rescale(k: int, dataset: pydicom.Dataset) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept


def half_without_rescale(k: int, dataset: pydicom.Dataset) -> None:
    if k > 3:
        without_rescale(k, dataset)


def _raw(keyword: str, value: bytes) -> Callable[[int, pydicom.Dataset], None]:
    tag = Tag(pydicom.datadict.tag_for_keyword(keyword))

    def change(k: int, dataset: pydicom.Dataset) -> None:
        dataset[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)

    return change


def fewer_rows(k: int, dataset: pydicom.Dataset) -> None:
    dataset.Rows //= 2


def fewer_bytes(k: int, dataset: pydicom.Dataset) -> None:
    if k == 5:
        dataset.PixelData = dataset.PixelData[:-20]


def no_pixels(k: int, dataset: pydicom.Dataset) -> None:
    if k == 5:
        del dataset.PixelData


_WRONG = {
    "no rescale": (without_rescale, "RescaleSlope and RescaleIntercept"),
    "rescale in half": (half_without_rescale, "slice_004"),
    "slope 0": (_raw("RescaleSlope", b"0 "), "RescaleSlope is 0"),
    "slope nan": (_raw("RescaleSlope", b"nan "), "RescaleSlope is nan"),
    "slope text": (_raw("RescaleSlope", b"REMOVED "), "RescaleSlope is REMOVED"),
    "two intercepts": (_raw("RescaleIntercept", rb"-1024\-1000 "), "RescaleIntercept is"),
    "rows": (fewer_rows, "120 bytes of pixels expected"),
    "short": (fewer_bytes, "slice_005"),
    "no pixels": (no_pixels, "slice_005"),
}


@pytest.mark.parametrize("name", _WRONG)
@pytest.mark.filterwarnings("ignore")
def test_inspection_says_what_reading_refuses(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    change, told = _WRONG[name]
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=change)
    monkeypatch.undo()
    with pytest.raises(StudyError) as caught:
        load_volume(tmp_path)
    assert told in str(caught.value)
    (series,) = inspect_study(tmp_path).series
    assert told in series.problems[0]
    assert run(["inspect", str(tmp_path)]) == 1
    assert "PROBLEM" in capsys.readouterr().out


@pytest.mark.parametrize("syntax", ["plain", "compressed"])
def test_a_file_cut_in_its_pixels_is_a_problem(syntax: str, tmp_path: Path) -> None:
    options = {"transfer_syntax": RLELossless} if syntax == "compressed" else {}
    paths = write_ct_series(tmp_path, blob_hu(), _AFFINE, **options)
    paths[2].write_bytes(paths[2].read_bytes()[:-30])
    with pytest.raises(StudyError, match="slice_002"):
        load_volume(tmp_path)
    (series,) = inspect_study(tmp_path).series
    assert "slice_002" in series.problems[0]


def test_a_slope_of_0_of_one_frame_is_refused(tmp_path: Path) -> None:
    file = enhanced_ct(ct_datasets(blob_hu(), _AFFINE))
    file.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0].RescaleSlope = "0"
    save_all(tmp_path, [file])
    with pytest.raises(StudyError, match="RescaleSlope is 0"):
        load_volume(tmp_path)
    assert not inspect_study(tmp_path).readable


def test_a_few_bytes_of_padding_are_no_problem(tmp_path: Path) -> None:
    def padded(k: int, dataset: pydicom.Dataset) -> None:
        dataset.PixelData += bytes(10)

    write_ct_series(tmp_path, blob_hu(), _AFFINE, change=padded)
    assert inspect_study(tmp_path).readable
    assert load_volume(tmp_path).spatial_shape == blob_hu().shape
