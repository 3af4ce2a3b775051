"""Headers as anonymisers leave them: results are written, without the values that DICOM does not allow."""

from __future__ import annotations

import warnings
from pathlib import Path

import pydicom
import pytest

from medsam_planner.errors import StudyError
from medsam_planner.io import inspect_study, load_volume, save_dicom_seg, save_parametric_map
from medsam_planner.io.objects.plan_sr import save_plan_sr
from medsam_planner.volumes import volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series

_ODD = [
    ("PatientSex", "U"),
    ("PatientSex", "m"),
    ("PatientBirthDate", "19000000"),
    ("PatientBirthDate", "1950"),
    ("StudyDate", "ANON"),
    ("StudyTime", "ANON"),
    ("StudyTime", "12:00:00"),
    ("PatientID", "x" * 80),
    ("AccessionNumber", "a very long accession number"),
    ("StudyID", "a very long study number"),
    ("PatientAge", "old"),
    ("PatientWeight", "ANON"),
    ("PatientName", "A^B^C^D^E^F^G"),
    ("ReferringPhysicianName", "x" * 80),
    ("SliceThickness", "REMOVED"),
    ("SliceThickness", "3\\3"),
    ("SliceThickness", "NaN"),
    ("SpacingBetweenSlices", "REMOVED"),
    ("InstanceNumber", "ANON"),
    ("SeriesNumber", "ANON"),
    ("AcquisitionNumber", "ANON"),
    ("KVP", "*"),
    ("XRayTubeCurrent", "n/a"),
    ("AcquisitionDate", "REMOVED"),
    ("AcquisitionTime", "REMOVED"),
    ("ContentDate", "19000000"),
    ("AcquisitionDateTime", "REMOVED"),
]
_OWN = ("InstanceNumber", "SeriesNumber", "ContentDate")
"""What an object states of itself."""
_PLAN = {
    "notice": "research",
    "margins_statement": "none",
    "alternatives": [{"entry_lps_mm": [0, 0, 0], "target_lps_mm": [1, 2, 3], "length_mm": 3.7}],
}


@pytest.mark.parametrize(("keyword", "value"), _ODD)
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_result_is_written_whatever_the_header_holds(
    keyword: str, value: str, tmp_path: Path, plain_affine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    monkeypatch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)

    def spoil(k: int, dataset: pydicom.Dataset) -> None:
        tag = pydicom.datadict.tag_for_keyword(keyword)
        vr = pydicom.datadict.dictionary_VR(tag)
        dataset[tag] = pydicom.dataelem.RawDataElement(
            pydicom.tag.Tag(tag), vr, len(value), value.encode(), 0, False, True
        )

    write_ct_series(tmp_path / "ct", blob_hu(), plain_affine, change=spoil)
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = load_volume(tmp_path / "ct")
        mask = volume_like(study, study.array > -600)
        paths = [
            save_dicom_seg(mask, tmp_path / "seg.dcm", study, label="all"),
            save_parametric_map(mask, tmp_path / "map.dcm", study, quantity="probability", structure="all"),
            save_plan_sr(_PLAN, tmp_path / "plan.dcm", study),
        ]
        for path in paths:
            written = pydicom.dcmread(path)
            assert keyword in _OWN or str(written.get(keyword) or "") in ("", value)
            assert written.StudyInstanceUID == study.source.datasets[0].StudyInstanceUID
    if keyword not in ("PatientName",):
        assert any(keyword in note for note in study.source.notes)


def test_right_values_are_copied_without_a_word(tmp_path: Path, plain_affine) -> None:
    right = {"PatientSex": "F", "PatientBirthDate": "19500131", "StudyDate": "20200101", "StudyTime": "120000.5"}
    write_ct_series(tmp_path / "ct", blob_hu(), plain_affine, PatientAge="070Y", **right)
    study = load_volume(tmp_path / "ct")
    assert study.source.notes == ()
    path = save_dicom_seg(volume_like(study, study.array > -600), tmp_path / "seg.dcm", study, label="all")
    written = pydicom.dcmread(path)
    assert {key: str(written[key].value) for key in right} == right


@pytest.mark.parametrize("shared", [7, 2])
def test_files_that_share_an_instance_uid_are_read_and_no_object_refers_to_them(
    shared: int, tmp_path: Path, plain_affine
) -> None:
    def same(k: int, dataset: pydicom.Dataset) -> None:
        if k < shared:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    write_ct_series(tmp_path / "ct", blob_hu(), plain_affine, change=same)
    study = load_volume(tmp_path / "ct")
    assert not study.source.is_referable and any("SOPInstanceUID" in note for note in study.source.notes)
    with pytest.raises(StudyError, match="SOPInstanceUID"):
        save_dicom_seg(volume_like(study, study.array > -600), tmp_path / "seg.dcm", study, label="all")
    assert inspect_study(tmp_path / "ct").readable
