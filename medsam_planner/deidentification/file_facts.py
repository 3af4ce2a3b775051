"""What a file is, whose it is, and what it states about the patient: read before anything is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import UID

from medsam_planner.deidentification.identifiers import stated_identifiers
from medsam_planner.io.study_files import (
    READ_ERRORS,
    STANDARD_ROOT,
    file_kind,
    file_meta,
    header_text,
    is_dicomdir,
    quiet_pydicom,
    stated_class,
)

__all__ = ["FileFacts", "read_facts"]

_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_RAW = "1.2.840.10008.5.1.4.1.1.66"
_VIDEO = "1.2.840.10008.1.2.4.10"
_NOT_DICOM = {"zip": "zip archive in a zip (unpack it first)", "nifti": "NIfTI (its header may hold names)"}
_DIRECTORY = "DICOMDIR (an index; it would name patients)"


@dataclass(frozen=True, slots=True)
class FileFacts:
    """One file of the input."""

    path: Path
    name: str
    dropped: str = ""
    """Why it is left out by rule, such as a document; empty if it is not."""
    refused: str = ""
    """Why it cannot be cleaned; empty if it can."""
    patient_id: str = ""
    study_uid: str = ""
    instance_uid: str = ""
    identifiers: frozenset[str] = frozenset()


def read_facts(path: Path, name: str) -> FileFacts:
    """Read the header of a file; never raises for what the file holds."""
    try:
        kind = file_kind(path)
        if kind != "dicom":
            return FileFacts(path, name, dropped=_NOT_DICOM.get(kind, "not DICOM"))
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            dropped, refused = _dropped(header), _refused(header)
            if dropped or refused:
                return FileFacts(path, name, dropped, "" if dropped else refused)
            return FileFacts(
                path,
                name,
                patient_id=header_text(header, "PatientID"),
                study_uid=header_text(header, "StudyInstanceUID"),
                instance_uid=header_text(header, "SOPInstanceUID"),
                identifiers=stated_identifiers(header),
            )
    except READ_ERRORS:
        return FileFacts(path, name, refused="its header cannot be read")


def _dropped(header: pydicom.Dataset) -> str:
    kind = stated_class(header)
    if is_dicomdir(header):
        return _DIRECTORY
    if kind.startswith(_ENCAPSULATED) or "EncapsulatedDocument" in header:
        mime = header_text(header, "MIMETypeOfEncapsulatedDocument") or "document"
        known = mime if mime in ("application/pdf", "model/stl", "model/obj", "text/XML") else "document"
        return f"encapsulated {known} (its content cannot be cleaned)"
    if "WaveformSequence" in header:
        return "waveform (may be a voice)"
    if kind == _RAW:
        return "raw data (its content is unknown)"
    if kind and not kind.startswith(STANDARD_ROOT):
        return "private object (its content is unknown)"
    return ""


def _refused(header: pydicom.Dataset) -> str:
    meta = file_meta(header)
    if not (header_text(header, "SOPClassUID") or header_text(meta, "MediaStorageSOPClassUID")):
        return "it does not say what kind of object it is (SOPClassUID)"
    syntax = meta.get("TransferSyntaxUID")
    if syntax is not None and str(syntax).startswith(_VIDEO):
        return "it is a video, whose stream may carry text"
    if syntax is not None and UID(syntax).is_private:
        return "its transfer syntax is private"
    return ""
