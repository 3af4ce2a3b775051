"""Several volumes in one series are listed and chosen by number; each is read voxel by voxel as it was written."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from medsam_planner.cli.app import run
from medsam_planner.errors import AmbiguousSeriesError, StudyError
from medsam_planner.io import inspect_study, load_volume
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, enhanced_ct, save_all, write_ct_series

AFFINE = np.array([[0.0, 0, 0.5, -10], [0, 0.75, 0, -20], [-2, 0, 0, 5], [0, 0, 0, 1.0]])
"""Slices from head to feet, the order in which they are stacked."""

HTJ2K = base64.b64decode(
    "/0//UQApQAAAAABAAAAAQAAAAAAAAAAAAAAAQAAAAEAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wA"
    "EyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAASIAAf+TwAArAD/4+vrw+8v6AoG0"
    "AMAAE8AAE4BlSekAAZQAIkX+AGNUAMAAFbAABVBCOIcQzgHwLiQC+rYAkBAI5MAhAey2AMAAFpQAAWiAOasyqzKrMqv+vAIc"
    "Q4h0sZkASARBEARB/v2EIHv2EIHsugDAABdHAABbwGMwNgZjYzA2BmNjMDYGY2MwNgZj3/whKEoShKEoShIAkr8AohBCCCGE"
    "EEIIIf7/eGAAB79gAB79gAB79gAB7LMBwAAuugABdOCmMaYxjWlMYxrTmMY0pjGNaUxjGtOY8/98F+v1+v1+v1+v1+v1+v1+"
    "v1+AC3gBbtu2bdu2bdu2bdu2/3/bASe/ZJ79knv2Se/ZJ79knv2Se/ZJ7LsB/9k="
)
"""64 × 64 unsigned 16-bit values 1000 + 8 j, and 40 more where i > 20, by imagecodecs 2026.3.6 (reversible)."""


def several(
    folder: Path, count: int, vary: Callable[[int, int, pydicom.Dataset], None], modality: str = "MR"
) -> list[np.ndarray]:
    """Write `count` volumes at the same places into one series; `vary` gets volume, slice and dataset."""
    arrays = [blob_hu() + 1000 * number for number in range(count)]
    datasets = []
    for number, array in enumerate(arrays):
        made = ct_datasets(array, AFFINE, Modality=modality)
        for k, one in enumerate(made):
            one.SeriesInstanceUID, one.StudyInstanceUID = "1.2.3.4", "1.2.3"
            one.FrameOfReferenceUID = "1.2.3.5"
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}.{k}"
            vary(number, k, one)
        datasets += made
    save_all(folder, datasets)
    return arrays


def _echo(number: int, k: int, one: pydicom.Dataset) -> None:
    one.EchoTime = ("80", "4.6", "120")[number] if k else ("80.01", "4.601", "120.01")[number]


def _b_value(number: int, k: int, one: pydicom.Dataset) -> None:
    one.DiffusionBValue = (0.0, 500.0, 1000.0)[number]


def _siemens_b_value(number: int, k: int, one: pydicom.Dataset) -> None:
    one.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", str((0, 500, 1000)[number]))


def _phase(number: int, k: int, one: pydicom.Dataset) -> None:
    one.ImageType = ["ORIGINAL", "PRIMARY", ("M", "P", "R")[number], "ND"]


def _acquisition(number: int, k: int, one: pydicom.Dataset) -> None:
    one.AcquisitionNumber = number + 1
    one.AcquisitionTime = f"1011{12 + 20 * number:02d}.50"


def _time_only(number: int, k: int, one: pydicom.Dataset) -> None:
    one.AcquisitionTime = f"1011{12 + 15 * number:02d}.{k:02d}"


@pytest.mark.parametrize(
    ("vary", "labels"),
    [
        (_echo, ["echo time 4.6 ms", "echo time 80 ms", "echo time 120 ms"]),
        (_b_value, ["b 0 s/mm²", "b 500 s/mm²", "b 1000 s/mm²"]),
        (_siemens_b_value, ["b 0 s/mm²", "b 500 s/mm²", "b 1000 s/mm²"]),
        (_phase, ["image type M\\ND", "image type P\\ND", "image type R\\ND"]),
        (_acquisition, ["acquisition 1", "acquisition 2", "acquisition 3"]),
        (_time_only, ["at 10:11:12.0", "at 10:11:27.0 (+15.0 s)", "at 10:11:42.0 (+30.0 s)"]),
    ],
)
def test_volumes_are_listed_and_each_is_read_by_its_number(tmp_path: Path, vary: Callable, labels: list[str]) -> None:
    arrays = several(tmp_path, 3, vary)
    order = [1, 0, 2] if vary is _echo else [0, 1, 2]
    [series] = inspect_study(tmp_path).series
    assert len(series.volumes) == 3
    assert all(volume.startswith(label) for volume, label in zip(series.volumes, labels, strict=True)), series.volumes
    with pytest.raises(AmbiguousSeriesError, match="It holds 3 volumes; say which with --volume NUMBER") as caught:
        load_volume(tmp_path)
    assert all(f"  {number}: {label}" in str(caught.value) for number, label in enumerate(labels, start=1))
    for number, index in enumerate(order, start=1):
        read = load_volume(tmp_path, volume=number)
        np.testing.assert_array_equal(read.array, blob_hu() + 1000 * index)
        np.testing.assert_allclose(read.affine, AFFINE, atol=1e-6)
        assert read.source.volume == number
        assert any(note.startswith(f"Volume {number} of the 3 of its series") for note in read.source.notes)
    assert len(arrays) == 3


def test_a_dynamic_series_is_listed_with_its_times_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    several(tmp_path, 3, _acquisition)
    assert run(["inspect", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "It holds 3 volumes; name one with --volume NUMBER:" in printed
    assert "2: acquisition 2, at 10:11:32.5 (+20.0 s), 7 slices" in printed


def test_frames_of_one_file_are_told_apart(tmp_path: Path) -> None:
    first, second = ct_datasets(blob_hu(), AFFINE, Modality="MR"), ct_datasets(blob_hu() + 1000, AFFINE, Modality="MR")
    file = enhanced_ct([one for pair in zip(first, second, strict=True) for one in pair])
    for number, frame in enumerate(file.PerFrameFunctionalGroupsSequence):
        content = pydicom.Dataset()
        content.TemporalPositionIndex = number % 2 + 1
        frame.FrameContentSequence = Sequence([content])
    save_all(tmp_path, [file])
    [series] = inspect_study(tmp_path).series
    assert [volume.split(",")[0] for volume in series.volumes] == ["time point 1", "time point 2"]
    for number in (1, 2):
        read = load_volume(tmp_path, volume=number)
        np.testing.assert_array_equal(read.array, blob_hu() + 1000 * (number - 1))
        np.testing.assert_allclose(read.affine, AFFINE, atol=1e-6)


def test_repetitions_that_overlap_in_time_or_lack_a_slice_are_not_split(tmp_path: Path) -> None:
    def at_once(number: int, k: int, one: pydicom.Dataset) -> None:
        one.AcquisitionTime = f"101112.{2 * k + number:02d}"

    several(tmp_path / "overlap", 2, at_once)
    several(tmp_path / "lacking", 2, _acquisition)
    sorted((tmp_path / "lacking").iterdir())[9].unlink()
    for place in (tmp_path / "overlap", tmp_path / "lacking"):
        assert inspect_study(place).series[0].volumes == ()
        with pytest.raises(StudyError, match="cannot be read as one volume") as caught:
            load_volume(place)
        assert not isinstance(caught.value, AmbiguousSeriesError)


def test_two_patients_in_a_series_are_refused_and_not_offered_as_volumes(tmp_path: Path) -> None:
    def patient(number: int, k: int, one: pydicom.Dataset) -> None:
        one.AcquisitionNumber, one.PatientID = number + 1, f"P{number}"

    several(tmp_path, 2, patient)
    with pytest.raises(StudyError, match="PatientID") as caught:
        load_volume(tmp_path, volume=1)
    assert "--volume NUMBER" not in str(caught.value)


def test_a_volume_that_is_not_there_is_refused(tmp_path: Path) -> None:
    several(tmp_path / "two", 2, _acquisition)
    with pytest.raises(StudyError, match=r"a volume from 1 to 2 of series 1, got 3"):
        load_volume(tmp_path / "two", volume=3)
    write_ct_series(tmp_path / "one", blob_hu(), AFFINE)
    with pytest.raises(StudyError, match=r"found one\. Leave --volume out"):
        load_volume(tmp_path / "one", volume=2)
    np.testing.assert_array_equal(load_volume(tmp_path / "one", volume=1).array, blob_hu())


def test_lossy_compression_is_said_by_inspection_and_by_the_reading(tmp_path: Path) -> None:
    write_ct_series(
        tmp_path,
        blob_hu(),
        AFFINE,
        LossyImageCompression="01",
        LossyImageCompressionMethod="ISO_15444_1",
        LossyImageCompressionRatio="10",
    )
    for notes in (inspect_study(tmp_path).series[0].notes, load_volume(tmp_path).source.notes):
        assert [("7 of 7 files were compressed lossily (ISO_15444_1, ratio 10" in note) for note in notes] == [True]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"])
def test_high_throughput_jpeg_2000_is_read_exactly(tmp_path: Path, syntax: str) -> None:
    datasets = ct_datasets(np.zeros((3, 64, 64), np.float32) + np.arange(3)[:, None, None], AFFINE)
    for one in datasets:
        one.PixelRepresentation, one.RescaleIntercept, one.RescaleSlope = 0, 0, 1
        one.PixelData = encapsulate([HTJ2K])
        one["PixelData"].is_undefined_length = True
        one["PixelData"].VR = "OB"
        one.file_meta.TransferSyntaxUID = syntax
    tmp_path.mkdir(exist_ok=True)
    for k, one in enumerate(datasets):
        one.save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
    j, i = np.indices((64, 64))
    expected = 1000 + 8 * j + 40 * (i > 20)
    assert inspect_study(tmp_path).readable
    np.testing.assert_array_equal(load_volume(tmp_path).array, np.stack([expected] * 3))


@pytest.mark.parametrize(
    ("modality", "said"), [("PT", "it is a PET"), ("NM", "nuclear medicine"), ("US", "it is an ultrasound")]
)
def test_pet_and_ultrasound_are_refused_by_name_whatever_is_stated(tmp_path: Path, modality: str, said: str) -> None:
    write_ct_series(tmp_path, blob_hu(), AFFINE, Modality=modality)
    for stated in (None, "CT"):
        with pytest.raises(StudyError, match=said):
            load_volume(tmp_path, modality=stated)
    assert said in inspect_study(tmp_path).series[0].problems[0]


def test_a_cone_beam_ct_is_read_where_its_values_are_said_to_be_hu(tmp_path: Path) -> None:
    file = enhanced_ct(ct_datasets(blob_hu(), AFFINE, Modality="XA"))
    file.SOPClassUID = file.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.13.1.1"
    save_all(tmp_path, [file])
    with pytest.raises(StudyError, match="cone-beam CT"):
        load_volume(tmp_path)
    np.testing.assert_array_equal(load_volume(tmp_path, modality="CT").array, blob_hu())
