"""Patient and ImagingStudy, from the headers of a run's objects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID

from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.network.fhir.codings import DICOM_UID, oid
from medsam_planner.network.fhir.resources import Entry, Subject, identifier
from medsam_planner.network.fhir.run_objects import RunObjects

__all__ = ["imaging_study", "patient", "study_date"]

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_ACCESSION = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
_GENDER_BY_SEX = {"M": "male", "F": "female", "O": "other"}
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"\\{}|^`]+")
_TIME = re.compile(r"(\d{2})(\d{2})(\d{2})(\.\d{1,6})?")
_OFFSET = re.compile(r"([+-]\d{2})(\d{2})")


def patient(run: RunObjects, system: str | None) -> Entry:
    """The patient of an identified run.

    Raises
    ------
    ConfigError
        If `system` is no URI.
    StudyError
        If the objects have no patient ID.
    """
    if system is not None and not _URI.fullmatch(system):
        raise ConfigError(f"Expected a URI as the system of the patient ID, such as urn:oid:1.2.3; got '{system}'.")
    header = run.any_header
    number = _text(header, "PatientID")
    if not number:
        raise StudyError(
            "Expected objects with a patient ID, or with Patient Identity Removed (0012,0062) YES; got neither."
        )
    name = header.get("PatientName")
    made: dict[str, Any] = {
        "resourceType": "Patient",
        "identifier": [identifier(system or _issuer(header), number)],
        "name": [_human_name(name)] if name else None,
        "gender": _GENDER_BY_SEX.get(_text(header, "PatientSex").upper()),
        "birthDate": _date(_text(header, "PatientBirthDate")),
    }
    return Entry({key: value for key, value in made.items() if value})


def study_date(run: RunObjects) -> str | None:
    """Date of the study, with its time where the files state the offset from UTC: FHIR takes no other time."""
    header = run.any_header
    date = _date(_text(header, "StudyDate"))
    time = _TIME.fullmatch(_text(header, "StudyTime"))
    offset = _OFFSET.fullmatch(_text(header, "TimezoneOffsetFromUTC"))
    if date is None or time is None or offset is None:
        return date
    return f"{date}T{time[1]}:{time[2]}:{time[3]}{time[4] or ''}{offset[1]}:{offset[2]}"


def imaging_study(run: RunObjects, subject: Subject, *, is_r5: bool) -> Entry:
    """The study, with the series of the run's objects and of the images that they refer to."""
    header = run.any_header

    def modality(value: str) -> dict[str, Any]:
        coded = {"system": _DCM, "code": value}
        return {"coding": [coded]} if is_r5 else coded

    series = [_series(one, modality(str(one.Modality))) for one in run.headers]
    series += [
        {"uid": uid, "modality": modality(kind), "numberOfInstances": count} for uid, kind, count in _sources(run)
    ]
    made: dict[str, Any] = {
        "resourceType": "ImagingStudy",
        "identifier": [identifier(DICOM_UID, oid(header.StudyInstanceUID))],
        "status": "available",
        "subject": subject.reference,
        "series": series,
    }
    if not run.is_deidentified:
        if accession := _text(header, "AccessionNumber"):
            made["identifier"].append({"type": _ACCESSION, **identifier(None, accession)})
        if started := study_date(run):
            made["started"] = started
    return Entry(made)


def _series(header: Dataset, modality: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": str(header.SeriesInstanceUID),
        "number": int(header.SeriesNumber),
        "modality": modality,
        "description": _text(header, "SeriesDescription"),
        "numberOfInstances": 1,
        "instance": [
            {
                "uid": str(header.SOPInstanceUID),
                "sopClass": {"system": "urn:ietf:rfc:3986", "code": oid(header.SOPClassUID)},
                "number": 1,
            }
        ],
    }


def _sources(run: RunObjects) -> Iterator[tuple[str, str, int]]:
    """UID, modality and count of instances of each series of images that the objects refer to."""
    own = {str(one.SeriesInstanceUID) for one in run.headers}
    found: dict[str, tuple[str, dict[str, None]]] = {}
    for header in run.headers:
        for series in header.get("ReferencedSeriesSequence", ()):
            uid = str(series.SeriesInstanceUID)
            for instance in series.get("ReferencedInstanceSequence", ()) if uid not in own else ():
                words = UID(instance.ReferencedSOPClassUID).name.split()
                kind = next((one for one in ("CT", "MR") if one in words), "OT")
                found.setdefault(uid, (kind, {}))[1][str(instance.ReferencedSOPInstanceUID)] = None
    for uid, (kind, instances) in found.items():
        yield uid, kind, len(instances)


def _human_name(name: Any) -> dict[str, Any]:
    parts = str(name).split("=")[0].split("^")
    family, given = parts[0].strip(), [one.strip() for one in parts[1:3] if one.strip()]
    return {**({"family": family} if family else {}), **({"given": given} if given else {})}


def _issuer(header: Dataset) -> str | None:
    for item in header.get("IssuerOfPatientIDQualifiersSequence") or ():
        if item.get("UniversalEntityIDType") == "ISO" and item.get("UniversalEntityID"):
            return oid(item.UniversalEntityID)
    return None


def _date(text: str) -> str | None:
    found = _DATE.fullmatch(text)
    return "-".join(found.groups()) if found else None


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()
