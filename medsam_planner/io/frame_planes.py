"""Where the frames of a DICOM file lie in the patient."""

from __future__ import annotations

import numpy as np
import pydicom

from medsam_planner.io.slice_stack import SlicePlane
from medsam_planner.io.study_files import DicomFile

__all__ = ["frame_count", "frame_planes", "numbers"]


def frame_count(header: pydicom.Dataset) -> int:
    """Number of frames of a file; 1 where the header does not state it."""
    try:
        return int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return 1


def numbers(holder: pydicom.Dataset, keyword: str) -> tuple[float, ...]:
    """The values of a numeric element; empty where it is absent."""
    return tuple(float(value) for value in holder.get(keyword) or ())


def frame_planes(file: DicomFile) -> list[SlicePlane]:
    """Planes of the frames of a file.

    Raises
    ------
    ValueError
        If a tag that states position, orientation or spacing is missing or wrong; the message names it.
    """
    header = file.header
    count = frame_count(header)
    if count == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return [_plane(header, file.name, header, header, header)]
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    if len(frames) != count:
        raise ValueError(f"{count} frames but {len(frames)} functional groups")
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    planes = []
    for number, frame in enumerate(frames, start=1):
        parts = [
            (frame.get(keyword) or shared.get(keyword) or [pydicom.Dataset()])[0]
            for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        ]
        planes.append(_plane(header, f"{file.name} frame {number}", *parts))
    return planes


def _plane(
    header: pydicom.Dataset, name: str, place: pydicom.Dataset, turn: pydicom.Dataset, measures: pydicom.Dataset
) -> SlicePlane:
    position = numbers(place, "ImagePositionPatient")
    orientation = numbers(turn, "ImageOrientationPatient")
    spacing = numbers(measures, "PixelSpacing")
    for keyword, values, expected in (
        ("ImagePositionPatient", position, 3),
        ("ImageOrientationPatient", orientation, 6),
        ("PixelSpacing", spacing, 2),
    ):
        if len(values) != expected or not np.isfinite(values).all():
            raise ValueError(f"{keyword} is {values if values else 'missing'}")
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    if abs(row @ row - 1) > 1e-3 or abs(column @ column - 1) > 1e-3 or abs(row @ column) > 1e-3:
        raise ValueError(f"ImageOrientationPatient {orientation} is not two perpendicular unit vectors")
    if min(spacing) <= 0:
        raise ValueError(f"PixelSpacing {spacing} is not positive")
    uid = str(header.get("FrameOfReferenceUID") or "")
    return SlicePlane(name, (int(header.Rows), int(header.Columns)), position, orientation, spacing, uid)
