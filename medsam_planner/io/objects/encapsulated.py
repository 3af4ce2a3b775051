"""Documents inside DICOM: the report as an Encapsulated PDF, surfaces as Encapsulated STL."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any

import pydicom
from highdicom.base import SOPClass
from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID, EncapsulatedPDFStorage, EncapsulatedSTLStorage, ExplicitVRLittleEndian

from medsam_planner.errors import StudyError
from medsam_planner.io.objects.identity import (
    LONGEST_TEXT,
    MANUFACTURER,
    SeriesNumber,
    instance_identity,
    made,
    reference,
    source_headers,
    with_notice,
    write_object,
)
from medsam_planner.volumes import StudyVolume

__all__ = ["derived_object", "save_encapsulated_pdf", "save_encapsulated_stl"]


def save_encapsulated_pdf(
    document: bytes,
    path: str | Path,
    study: StudyVolume,
    *,
    title: str,
    names_patient: bool,
    created: datetime.datetime | None = None,
) -> Path:
    """Write a PDF as a DICOM object of `study`.

    Parameters
    ----------
    document : bytes
        The PDF.
    path
    study : StudyVolume
        Read from DICOM.
    title
        Title of the document.
    names_patient : bool
        Whether its pages name the patient, which the object states as burnt-in annotation.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM, or the document is no PDF.
    """
    if not document.startswith(b"%PDF-"):
        raise StudyError("Expected a PDF to encapsulate, got something else.")
    dataset = _encapsulated(
        document,
        study,
        sop_class_uid=EncapsulatedPDFStorage,
        modality="DOC",
        media_type="application/pdf",
        title=title,
        series_title="Trajectory plan, report",
        series_number=SeriesNumber.REPORT,
        created=created,
    )
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "YES" if names_patient else "NO"
    dataset.ConceptNameCodeSequence = [CodedConcept.from_code(codes.DCM.PlanningInformationForIntraoperativeUsage)]
    return write_object(dataset, path)


def save_encapsulated_stl(
    mesh: bytes,
    path: str | Path,
    study: StudyVolume,
    *,
    structure: str,
    number: int = 0,
    created: datetime.datetime | None = None,
) -> Path:
    """Write a binary STL in LPS millimetres as a DICOM object of `study`.

    Parameters
    ----------
    mesh : bytes
        Binary STL; its positions are those of the study's frame of reference.
    path
    study : StudyVolume
        Read from DICOM.
    structure
        Whose surface it is.
    number : int
        Which of the run's structures, from 0.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM.
    """
    dataset = _encapsulated(
        mesh,
        study,
        sop_class_uid=EncapsulatedSTLStorage,
        modality="M3D",
        media_type="model/stl",
        title=structure,
        series_title=f"{structure}: surface",
        series_number=SeriesNumber.MESHES + number,
        created=created,
    )
    dataset.ConceptNameCodeSequence = []
    dataset.FrameOfReferenceUID = study.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.MeasurementUnitsCodeSequence = [CodedConcept.from_code(codes.UCUM.Millimeter)]
    dataset.ModelModification = "NO"
    dataset.ModelMirroring = "NO"
    return write_object(dataset, path)


def derived_object(
    study: StudyVolume,
    headers: list[Dataset],
    *,
    sop_class_uid: UID,
    modality: str,
    identity: dict[str, Any],
    series_description: str,
) -> Dataset:
    """An object of the patient and study of `headers`, without content."""
    own = {key: identity[key] for key in ("content_date", "content_time", "series_date", "series_time")}
    given = {key: value for key, value in identity.items() if key not in own}
    first = headers[0]
    dataset = made(
        SOPClass,
        study_instance_uid=first.StudyInstanceUID,
        sop_class_uid=sop_class_uid,
        modality=modality,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=first.PatientID or None,
        patient_name=str(first.PatientName) or None,
        patient_birth_date=first.PatientBirthDate or None,
        patient_sex=first.PatientSex or None,
        accession_number=first.AccessionNumber or None,
        study_id=first.StudyID or None,
        study_date=first.StudyDate or None,
        study_time=first.StudyTime or None,
        referring_physician_name=str(first.ReferringPhysicianName) or None,
        series_description=with_notice(series_description),
        **given,
    )
    made(dataset.copy_patient_and_study_information, dataset=first)
    dataset.ContentDate = pydicom.valuerep.DA(own["content_date"])
    dataset.ContentTime = pydicom.valuerep.TM(own["content_time"])
    dataset.SeriesDate, dataset.SeriesTime = dataset.ContentDate, dataset.ContentTime
    return dataset


def _encapsulated(
    content: bytes,
    study: StudyVolume,
    *,
    sop_class_uid: UID,
    modality: str,
    media_type: str,
    title: str,
    series_title: str,
    series_number: int,
    created: datetime.datetime | None,
) -> Dataset:
    headers = source_headers(study)
    identity = instance_identity(
        study, f"{media_type}/{title}", hashlib.sha256(content).hexdigest(), series_number, created
    )
    dataset = derived_object(
        study,
        headers,
        sop_class_uid=sop_class_uid,
        modality=modality,
        identity=identity,
        series_description=series_title,
    )
    dataset.AcquisitionDateTime = ""
    dataset.BurnedInAnnotation = "NO"
    dataset.DocumentTitle = title[:LONGEST_TEXT]
    dataset.MIMETypeOfEncapsulatedDocument = media_type
    dataset.EncapsulatedDocumentLength = len(content)
    dataset.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    dataset.SourceInstanceSequence = [reference(header) for header in headers]
    series = Dataset()
    series.SeriesInstanceUID = headers[0].SeriesInstanceUID
    series.ReferencedInstanceSequence = [reference(header) for header in headers]
    dataset.ReferencedSeriesSequence = [series]
    dataset.ManufacturerModelName = MANUFACTURER
    return dataset
