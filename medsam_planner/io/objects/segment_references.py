"""Measurement groups that refer to the segments of a run: structures and the planned tool (TID 1411)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import highdicom
import numpy as np
from highdicom import sr
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes

from medsam_planner.io.objects.concepts import private
from medsam_planner.io.objects.identity import MANUFACTURER
from medsam_planner.io.objects.planned_tool import tool_label

__all__ = ["segment_groups"]


def segment_groups(
    segmentations: Sequence[Dataset], document: Mapping[str, Any]
) -> list[sr.VolumetricROIMeasurementsAndQualitativeEvaluations]:
    """One group for each segment: length of a tool, and how near a structure comes to the best path.

    Parameters
    ----------
    segmentations
        DICOM Segmentations. With their pixels each group has a place inside its segment, to which viewers go; OHIF 3.13
        opens no report that has a group without a place.
    document
        What ``plan.json`` holds.
    """
    measured = dict(_measurements(document))
    groups = []
    for segmentation in segmentations:
        voxels = (
            highdicom.seg.Segmentation.from_dataset(segmentation, copy=False) if "PixelData" in segmentation else None
        )
        groups += [
            _group(segmentation, segment, measured.get(str(segment.SegmentLabel), []), voxels)
            for segment in segmentation.SegmentSequence
            if segment.SegmentNumber and "TrackingUID" in segment  # a label map's background has none
        ]
    return groups


def _group(
    segmentation: Dataset,
    segment: Dataset,
    measurements: Sequence[sr.Measurement],
    voxels: highdicom.seg.Segmentation | None,
) -> sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    series = segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
    group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=segment.TrackingUID, identifier=str(segment.TrackingID)),
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=sr.SourceSeriesForSegmentation(series),
        ),
        finding_category=_concept(segment.SegmentedPropertyCategoryCodeSequence[0]),
        finding_type=_concept(segment.SegmentedPropertyTypeCodeSequence[0]),
        algorithm_id=sr.AlgorithmIdentification(
            name=str(segment.get("SegmentAlgorithmName", MANUFACTURER)), version=version("medsam-planner")
        ),
        measurements=measurements or None,
    )
    if voxels is not None:
        centre = sr.Scoord3DContentItem(
            name=codes.DCM.Center,
            graphic_type="POINT",
            graphic_data=_centre_lps_mm(voxels, int(segment.SegmentNumber))[None],
            frame_of_reference_uid=segmentation.FrameOfReferenceUID,
            relationship_type="CONTAINS",
        )
        group[0].ContentSequence.append(centre)
    return group


def _centre_lps_mm(segmentation: highdicom.seg.Segmentation, number: int) -> NDArray[np.float64]:
    """(3,) LPS mm of the segment's voxel that is nearest to its centre of gravity."""
    volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False)
    places = np.argwhere(np.asarray(volume.array)[..., 0]) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    return places[np.argmin(np.linalg.norm(places - places.mean(axis=0), axis=1))]


def _measurements(document: Mapping[str, Any]) -> Iterator[tuple[str, list[sr.Measurement]]]:
    """By label of a segment."""
    tools = [tool for tool in document.get("tools", ()) if tool["alternatives"]]
    clearance: dict[str, float] = {}
    for tool in tools:
        best = tool["alternatives"][0]
        yield tool_label(tool["name"]), [_measured(codes.SCT.Length, best["length_mm"])]
        for name, value in (best.get("clearance_mm_by_structure") or {}).items():
            if value is not None:
                clearance[name] = min(value, clearance.get(name, value))
    for name, value in clearance.items():
        yield name, [_measured(codes.DCM.Distance, value, private("Clearance"))]


def _measured(name: CodedConcept, value_mm: float, method: CodedConcept | None = None) -> sr.Measurement:
    return sr.Measurement(name=name, value=float(value_mm), unit=codes.UCUM.Millimeter, method=method)


def _concept(item: Dataset) -> CodedConcept:
    return CodedConcept(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
