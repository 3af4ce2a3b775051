"""Regions of an RT Structure Set as masks: closed planar contours, filled on the planes of the study.

A voxel belongs to a region if its centre lies inside an odd number of contours of its slice (even-odd rule), so that a
contour inside another one is a hole, and a keyhole contour, which walks along one channel to its hole and back, too.
Contours that overlap in part are refused, unless they say that they are meant so (CLOSEDPLANAR_XOR).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.io.object_frame import require_same_frame
from medsam_planner.io.study_files import READ_ERRORS
from medsam_planner.volumes import StudyVolume

__all__ = ["region_mask", "region_names"]

_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _XOR)
_OFF_PLANE_VOXELS = 0.1
"""How far a contour may lie from the plane of a slice: structure sets write positions with few digits."""
_UNSTEADY_HAND = 0.05
"""Part of the smaller of two contours by which a hole may stick out, or neighbours may overlap."""
_MOST_NAMED = 5
_MOST_BEYOND = 4
"""Times the study's voxels that a region's grid may have: beyond lies another patient, or another unit."""


def region_names(dataset: pydicom.Dataset) -> dict[int, str]:
    """Names of the regions by number."""
    return {int(roi.ROINumber): str(roi.get("ROIName") or "") for roi in dataset.get("StructureSetROISequence") or ()}


def region_mask(
    dataset: pydicom.Dataset, number: int, study: StudyVolume, path: Path
) -> tuple[highdicom.Volume, tuple[str, ...]]:
    """(K, J, I) bool mask of one region on the study's grid, extended where the contours reach beyond it, and notes.

    Notes say what is not known of it: slices without a contour inside it, and its place if it states no frame of
    reference.

    Raises
    ------
    StudyError
        If the region has no closed planar contour, one of another kind, one off the planes of the study, or contours on
        every second slice or fewer, or some that overlap in part; if it is of another frame of reference.
    """
    name = region_names(dataset)[number]
    label = f"The region {number} '{name}' of {path}"
    notes = require_same_frame(_frame(dataset, number), _drawn_on(dataset), study, path)
    contours, is_xor = _contours(dataset, number, label)
    index = [index_from_lps(study.affine, points) for points in contours]
    axis = _slice_axis(index, label)
    planes = [round(float(points[:, axis].mean())) for points in index]
    notes += _gaps(sorted(set(planes)), label)
    every = np.concatenate(index)
    every[:, axis] = np.round(every[:, axis])
    low = np.minimum(np.floor(every.min(axis=0)), 0).astype(int)
    high = np.maximum(np.ceil(every.max(axis=0)) + 1, study.spatial_shape).astype(int)
    shape = high - low
    if np.prod(shape, dtype=float) > _MOST_BEYOND * np.prod(study.spatial_shape, dtype=float):
        raise StudyError(f"{label} reaches far beyond the study. Name the structure set of this study.")
    mask = np.zeros(shape, dtype=bool)
    across = [one for one in range(3) if one != axis]
    for plane in sorted(set(planes)):
        polygons = [(points - low)[:, across] for points, own in zip(index, planes, strict=True) if own == plane]
        rows_columns = int(shape[across[0]]), int(shape[across[1]])
        if not is_xor:
            _refuse_crossing(polygons, rows_columns, label)
        place: list[int | slice] = [slice(None)] * 3
        place[axis] = plane - int(low[axis])
        mask[tuple(place)] = _filled(polygons, rows_columns)
    affine = np.array(study.affine, dtype=np.float64)
    affine[:3, 3] = lps_from_index(study.affine, low)
    volume = highdicom.Volume(
        array=mask,
        affine=affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=study.frame_of_reference_uid,
    )
    return volume, notes


def _frame(dataset: pydicom.Dataset, number: int) -> str:
    """UID of the frame of reference of a region: its own, or the only one that the structure set names."""
    (roi,) = (one for one in dataset.StructureSetROISequence if int(one.ROINumber) == number)
    named = {
        str(one.get("FrameOfReferenceUID") or "") for one in dataset.get("ReferencedFrameOfReferenceSequence") or ()
    }
    return str(roi.get("ReferencedFrameOfReferenceUID") or "") or (named.pop() if len(named) == 1 else "")


def _drawn_on(dataset: pydicom.Dataset) -> frozenset[str]:
    """UIDs of the series that the structure set says it was drawn on."""
    return frozenset(
        str(series.get("SeriesInstanceUID") or "")
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()
        for study in frame.get("RTReferencedStudySequence") or ()
        for series in study.get("RTReferencedSeriesSequence") or ()
    )


def _contours(dataset: pydicom.Dataset, number: int, label: str) -> tuple[list[NDArray[np.float64]], bool]:
    """(n, 3) LPS mm corners of each contour, and whether they are to be combined by exclusive or."""
    own = [
        contour
        for roi in dataset.get("ROIContourSequence") or ()
        if int(roi.get("ReferencedROINumber", -1)) == number
        for contour in roi.get("ContourSequence") or ()
    ]
    if not own:
        raise StudyError(f"{label} has no contour. Name another region.")
    others = sorted({str(one.get("ContourGeometricType")) for one in own} - set(_CLOSED))
    if others:
        raise StudyError(
            f"Expected closed planar contours; {label} has {', '.join(others)}, which encloses nothing. Name another "
            "region."
        )
    try:
        corners = [np.array(one.ContourData, dtype=np.float64).reshape(-1, 3) for one in own]
    except READ_ERRORS as error:
        raise StudyError(f"{label} has a damaged contour: {error}") from error
    if any(len(points) < 3 or not np.isfinite(points).all() for points in corners):
        raise StudyError(f"{label} has a contour of fewer than three points, or one that is not finite.")
    return corners, any(one.ContourGeometricType == _XOR for one in own)


def _slice_axis(index: Sequence[NDArray[np.float64]], label: str) -> int:
    """The array axis across which every contour is flat and on a slice."""
    apart = np.array([np.abs(points - np.round(points.mean(axis=0))).max(axis=0) for points in index])
    worst = apart.max(axis=0)
    axis = int(worst.argmin())
    if worst[axis] > _OFF_PLANE_VOXELS:
        count = int((apart[:, axis] > _OFF_PLANE_VOXELS).sum())
        raise StudyError(
            f"Expected contours on slices of the study; {count} of {len(index)} contours of {label[0].lower()}"
            f"{label[1:]} lie off them, by up to {worst[axis]:.2f} slices. Name the structure set that was drawn on "
            "this series."
        )
    return axis


def _gaps(planes: Sequence[int], label: str) -> tuple[str, ...]:
    """A note on the slices without a contour between others; sorted `planes` that all lie apart are refused."""
    if len(planes) > 2 and min(np.diff(planes)) > 1:
        raise StudyError(
            f"{label} has contours {int(min(np.diff(planes)))} and more slices apart, and nothing is known between. "
            "Interpolate it where it was drawn."
        )
    gaps = [(before + 2, after) for before, after in pairwise(planes) if after - before > 1]
    if not gaps:
        return ()
    told = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in gaps[:_MOST_NAMED])
    more = f" and {len(gaps) - _MOST_NAMED} more gaps" if len(gaps) > _MOST_NAMED else ""
    plural = "s" if len(gaps) > 1 or gaps[0][0] != gaps[0][1] else ""
    return (
        f"It has no contour on slice{plural} {told}{more}, which lie between slices with contours. Nothing of the "
        "structure is assumed there; whether it was forgotten is not known.",
    )


def _refuse_crossing(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int], label: str) -> None:
    """Refuse contours of a plane that overlap in part or are equal: even-odd filling would cut out what they share."""
    filled = cache(lambda number: _filled([polygons[number]], shape))  # each lies beside many others
    for (number, one), (other_number, other) in combinations(enumerate(polygons), 2):
        if (one.max(axis=0) < other.min(axis=0)).any() or (other.max(axis=0) < one.min(axis=0)).any():
            continue
        first, second = filled(number), filled(other_number)
        shared, smaller = int((first & second).sum()), int(min(first.sum(), second.sum()))
        is_twice = one.shape == other.shape and np.array_equal(one, other)
        if is_twice or min(shared, smaller - shared) > max(1, _UNSTEADY_HAND * smaller):
            raise StudyError(
                f"{label} has contours on one slice that overlap, and whether what they share ({shared} voxels) is "
                "part of the region is not known. Merge them where they were drawn."
            )


def _filled(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Voxel centres inside an odd number of polygons.

    Parameters
    ----------
    polygons : sequence of (n, 2) float
        Corners as indices of rows and columns.
    shape : (2,) int
        Rows and columns.
    """
    crossed = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    for corners in polygons:
        for (row, column), (next_row, next_column) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            low, high = min(row, next_row), max(row, next_row)
            rows = np.arange(max(int(np.ceil(low)), 0), min(int(np.ceil(high)), shape[0]))  # low <= centre < high
            if rows.size:
                at = column + (rows - row) * (next_column - column) / (next_row - row)
                np.add.at(crossed, (rows, np.clip(np.ceil(at), 0, shape[1]).astype(int)), 1)
    return np.cumsum(crossed, axis=1)[:, :-1] % 2 == 1
