"""A study of every kind of object, with identifiers planted wherever a header can hold one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    MRImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

from medsam_planner.io import load_volume, save_dicom_seg, save_parametric_map
from medsam_planner.io.objects.plan_sr import save_plan_sr
from medsam_planner.volumes import volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets

NAME = "Tracerson^Jörgenlinde"
TRACERS = (
    "tracerson",
    "jörgenlinde",
    "rgenlinde",
    "trc-884213",
    "884213",
    "acc-771199",
    "771199",
    "tracerhof",
    "whitcombe",
    "19580312",
    "1958-03-12",
    "12.03.1958",
    "tracerstreet",
    "555-0142",
    "20240229",
    "quebranto",
)
"""Folded; the last is stated nowhere as an identifier: it stands only in free text."""
AFFINE = np.array([[0.0, 0, 0.5, -10], [0, 0.75, 0, -20], [2, 0, 0, 5], [0, 0, 0, 1.0]])


def plant(dataset: Dataset) -> None:
    """Write the identifiers into every kind of element, nested and private ones too."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = NAME
    dataset.PatientID = "TRC-884213"
    dataset.PatientBirthDate = "19580312"
    dataset.PatientSex = "F"
    dataset.PatientAddress = "Tracerstreet 7"
    dataset.PatientTelephoneNumbers = "555-0142"
    dataset.PatientComments = "Quebranto, wife of\r\nTra\r\ncerson. Born 12.03.1958"
    dataset.OtherPatientIDs = ["TRC-884213", "TRC-884213-B"]
    dataset.AccessionNumber = "ACC-771199"
    dataset.StudyID = "ACC-771199"
    dataset.ReferringPhysicianName = "Whitcombe^Ann"
    dataset.OperatorsName = ["Whitcombe^Ann", "Whitcombe^Bob"]
    dataset.InstitutionName = "Klinik Tracerhof"
    dataset.InstitutionalDepartmentName = "Tracerhof Radiology"
    dataset.StationName = "TRACERHOF1"
    dataset.StudyDescription = "CT Thorax Tracerson quebranto 12.03.1958"
    dataset.SeriesDescription = "Liver of Jörgenlinde, portal venous 1.5 mm"
    dataset.ProtocolName = "Thorax for Whitcombe"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20240229"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101112"
    dataset.ImageComments = "Tracerson"
    dataset.Manufacturer = "Tracerhof Imaging"
    dataset.SoftwareVersions = ["1.2", "built for 884213"]
    dataset.BodyPartExamined = "TRACERSON"
    dataset.ContributionDateTime = "20240229101112"
    dataset.TextComments = "Tracerson"
    dataset.ScheduledStepAttributesSequence = Sequence([_nested()])
    dataset.RequestAttributesSequence = Sequence([_nested()])
    dataset.ProcedureCodeSequence = Sequence([_code("884213", "Quebranto's operation")])
    dataset.AnatomicRegionSequence = Sequence([_code("10200004", "Liver of Tracerson")])
    dataset.add_new(0x00081080, "UN", b"Tracerson ")  # AdmittingDiagnosesDescription
    dataset.add_new(0x00082111, "LO", ["Derived", "by Whitcombe"])
    dataset.add_new(0x00189999, "UN", b"Tracerson ")  # in no dictionary
    dataset.add_new(0x60000010, "US", 4)
    dataset.add_new(0x60000022, "LO", "Tracerson")
    dataset.add_new(0x60003000, "OW", b"Tracerson!")
    dataset.add_new(0x50000005, "US", 1)
    dataset.add_new(0x50000022, "LO", "Tracerson")
    dataset.add_new(0xFFFCFFFC, "OB", b"Tracerson!")
    dataset.IconImageSequence = Sequence([_icon()])
    dataset.SourceImageSequence = Sequence([_reference(str(dataset.get("SOPInstanceUID") or generate_uid()))])
    block = dataset.private_block(0x0029, "TRACERHOF CSA", create=True)
    block.add_new(0x10, "OB", b"x Tracerson x")
    block.add_new(0x11, "SQ", Sequence([_nested()]))
    safe = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    safe.add_new(0x0C, "IS", "1000")
    safe.add_new(0x08, "CS", "TRACERSON")


def _nested() -> Dataset:
    item = Dataset()
    item.PatientName = NAME
    item.InstitutionName = "Klinik Tracerhof"
    item.RequestedProcedureDescription = "Tracerson"
    item.ScheduledProcedureStepDescription = "quebranto"
    item.CommentsOnRadiationDose = "born 12.03.1958"
    item.AccessionNumber = "ACC-771199"
    item.FrameComments = "Tracerson"
    deeper = Dataset()
    deeper.LabelText = "Jörgenlinde"
    deeper.ResponsiblePerson = NAME
    deeper.private_block(0x0031, "DEEP", create=True).add_new(0x01, "LO", "TRC-884213")
    item.ReferencedImageSequence = Sequence([deeper])
    return item


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def _icon() -> Dataset:
    icon = Dataset()
    icon.Rows = icon.Columns = 4
    icon.BitsAllocated = icon.BitsStored = 8
    icon.SamplesPerPixel, icon.HighBit, icon.PixelRepresentation = 1, 7, 0
    icon.PixelData = b"Tracerson Tracer"
    return icon


def _reference(uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = uid
    return item


def save(dataset: Dataset, path: Path, *, implicit: bool = False) -> Path:
    """Write with a file meta header that names the hospital."""
    path.parent.mkdir(parents=True, exist_ok=True)
    syntax = dataset.file_meta.TransferSyntaxUID
    if implicit:
        syntax = ImplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.SourceApplicationEntityTitle = "TRACERHOF"
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = b"Tracerson!"
    dataset.preamble = b"Tracerson".ljust(128, b"\0")
    dataset.save_as(path, enforce_file_format=True, implicit_vr=implicit)
    return path


def planted_study(folder: Path) -> dict[str, Path]:
    """Write it under names that tell; by kind the path of one object, ``"ct"`` the folder of its slices."""
    place = folder / "Tracerson_Jörgenlinde_19580312"
    slices = ct_datasets(blob_hu(), AFFINE)
    for k, one in enumerate(slices):
        plant(one)
        save(one, place / "CT Tracerson" / f"TRC-884213_{k}.dcm", implicit=k % 2 == 1)
    study = load_volume(place / "CT Tracerson")
    made: dict[str, Path] = {"ct": place / "CT Tracerson"}
    mask = volume_like(study, study.array > -700)
    save_dicom_seg(mask, place / "seg.dcm", study, label="liver of Tracerson")
    save_parametric_map(
        volume_like(study, study.array / 7),
        place / "pm.dcm",
        study,
        quantity="uncertainty",
        structure="liver of Tracerson",
    )
    save_plan_sr(_plan(), place / "sr.dcm", study)
    for kind in ("seg", "pm", "sr"):
        made[kind] = place / f"{kind}.dcm"
        dataset = pydicom.dcmread(made[kind])
        if kind == "sr":
            dataset.ContentSequence.append(_person_item())
        plant(dataset)
        save(dataset, made[kind])
    made["rtstruct"] = save(structure_set(study.source.datasets), place / "rs.dcm")
    made["mr"] = save(_mr(slices[0]), place / "MR" / "Tracerson.dcm")
    made["jpeg"] = save(_compressed(slices[0], JPEGBaseline8Bit), place / "jpeg" / "1.dcm")
    made["j2k"] = save(_compressed(slices[0], JPEG2000Lossless), place / "j2k" / "1.dcm")
    made["pdf"] = save(_pdf(slices[0]), place / "report.dcm")
    (place / "Tracerson.txt").write_text("Tracerson")
    return made


def _plan() -> dict[str, Any]:
    line = {
        "length_mm": 80.0,
        "entry_angle_deg": 10.0,
        "certified_clearance_mm": 3.0,
        "hit_probability": 0.0,
        "entry_lps_mm": [0.0, 0.0, 5.0],
        "target_lps_mm": [0.0, 0.0, 10.0],
        "limiting_point_lps_mm": [0.0, 0.0, 7.0],
        "limiting_structure": "artery of Tracerson",
        "reason": "Tracerson quebranto",
    }
    return {"notice": "Research use only, Tracerson.", "margins_statement": "Margins.", "alternatives": [line]}


def _person_item() -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "PNAME"
    item.ConceptNameCodeSequence = Sequence([_code("121008", "Person Observer Name")])
    item.PersonName = "Whitcombe^Ann"
    return item


def structure_set(headers: Any) -> Dataset:
    """An RTSTRUCT with one square on the first slice, that refers to all slices."""
    first = headers[0]
    dataset = FileDataset("", {}, file_meta=FileMetaDataset())
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StudyInstanceUID = first.StudyInstanceUID
    dataset.Modality = "RTSTRUCT"
    plant(dataset)
    dataset.StructureSetLabel = "Tracerson"
    images = Sequence([_reference(str(one.SOPInstanceUID)) for one in headers])
    series, of_study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, series.ContourImageSequence = first.SeriesInstanceUID, images
    of_study.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    of_study.ReferencedSOPInstanceUID = first.StudyInstanceUID
    of_study.RTReferencedSeriesSequence = Sequence([series])
    frame.FrameOfReferenceUID = first.FrameOfReferenceUID
    frame.RTReferencedStudySequence = Sequence([of_study])
    dataset.ReferencedFrameOfReferenceSequence = Sequence([frame])
    roi, contours, contour, observation = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, "Tracerson liver", first.FrameOfReferenceUID
    roi.ROIGenerationAlgorithm = "MANUAL"
    x, y, z = (float(value) for value in first.ImagePositionPatient)
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", 4
    contour.ContourData = [x, y, z, x + 3, y, z, x + 3, y + 3, z, x, y + 3, z]
    contour.ContourImageSequence = Sequence([_reference(str(first.SOPInstanceUID))])
    contours.ReferencedROINumber, contours.ContourSequence = 1, Sequence([contour])
    observation.ObservationNumber, observation.ReferencedROINumber = 1, 1
    observation.RTROIInterpretedType, observation.ROIInterpreter = "ORGAN", "Whitcombe^Ann"
    dataset.StructureSetROISequence = Sequence([roi])
    dataset.ROIContourSequence = Sequence([contours])
    dataset.RTROIObservationsSequence = Sequence([observation])
    return dataset


def _copy(one: Dataset) -> Dataset:
    stream = io.BytesIO()
    one.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    dataset = pydicom.dcmread(stream)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    return dataset


def _mr(one: Dataset) -> Dataset:
    dataset = _copy(one)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.Modality = "MR"
    dataset.SequenceName, dataset.ScanningSequence, dataset.EchoTime = "*fl3d1", "GR", "2.5"
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.PatientName = "Tracerson^Hana=山田^花"
    return dataset


def _compressed(one: Dataset, syntax: str) -> Dataset:
    dataset = _copy(one)
    stream = io.BytesIO()
    if syntax == JPEGBaseline8Bit:
        picture = Image.fromarray((np.arange(120).reshape(12, 10) * 2).astype(np.uint8))
        picture.save(stream, "JPEG", quality=95, comment=b"Tracerson", exif=b"Exif\0\0Tracerson")
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = encapsulate([stream.getvalue() + b"Tracerson!"])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.Rows = dataset.Columns = 64  # OpenJPEG encodes nothing smaller than its resolution levels
        dataset.PixelData = np.arange(64 * 64, dtype="<u2").tobytes()
        dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        comment = b"\xff\x64" + (4 + 9).to_bytes(2) + b"\0\1Tracerson"
        size = 4 + int.from_bytes(frame[4:6])
        dataset.PixelData = encapsulate([frame[:size] + comment + frame[size:]])
        dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _pdf(one: Dataset) -> Dataset:
    dataset = _copy(one)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)
    dataset.Modality = "DOC"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = b"%PDF Tracerson"
    return dataset
