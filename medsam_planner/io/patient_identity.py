"""Whom a study is of, for reports that leave the program; nothing where the study was de-identified."""

from __future__ import annotations

import re

import pydicom

from medsam_planner.io.study_files import READ_ERRORS
from medsam_planner.volumes import StudyVolume

__all__ = ["identity_rows", "is_deidentified", "same_patient"]

_ROWS = (
    ("patient", "PatientName"),
    ("patient ID", "PatientID"),
    ("born", "PatientBirthDate"),
    ("accession", "AccessionNumber"),
    ("study date", "StudyDate"),
)


def is_deidentified(study: StudyVolume) -> bool:
    """Whether the study's files say that the patient's identity was removed (0012,0062), or it has no DICOM files."""
    source = study.source
    if source is None or not source.datasets:
        return True
    return _text(source.datasets[0], "PatientIdentityRemoved").upper() == "YES"


def identity_rows(study: StudyVolume) -> list[tuple[str, str]]:
    """Name and value of what identifies the patient and the study; what the files leave empty is left out.

    Returns
    -------
    list of (str, str)
        Patient, patient ID, date of birth, accession number, study date; empty for a de-identified study.
    """
    if is_deidentified(study):
        return []
    header = study.source.datasets[0]  # type: ignore[union-attr]  # checked above
    rows = []
    for label, keyword in _ROWS:
        value = _text(header, keyword)
        if keyword == "PatientName":
            value = _spoken(value)
        elif keyword.endswith("Date"):
            value = re.sub(r"^(\d{4})(\d{2})(\d{2})$", r"\1-\2-\3", value)
        if value:
            rows.append((label, value))
    return rows


def same_patient(one: StudyVolume, other: StudyVolume) -> bool | None:
    """Whether two studies state one patient: by the patient's ID, else by name and date of birth.

    Returns
    -------
    bool or None
        None where the files of either say neither.
    """
    if one.source is None or other.source is None or not one.source.datasets or not other.source.datasets:
        return None
    headers = (one.source.datasets[0], other.source.datasets[0])
    identities = [_text(header, "PatientID") for header in headers]
    if all(identities):
        issuers = [_text(header, "IssuerOfPatientID") for header in headers]
        if not all(issuers) or issuers[0] == issuers[1]:
            return identities[0] == identities[1]
    names = [_spoken(_text(header, "PatientName")).casefold() for header in headers]
    born = [_text(header, "PatientBirthDate") for header in headers]
    if not all(names):
        return None
    return names[0] == names[1] and (not all(born) or born[0] == born[1])


def _text(header: pydicom.Dataset, keyword: str) -> str:
    try:
        return str(header.get(keyword) or "").strip()
    except READ_ERRORS:
        return ""


def _spoken(name: str) -> str:
    """A person's name as it is written: ``"Family, Given Middle"``, in the first script that is stated."""
    parts = [part.strip() for part in name.split("=")[0].split("^")]
    family, rest = parts[0], " ".join(part for part in parts[1:3] if part)
    return f"{family}, {rest}" if family and rest else family or rest
