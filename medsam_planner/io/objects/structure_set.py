"""Masks as an RT Structure Set: closed planar contours on the slices of the study.

Contours run between the voxels inside and outside, so that filling them by the even–odd rule gives the mask back; a
hole is a contour of its own inside the outer one. rt-utils was looked at: it needs OpenCV, and its last release is of
2022.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor
from pydicom import Dataset
from pydicom.uid import RTStructureSetStorage

from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.io.objects.encapsulated import derived_object
from medsam_planner.io.objects.identity import (
    LONGEST_TEXT,
    SeriesNumber,
    instance_identity,
    reference,
    require_same_frame,
    source_headers,
    write_object,
)
from medsam_planner.io.objects.segmentation import Segment
from medsam_planner.io.objects.structure_codes import structure_codes
from medsam_planner.volumes import StudyVolume, array_sha256

__all__ = ["save_structure_set"]

_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management, retired; the reference to a study still names it (PS3.3, C.8.8.5)."""
_DIGITS = 3
"""A thousandth of a millimetre."""
_ON_SLICE = 0.01
"""Slices from a position at which an image still is of that slice."""


def save_structure_set(
    segments: Sequence[Segment],
    path: str | Path,
    study: StudyVolume,
    *,
    created: datetime.datetime | None = None,
) -> Path:
    """Write masks as one RT Structure Set of `study`.

    Parameters
    ----------
    segments : sequence of Segment
        Regions of interest, numbered from 1 in the order given.
    path
    study : StudyVolume
        Read from DICOM.
    created
        Content date and time; now by default. The same time gives the same bytes.

    Raises
    ------
    StudyError
        If the study was not read from DICOM.
    GeometryError
        If a mask is of another frame of reference.
    """
    headers = source_headers(study)
    for segment in segments:
        require_same_frame(segment.mask, study)
    labels = "/".join(segment.label for segment in segments)
    content = "".join(array_sha256(segment.mask.array) for segment in segments)
    identity = instance_identity(study, f"structure set/{labels}", content, SeriesNumber.CONTOURS, created)
    dataset = derived_object(
        study,
        headers,
        sop_class_uid=RTStructureSetStorage,
        modality="RTSTRUCT",
        identity=identity,
        series_description="Segmentation, contours",
    )
    dataset.OperatorsName = ""
    dataset.StructureSetLabel = "RESEARCH USE"
    dataset.StructureSetDescription = "Research use only. Not a medical device."
    dataset.StructureSetDate, dataset.StructureSetTime = dataset.ContentDate, dataset.ContentTime
    del dataset.ContentDate, dataset.ContentTime  # this kind of object has its own
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.FrameOfReferenceUID = study.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.ReferencedFrameOfReferenceSequence = [_frame(headers, study)]
    places = _image_places(headers, study)
    numbered = list(enumerate(segments, start=1))
    dataset.StructureSetROISequence = [_region(number, one, study) for number, one in numbered]
    dataset.ROIContourSequence = [_contours(number, one, places) for number, one in numbered]
    dataset.RTROIObservationsSequence = [_observation(number, one) for number, one in numbered]
    return write_object(dataset, path)


def _frame(headers: Sequence[Dataset], study: StudyVolume) -> Dataset:
    series, of_study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = headers[0].SeriesInstanceUID
    series.ContourImageSequence = [reference(header) for header in headers]
    of_study.ReferencedSOPClassUID = _STUDY_CLASS
    of_study.ReferencedSOPInstanceUID = headers[0].StudyInstanceUID
    of_study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = study.frame_of_reference_uid
    frame.RTReferencedStudySequence = [of_study]
    return frame


def _region(number: int, segment: Segment, study: StudyVolume) -> Dataset:
    item = Dataset()
    item.ROINumber = number
    item.ReferencedFrameOfReferenceUID = study.frame_of_reference_uid
    item.ROIName = segment.label
    item.ROIGenerationAlgorithm = segment.algorithm_type
    item.ROIGenerationDescription = segment.algorithm.name[:LONGEST_TEXT]
    return item


def _observation(number: int, segment: Segment) -> Dataset:
    found = segment.codes or structure_codes(segment.label)
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIInterpretedType = "ORGAN" if found.is_known else ""
    item.ROIInterpreter = ""
    if found.is_known:
        item.RTROIIdentificationCodeSequence = [found.type]
    return item


def _contours(number: int, segment: Segment, places: dict[int, Dataset]) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(ImageColor.getrgb(segment.colour)[:3])
    sequence = []
    for index, outline_lps_mm in _outlines(segment.mask):
        contour = Dataset()
        if index in places:
            contour.ContourImageSequence = [places[index]]
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(outline_lps_mm)
        contour.ContourData = [f"{value + 0.0:.{_DIGITS}f}" for value in np.round(outline_lps_mm, _DIGITS).ravel()]
        sequence.append(contour)
    item.ContourSequence = sequence
    return item


def _outlines(mask: highdicom.Volume) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Closed outlines by slice index along array axis 0, (N, 3) in LPS mm, without repeating the first point."""
    from skimage.measure import find_contours

    for index in np.flatnonzero(mask.array.any(axis=(1, 2))):
        framed = np.pad(mask.array[index].astype(np.float32), 1)
        for outline in find_contours(framed, 0.5):
            rows, columns = outline[:-1].T - 1
            voxels = np.stack([np.full(len(rows), float(index)), rows, columns], axis=1)
            yield int(index), lps_from_index(mask.affine, voxels)


def _image_places(headers: Sequence[Dataset], study: StudyVolume) -> dict[int, Dataset]:
    """By slice index, the image that lies there; none where the grid is not that of the images."""
    places: dict[int, Dataset] = {}
    for header in headers:
        if "ImagePositionPatient" not in header:
            return {}
        index = index_from_lps(study.affine, [float(value) for value in header.ImagePositionPatient])
        if np.abs(index - np.rint(index)).max() < _ON_SLICE:
            places[int(np.rint(index[0]))] = reference(header)
    return places
