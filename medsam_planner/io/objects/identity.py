"""What a DICOM object that refers back to a study needs: the study's headers, an identity, and a file to be written to.

UIDs follow from the content and the time of creation, so that equal objects are equal byte for byte.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from enum import IntEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from pydicom.uid import UID

from medsam_planner.errors import GeometryError, StudyError
from medsam_planner.io.blank_uids import content_uid
from medsam_planner.io.dicom_header_copy import SINGLE_VALUES, without_invalid_values
from medsam_planner.io.files import whole_file
from medsam_planner.io.study_files import plain_copy
from medsam_planner.volumes import StudyVolume

__all__ = [
    "CREATOR",
    "LONGEST_DESCRIPTION",
    "LONGEST_TEXT",
    "MANUFACTURER",
    "RESEARCH",
    "SeriesNumber",
    "image_sources",
    "instance_identity",
    "made",
    "plain_volume",
    "reference",
    "require_same_frame",
    "source_headers",
    "with_notice",
    "write_object",
]

MANUFACTURER = "MedSAM Planner"
CREATOR = "Planner^MedSAM"
"""The same as a person's name, which content has as its creator."""
RESEARCH = "(research use only)"
"""What every series description ends with."""
LONGEST_TEXT = 64
"""Characters in a DICOM long string (VR LO), such as a label or a description."""
LONGEST_DESCRIPTION = LONGEST_TEXT - len(RESEARCH) - 1
"""Characters in a series description before the notice."""


class SeriesNumber(IntEnum):
    """Series numbers of objects, so that each series of a study has its own."""

    SEGMENTATION = 9001
    TOOL = 9002
    PLAN = 9003
    REPORT = 9004
    KEY_IMAGE = 9005
    CONTOURS = 9006
    MESHES = 9100
    MAPS = 9200


def made(kind: Callable[..., pydicom.Dataset], **options: Any) -> pydicom.Dataset:
    """Construct an object without highdicom's remarks on how the source spells the patient's name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*unlikely to represent the intended person name")
        return kind(**options)


def source_headers(study: StudyVolume) -> list[pydicom.Dataset]:
    """Headers of the source with the empty attributes that objects must copy but old files leave out."""
    source = study.source
    if source is None or source.format != "dicom" or not source.datasets:
        came = "a volume without a source" if source is None else f"one read from {source.format}"
        raise StudyError(
            f"A DICOM object refers to the DICOM study it was made from, got {came}. Save it with save_nifti instead."
        )
    if not source.is_referable:
        raise StudyError(
            "A DICOM object refers to the files of its study by their SOPInstanceUIDs, several files have the same. "
            "Save it with save_nifti instead."
        )
    headers = []
    for dataset in source.datasets:
        header, _ = without_invalid_values(dataset)
        for keyword in SINGLE_VALUES:
            if keyword not in header:
                setattr(header, keyword, "")
        _complete_geometry(header, study)
        headers.append(header)
    return headers


def with_notice(text: str) -> str:
    """`text` as a long string that ends with the notice of research use, for which it is shortened."""
    return f"{text[:LONGEST_DESCRIPTION]} {RESEARCH}"


def reference(header: pydicom.Dataset) -> pydicom.Dataset:
    """An item that names an instance by its class and UID."""
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return item


def image_sources(headers: list[pydicom.Dataset]) -> dict[str, list[pydicom.Dataset]]:
    """How highdicom wants the images that a new image was made from: one multi-frame file, and others beside it."""
    if len(headers) > 1 and "PerFrameFunctionalGroupsSequence" in headers[0]:
        return {"source_images": headers[:1], "further_source_images": headers[1:]}
    return {"source_images": headers}


def _complete_geometry(header: pydicom.Dataset, study: StudyVolume) -> None:
    """Put geometry where highdicom looks for it; the new object's own comes from its grid, not from here."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        if not header.get("SliceThickness"):
            header.SliceThickness = float(study.spacing[0])
        return
    first = header.PerFrameFunctionalGroupsSequence[0]
    shared = plain_copy((header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0])
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if keyword not in shared:
            setattr(shared, keyword, first[keyword].value)
    header.SharedFunctionalGroupsSequence = [shared]


def instance_identity(
    study: StudyVolume, what: str, content: str, series_number: int, created: datetime.datetime | None
) -> dict[str, Any]:
    """Identity, time and maker of a new object.

    Parameters
    ----------
    study : StudyVolume
    what
        Which kind of object, so that two of one content differ.
    content
        A digest of what is in it.
    series_number
    created
        Content date and time; now by default.
    """
    moment = created if created is not None else datetime.datetime.now()
    series_uid = study.source.series_instance_uid if study.source is not None else ""
    identity = (str(series_uid), what, content, moment.isoformat())
    return {
        "series_instance_uid": content_uid("series", *identity),
        "series_number": series_number,
        "sop_instance_uid": content_uid("instance", *identity),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": version("medsam-planner"),
        "device_serial_number": "none",
        "content_date": moment.date(),
        "content_time": moment.time(),
        "series_date": moment.date(),
        "series_time": moment.time(),
        "specific_character_set": "ISO_IR 192",
    }


def require_same_frame(volume: highdicom.Volume, study: StudyVolume) -> None:
    """Refuse a volume of another frame of reference.

    Raises
    ------
    GeometryError
    """
    if volume.frame_of_reference_uid != study.frame_of_reference_uid:
        raise GeometryError(
            f"Expected a volume in the study's frame of reference {study.frame_of_reference_uid}, "
            f"got {volume.frame_of_reference_uid}."
        )


def plain_volume(volume: highdicom.Volume, array: np.ndarray) -> highdicom.Volume:
    """`array` on the grid of `volume`, as highdicom's own class and not one that knows its source."""
    return highdicom.Volume(
        array=array,
        affine=volume.affine,
        coordinate_system=volume.coordinate_system,
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )


def write_object(dataset: pydicom.Dataset, path: str | Path, *, transfer_syntax_uid: UID | None = None) -> Path:
    """Write the dataset as a file with a preamble; its folder is made when absent.

    Parameters
    ----------
    dataset : Dataset
    path
    transfer_syntax_uid : UID, optional
        Another one without encapsulated pixels, such as the deflated; by default the dataset's own.
    """
    # highdicom takes the wall clock and a random UID here; the content's own keep equal objects equal.
    dataset.InstanceCreationDate = dataset.get("ContentDate") or dataset.StructureSetDate
    dataset.InstanceCreationTime = dataset.get("ContentTime") or dataset.StructureSetTime
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = f"{dataset.InstanceCreationDate}{dataset.InstanceCreationTime}"
    for item in (*dataset.get("DimensionOrganizationSequence", ()), *dataset.get("DimensionIndexSequence", ())):
        item.DimensionOrganizationUID = content_uid("dimensions", dataset.SOPInstanceUID)
    if transfer_syntax_uid is not None:
        dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    with whole_file(path) as stream:
        dataset.save_as(stream, enforce_file_format=True)
    return Path(path)
