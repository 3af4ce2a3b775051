"""Segments of a DICOM Segmentation, BINARY or LABELMAP, as masks."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.errors import StudyError
from medsam_planner.io.object_frame import require_same_frame
from medsam_planner.io.study_files import READ_ERRORS
from medsam_planner.volumes import StudyVolume

__all__ = ["open_segmentation", "segment_mask", "segment_names"]


def open_segmentation(path: Path) -> highdicom.seg.Segmentation:
    """Open a DICOM Segmentation.

    Raises
    ------
    StudyError
        If it is damaged, or fractional: where its surface lies would be a guess.
    """
    try:
        segmentation = highdicom.seg.segread(path)
    except READ_ERRORS as error:
        raise StudyError(f"{path} is no DICOM Segmentation that can be read: {error}") from error
    if str(segmentation.SegmentationType) == "FRACTIONAL":
        raise StudyError(
            f"Expected a segmentation of type BINARY or LABELMAP, {path} is FRACTIONAL. Threshold it, and save it as "
            "BINARY."
        )
    return segmentation


def segment_names(segmentation: highdicom.seg.Segmentation) -> dict[int, str]:
    """Labels by number, without the background that a label map may describe."""
    described = (segmentation.get_segment_description(number) for number in segmentation.segment_numbers)
    return {int(one.segment_number): str(one.segment_label) for one in described if int(one.segment_number) > 0}


def segment_mask(
    segmentation: highdicom.seg.Segmentation, number: int, study: StudyVolume, path: Path
) -> tuple[highdicom.Volume, tuple[str, ...]]:
    """(K, J, I) bool mask of one segment on the segmentation's own grid, and notes on what is not known of it.

    Raises
    ------
    StudyError
        If its frames are no regular volume, or it is of another frame of reference than `study`.
    """
    made_on = frozenset(str(one.SeriesInstanceUID) for one in segmentation.get("ReferencedSeriesSequence") or ())
    notes = require_same_frame(str(segmentation.get("FrameOfReferenceUID") or ""), made_on, study, path)
    try:
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False)
    except READ_ERRORS as error:
        raise StudyError(f"The frames of {path} are no regular volume: {error}") from error
    mask = highdicom.Volume(
        array=np.asarray(volume.array)[..., 0] > 0,
        affine=volume.affine,
        coordinate_system="PATIENT",
        frame_of_reference_uid=volume.frame_of_reference_uid,
    )
    return mask, notes
