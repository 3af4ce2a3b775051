"""The FHIR resources of a run say what its DICOM objects say, and of whom only where they name somebody."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fhir.resources.bundle import Bundle as BundleR5
from fhir.resources.R4B.bundle import Bundle

from medsam_planner.cli.app import run as call
from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.network.fhir.bundle import Release, transaction
from medsam_planner.network.fhir.run_objects import read_run_objects
from tests.medsam_planner.network.fhir.conftest import LINE, PATIENT, PDF, PLAN, PSEUDONYM, MakeRun


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def test_clearance_report_and_study_are_those_of_the_run(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    assert call(["fhir", str(folder), "--out", str(tmp_path / "bundle.json"), "--patient-system", "urn:oid:1.2.3"]) == 0
    bundle = json.loads((tmp_path / "bundle.json").read_text(encoding="utf-8"))
    Bundle.model_validate(bundle)
    (patient,), (study,) = resources(bundle, "Patient"), resources(bundle, "ImagingStudy")
    (clearance,), (report,) = resources(bundle, "Observation"), resources(bundle, "DiagnosticReport")
    assert patient["identifier"] == [{"system": "urn:oid:1.2.3", "value": "4711"}]
    assert patient["name"] == [{"family": "Müller", "given": ["Änne"]}] and patient["birthDate"] == "1961-02-03"
    headers = {path.name: pydicom.dcmread(path, stop_before_pixels=True) for path in folder.glob("*.dcm")}
    assert study["identifier"][0]["value"] == f"urn:oid:{headers['seg.dcm'].StudyInstanceUID}"
    assert study["identifier"][1]["value"] == "A-123" and study["started"] == "2026-01-02"
    own = {one["uid"]: one["modality"]["code"] for one in study["series"] if "instance" in one}
    assert own == {str(one.SeriesInstanceUID): one.Modality for one in headers.values()}
    (source,) = (one for one in study["series"] if "instance" not in one)
    assert source["modality"]["code"] == "CT" and source["numberOfInstances"] == 7
    assert clearance["valueQuantity"] == {
        "value": 2.75,
        "unit": "mm",
        "system": "http://unitsofmeasure.org",
        "code": "mm",
    }
    assert clearance["code"]["coding"][0]["code"] == "121206"  # DCM Distance, as in the structured report
    assert clearance["method"]["coding"][0]["code"] == "Clearance"
    values = {
        one["code"]["coding"][0]["code"]: one.get("valueString") or one["valueQuantity"]["value"]
        for one in clearance["component"]
    }
    assert values == {
        "410668003": LINE["length_mm"],
        "1483009": LINE["entry_angle_deg"],
        "HitProbability": LINE["hit_probability"],
        "LimitingStruct": "artery",
        "Reason": LINE["reason"],
    }
    assert PLAN["margins_statement"] in clearance["note"][0]["text"]
    assert b64decode(report["presentedForm"][0]["data"]) == PDF
    assert "Research use only" in report["conclusion"] and PLAN["verdict"]["headline"] in report["conclusion"]
    assert report["status"] == clearance["status"] == "preliminary"
    by_kind = {one["resource"]["resourceType"]: one["fullUrl"] for one in bundle["entry"]}
    for one in (study, clearance, report):
        assert one["subject"] == {"reference": by_kind["Patient"]}
    assert report["result"] == [{"reference": by_kind["Observation"]}]
    assert report["imagingStudy"] == clearance["derivedFrom"] == [{"reference": by_kind["ImagingStudy"]}]


def test_of_a_deidentified_run_nothing_names_patient_accession_or_date(make_run: MakeRun) -> None:
    run = read_run_objects(make_run(PSEUDONYM, names_patient=False))
    for release in Release:
        bundle = transaction(run, release=release)
        text = re.sub(r"\d+(\.\d+){2,}|[0-9a-f]{16,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "", json.dumps(bundle))
        assert not resources(bundle, "Patient")  # in UIDs and hashes any four digits may stand by chance
        for value in ("4711", "ANON7", "Müller", "M\\u00fcller", "A-123", "2026", "1961", "female"):
            assert value not in text, value
        (report,) = resources(bundle, "DiagnosticReport")
        assert report["subject"] == {"display": "De-identified"}


def test_a_report_that_may_name_the_patient_does_not_leave_with_deidentified_objects(make_run: MakeRun) -> None:
    run = read_run_objects(make_run(PSEUDONYM, names_patient=True))
    with pytest.raises(StudyError, match="names nobody"):
        transaction(run)


def test_r5_has_a_selection_for_each_segment_and_path(make_run: MakeRun) -> None:
    run = read_run_objects(make_run())
    bundle = transaction(run, release=Release.R5)
    BundleR5.model_validate(bundle)
    segment, path = resources(bundle, "ImagingSelection")
    assert segment["instance"][0]["subset"] == ["1"] and segment["code"]["text"] == "artery"
    (region,) = path["instance"][0]["imageRegion3D"]
    assert region == {"regionType": "polyline", "coordinate": [*LINE["entry_lps_mm"], *LINE["target_lps_mm"]]}
    assert not resources(transaction(run), "ImagingSelection")


def test_a_plan_without_a_path_reports_its_verdict_and_no_clearance(make_run: MakeRun) -> None:
    verdict = {"kind": "infeasible", "headline": "No path satisfies every constraint"}
    plan = {**PLAN, "verdict": verdict, "tools": [{"name": "needle", "alternatives": []}]}
    bundle = transaction(read_run_objects(make_run(plan=plan)))
    (report,) = resources(bundle, "DiagnosticReport")
    assert verdict["headline"] in report["conclusion"] and "result" not in report
    assert not resources(bundle, "Observation")


def test_a_segmentation_without_a_plan_is_a_study_alone(make_run: MakeRun) -> None:
    bundle = transaction(read_run_objects(make_run(plan=None)))
    assert [one["request"]["url"] for one in bundle["entry"]] == ["Patient", "ImagingStudy"]


def test_a_run_that_cannot_be_vouched_for_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run()
    changed = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    changed["tools"][0]["alternatives"][0]["certified_clearance_mm"] = 9.0
    (folder / "plan.json").write_text(json.dumps(changed), encoding="utf-8")
    with pytest.raises(StudyError, match="other values"):
        read_run_objects(folder)
    with pytest.raises(StudyError, match="has none"):
        read_run_objects(tmp_path / "absent")
    other = pydicom.dcmread(folder / "seg.dcm")
    other.PatientID = "0815"
    other.save_as(folder / "other.dcm")
    with pytest.raises(StudyError, match="one PatientID"):
        read_run_objects(folder)


def _without(keyword: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        dataset = pydicom.dcmread(folder / "seg.dcm")
        delattr(dataset, keyword)
        dataset.save_as(folder / "seg.dcm")

    return change


def _with_plan(**changes: object) -> Callable[[Path], None]:
    return lambda folder: (folder / "plan.json").write_text(json.dumps({**PLAN, **changes})) and None


def _deidentified_in_part(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "seg.dcm")
    dataset.PatientIdentityRemoved = "YES"
    dataset.save_as(folder / "seg.dcm")


def _other_document(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "report.pdf.dcm")
    dataset.EncapsulatedDocument = b"<script>alert(1)</script> "
    dataset.save_as(folder / "report.pdf.dcm")


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda folder: (folder / "plan.dcm").unlink(), "which vouches for the paths"),
        (lambda folder: (folder / "plan.json").write_text("[]"), "a plan with tools, verdict"),
        (_with_plan(verdict="feasible"), "a plan with tools, verdict"),
        (_with_plan(tools=["needle"]), "a plan with tools, verdict"),
        (_with_plan(notice=7), "a plan with tools, verdict"),
        (_with_plan(notice="Safe."), "other values"),
        (_without("Modality"), "with Modality"),
        (_without("SeriesInstanceUID"), "with SeriesInstanceUID"),
        (_deidentified_in_part, "of one PatientIdentityRemoved"),
        (_other_document, "Expected a PDF"),
    ],
)
def test_a_run_that_was_tampered_with_is_refused(
    make_run: MakeRun, tamper: Callable[[Path], object], said: str
) -> None:
    folder = make_run()
    tamper(folder)
    with pytest.raises(StudyError, match=said):
        read_run_objects(folder)


def test_a_patient_without_an_id_is_nobody_to_file_under(make_run: MakeRun) -> None:
    with pytest.raises(StudyError, match="patient ID"):
        transaction(read_run_objects(make_run({**PATIENT, "PatientID": ""})))


@pytest.mark.parametrize("system", ["not a uri", "hospital", "urn:", ""])
def test_a_system_of_the_patient_id_that_is_no_uri_is_refused(make_run: MakeRun, system: str) -> None:
    with pytest.raises(ConfigError, match="Expected a URI"):
        transaction(read_run_objects(make_run(PATIENT)), patient_system=system)
