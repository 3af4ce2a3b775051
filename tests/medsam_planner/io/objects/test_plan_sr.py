"""A plan written as a structured report says the same when highdicom and pydicom read it back."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError, StudyError
from medsam_planner.io import load_volume, save_nifti
from medsam_planner.io.objects.plan_sr import document_sha256, save_plan_sr
from medsam_planner.volumes import StudyVolume
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series
from tests.medsam_planner.io.plan_report import read_plan_sr

_NOON = datetime.datetime(2024, 2, 29, 12, 0, 0)
LINE: dict[str, Any] = {
    "entry_lps_mm": [-12.25, 40.5, 101.125],
    "target_lps_mm": [3.0, -8.0, 77.5],
    "certified_clearance_mm": 2.75,
    "limiting_structure": "Gefäß, links",
    "limiting_point_lps_mm": [-4.5, 16.0, 89.0],
    "hit_probability": 0.0125,
    "length_mm": 56.0,
    "entry_angle_deg": 12.5,
    "bone_density_hu": None,
    "reason": "Has the largest clearance; limited by Gefäß, links.",
}
DOCUMENT: dict[str, Any] = {
    "notice": "Research use only. Not a medical device.",
    "margins_statement": "vessel: 2.0 to 5.5 mm, a rule of thumb without a guarantee.",
    "alternatives": [LINE, {**LINE, "certified_clearance_mm": -1.5, "limiting_structure": ""}],
}


@pytest.fixture
def study(tmp_path: Path, grid_affine: NDArray[np.float64]) -> StudyVolume:
    write_ct_series(tmp_path / "ct", blob_hu(), grid_affine)
    return load_volume(tmp_path / "ct")


def test_what_was_planned_is_what_is_read_back(tmp_path: Path, study: StudyVolume) -> None:
    found = read_plan_sr(save_plan_sr(DOCUMENT, tmp_path / "plan.dcm", study, created=_NOON))
    assert found["notice"] == DOCUMENT["notice"]
    assert found["margins_statement"] == DOCUMENT["margins_statement"]
    assert found["plan_sha256"] == document_sha256(DOCUMENT)
    assert found["frame_of_reference_uid"] == study.frame_of_reference_uid
    first, second = found["paths"]
    for key in ("entry_lps_mm", "target_lps_mm", "limiting_point_lps_mm"):
        assert first[key] == pytest.approx(LINE[key], abs=1e-4), key
    for key in ("certified_clearance_mm", "hit_probability", "length_mm", "entry_angle_deg"):
        assert first[key] == pytest.approx(LINE[key]), key
    assert first["limiting_structure"] == "Gefäß, links" and first["reason"] == LINE["reason"]
    assert "bone_density_hu" not in first  # not known is not zero
    assert second["certified_clearance_mm"] == -1.5
    assert "limiting_structure" not in second and "limiting_point_lps_mm" not in second


def test_the_report_refers_to_the_study_it_was_made_from(tmp_path: Path, study: StudyVolume) -> None:
    path = save_plan_sr(DOCUMENT, tmp_path / "deep" / "plan.dcm", study, created=_NOON)
    dataset = pydicom.dcmread(path)
    source = study.source.datasets[0]
    assert dataset.SOPClassUID.name == "Comprehensive 3D SR Storage" and dataset.Modality == "SR"
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    assert dataset.PatientID == source.PatientID
    evidence = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    named = {item.ReferencedSOPInstanceUID for item in evidence.ReferencedSOPSequence}
    assert named == {header.SOPInstanceUID for header in study.source.datasets}
    report = highdicom.sr.srread(path)
    assert len(report.content.get_image_measurement_groups()) == 2
    assert dataset.VerificationFlag == "UNVERIFIED"


def test_several_tools_are_told_apart(tmp_path: Path, study: StudyVolume) -> None:
    document = {key: DOCUMENT[key] for key in ("notice", "margins_statement")}
    document["tools"] = [{"name": "amygdala", "alternatives": [LINE]}, {"name": "cingulum", "alternatives": [LINE]}]
    found = read_plan_sr(save_plan_sr(document, tmp_path / "plan.dcm", study, created=_NOON))
    assert [line["tool"] for line in found["paths"]] == ["amygdala, path 1", "cingulum, path 1"]


def test_the_same_plan_at_the_same_time_gives_the_same_bytes(tmp_path: Path, study: StudyVolume) -> None:
    first = save_plan_sr(DOCUMENT, tmp_path / "a.dcm", study, created=_NOON).read_bytes()
    assert save_plan_sr(DOCUMENT, tmp_path / "b.dcm", study, created=_NOON).read_bytes() == first
    other = {**DOCUMENT, "alternatives": [LINE]}
    assert save_plan_sr(other, tmp_path / "c.dcm", study, created=_NOON).read_bytes() != first


def test_a_plan_without_path_notice_or_dicom_source_is_refused(tmp_path: Path, study: StudyVolume) -> None:
    with pytest.raises(PlanningError, match="at least one path"):
        save_plan_sr({**DOCUMENT, "alternatives": []}, tmp_path / "plan.dcm", study)
    for key in ("notice", "margins_statement"):
        with pytest.raises(PlanningError, match=key):
            save_plan_sr({**DOCUMENT, key: ""}, tmp_path / "plan.dcm", study)
    save_nifti(study, tmp_path / "study.nii.gz")
    with pytest.raises(StudyError, match="nifti"):
        save_plan_sr(DOCUMENT, tmp_path / "plan.dcm", load_volume(tmp_path / "study.nii.gz"))
