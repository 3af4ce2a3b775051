"""Whom a study is of, for reports and pages; nothing where the study was de-identified, or somebody chose so."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

import pydicom

from medsam_planner.io.study_files import READ_ERRORS
from medsam_planner.volumes import StudyVolume

__all__ = ["NAMELESS", "identity_rows", "is_deidentified", "naming_words", "same_patient", "with_identity"]

_ROWS = (
    ("patient", "PatientName"),
    ("patient ID", "PatientID"),
    ("born", "PatientBirthDate"),
    ("accession", "AccessionNumber"),
    ("study date", "StudyDate"),
)
NAMELESS = "study"
"""What every study is called where nobody is to be named: a folder's name can be a patient's."""
_OBJECTS_NAME = (
    "Reports name nobody, as was asked; the DICOM objects beside them carry patient and study as the files do. "
    "De-identify the study first if those are to leave."
)


def with_identity(study: StudyVolume, is_identified: bool | None) -> StudyVolume:
    """The study with what somebody chose: whether reports and pages name the patient.

    Parameters
    ----------
    study : StudyVolume
    is_identified : bool or None
        None leaves it to the study's files.

    Returns
    -------
    StudyVolume
        On the same voxels. One that is to name nobody has no series description either: it is free text.
    """
    source = study.source
    if source is None:
        return study
    chosen = dataclasses.replace(source, is_identified=is_identified)
    if is_identified is False:
        chosen = dataclasses.replace(chosen, series_description="")
        if not _says_deidentified(source.datasets):
            chosen = dataclasses.replace(chosen, notes=(*source.notes, _OBJECTS_NAME))
    return StudyVolume.from_volume(study, chosen)


def is_deidentified(study: StudyVolume) -> bool:
    """Whether nothing names the patient: as was chosen, or as the files say (0012,0062); without DICOM files always."""
    source = study.source
    if source is None or not source.datasets:
        return True
    if source.is_identified is not None:
        return not source.is_identified
    return _says_deidentified(source.datasets)


def naming_words(study: StudyVolume, texts: Iterable[str]) -> list[str]:
    """Words of typed texts that are the patient's name or ID, where somebody chose that nobody is to be named.

    Words of fewer than three letters are not looked for.
    """
    source = study.source
    if source is None or not source.datasets or source.is_identified is not False:
        return []
    header = source.datasets[0]
    own = {_text(header, "PatientID").casefold(), *_words(_text(header, "PatientName"))}
    return sorted(
        {word for text in texts for word in (text.casefold(), *_words(text)) if len(word) > 2 and word in own}
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


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


def _says_deidentified(datasets: Sequence[pydicom.Dataset]) -> bool:
    return not datasets or _text(datasets[0], "PatientIdentityRemoved").upper() == "YES"


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
