"""RT Structure Sets of plain contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medsam_planner.geometry import lps_from_index
from medsam_planner.volumes import StudyVolume

Contour = tuple[float, Sequence[Sequence[float]]]
"""Slice, and (row, column) of each corner."""


def write_structure_set(
    path: Path,
    study: StudyVolume,
    regions: Mapping[str, Sequence[Contour]],
    *,
    kind: str = "CLOSED_PLANAR",
    frame: str | None = None,
    series: str | None = None,
) -> Path:
    """Write `regions` by name, numbered from 1, in indices of `study`; drawn on a `series`, if it is to say so."""
    dataset = FileDataset(str(path), {}, file_meta=FileMetaDataset())
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = RTStructureSetStorage, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Modality = "RTSTRUCT"
    rois, contours = [], []
    for number, (name, places) in enumerate(regions.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = study.frame_of_reference_uid if frame is None else frame
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = DicomSequence([_contour(place, study.affine, kind) for place in places])
        rois.append(roi)
        contours.append(drawn)
    if series is not None:
        frames, of_study, of_series = Dataset(), Dataset(), Dataset()
        of_series.SeriesInstanceUID = series
        of_study.RTReferencedSeriesSequence = DicomSequence([of_series])
        frames.RTReferencedStudySequence = DicomSequence([of_study])
        dataset.ReferencedFrameOfReferenceSequence = DicomSequence([frames])
    dataset.StructureSetROISequence = DicomSequence(rois)
    dataset.ROIContourSequence = DicomSequence(contours)
    dataset.save_as(path, enforce_file_format=True)
    return path


def square(low: float, high: float) -> list[list[float]]:
    """Corners of a square of rows and columns from `low` to `high`."""
    return [[low, low], [low, high], [high, high], [high, low]]


def _contour(place: Contour, affine: ArrayLike, kind: str) -> Dataset:
    k, corners = place
    points: NDArray[np.float64] = lps_from_index(affine, np.array([[k, *corner] for corner in corners]))
    contour = Dataset()
    contour.ContourGeometricType, contour.NumberOfContourPoints = kind, len(points)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return contour
