"""A run as one FHIR transaction: Patient, ImagingStudy, Observation of each tool's clearance, DiagnosticReport.

Every resource has an identifier, and is created only where none with it exists: a repeated transaction changes nothing,
and what a hospital's server holds of patient and study is never overwritten. Of a de-identified run there is neither
Patient nor accession number nor date.

R4 is validated as R4B, which is the same for these resources. R5 adds an ImagingSelection for each segment and each
planned path.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from medsam_planner.errors import StudyError
from medsam_planner.network.fhir.codings import DICOM_UID, oid
from medsam_planner.network.fhir.findings import observations
from medsam_planner.network.fhir.imaging import imaging_study, patient, study_date
from medsam_planner.network.fhir.resources import Entry, Subject, identifier
from medsam_planner.network.fhir.run_objects import RunObjects
from medsam_planner.network.fhir.selections import selections

__all__ = ["Release", "transaction", "validated"]

_LOINC = {"system": "http://loinc.org", "code": "18748-4", "display": "Diagnostic imaging study"}
_RADIOLOGY = {"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD", "display": "Radiology"}


class Release(StrEnum):
    """Of FHIR."""

    R4 = "R4"
    R5 = "R5"


def transaction(
    run: RunObjects,
    *,
    release: Release = Release.R4,
    patient_system: str | None = None,
    known_patient: str | None = None,
) -> dict[str, Any]:
    """The transaction bundle of a run.

    Parameters
    ----------
    run : RunObjects
    release : Release
    patient_system : str, optional
        URI of the system that patient IDs are of; by default the one that the files name, if any.
    known_patient : str, optional
        Reference to the patient on the server, such as ``"Patient/17"``; the bundle then has no Patient.

    Returns
    -------
    dict
        Valid JSON of FHIR.

    Raises
    ------
    StudyError
        If an identified run has no patient ID, or a de-identified one a report that names the patient.
    """
    subject, entries = _subject(run, patient_system, known_patient)
    study = imaging_study(run, subject, is_r5=release is Release.R5)
    entries.append(study)
    found = list(observations(run, subject, study.reference))
    entries += found
    if release is Release.R5:
        entries += selections(run, subject, study.reference)
    entries += _reports(run, subject, study, found, is_r5=release is Release.R5)
    return validated(
        {"resourceType": "Bundle", "type": "transaction", "entry": [one.in_bundle() for one in entries]}, release
    )


def validated(bundle: dict[str, Any], release: Release) -> dict[str, Any]:
    """The bundle, if fhir.resources accepts it as of the release.

    Raises
    ------
    StudyError
        If not: the run holds a value that FHIR has no place for.
    """
    from fhir.resources import bundle as r5
    from fhir.resources.R4B import bundle as r4b

    try:
        (r5 if release is Release.R5 else r4b).Bundle.model_validate(bundle)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise StudyError(f"The run cannot be said in FHIR {release}: {where}: {first['msg']}.") from error
    return bundle


def _subject(run: RunObjects, patient_system: str | None, known_patient: str | None) -> tuple[Subject, list[Entry]]:
    if run.is_deidentified:
        if run.pdf_header is not None and run.pdf_header.get("BurnedInAnnotation") != "NO":
            raise StudyError(
                "Expected a report that names nobody beside de-identified objects, report.pdf.dcm does not say so "
                "(Burned In Annotation NO). Repeat the run."
            )
        return Subject({"display": "De-identified"}), []
    made = patient(run, patient_system)
    if known_patient is not None:
        return Subject({"reference": known_patient}), []
    return Subject({"reference": made.full_url}), [made]


def _reports(run: RunObjects, subject: Subject, study: Entry, found: list[Entry], *, is_r5: bool) -> Iterator[Entry]:
    """The report of a plan, with its PDF where there is one."""
    if run.plan is None:
        return
    document: Mapping[str, Any] = run.plan
    uid = run.pdf_header.SOPInstanceUID if run.pdf_header is not None else run.plan_uid
    report: dict[str, Any] = {
        "resourceType": "DiagnosticReport",
        "identifier": [identifier(DICOM_UID, oid(uid))],
        "status": "preliminary",
        "category": [{"coding": [_RADIOLOGY]}],
        "code": {"coding": [_LOINC], "text": "Trajectory plan (research use only)"},
        "subject": subject.reference,
        "result": [one.reference for one in found],
        "conclusion": f"{document['verdict']['headline']}. {document['notice']} {document['margins_statement']}",
        ("study" if is_r5 else "imagingStudy"): [study.reference],
    }
    if not found:
        del report["result"]
    if not run.is_deidentified and (date := study_date(run)):
        report["effectiveDateTime"] = date
    if run.pdf is not None:
        report["presentedForm"] = [
            {
                "contentType": "application/pdf",
                "language": "en",
                "data": b64encode(run.pdf).decode(),
                "title": "Trajectory plan (research use only)",
            }
        ]
    yield Entry(report)
