"""The planned tool is a segment that lies where it was planned, and the structured report refers to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from scipy import ndimage

from medsam_planner.geometry import lps_from_index
from medsam_planner.io import load_volume
from medsam_planner.io.objects.plan_sr import save_plan_sr
from medsam_planner.io.objects.planned_tool import planned_segments
from medsam_planner.io.objects.segmentation import Segment, SegmentEncoding, fitting_encoding, save_segments
from medsam_planner.volumes import StudyVolume, volume_like
from tests.medsam_planner.io.dicom_series import write_ct_series
from tests.medsam_planner.io.objects.validators import (
    NEEDS_DCIODVFY,
    NEEDS_DCMQI,
    dciodvfy_errors,
    dcmqi,
    missing_attributes,
)

SHAPE = (40, 50, 60)


@pytest.fixture
def study(tmp_path: Path, plain_affine: NDArray[np.float64]) -> StudyVolume:
    write_ct_series(tmp_path / "ct", np.zeros(SHAPE, dtype=np.float32), plain_affine)
    return load_volume(tmp_path / "ct")


def plan(study: StudyVolume, *radii_mm: float, error_mm: float = 2.0) -> dict[str, Any]:
    """Tools along the x axis, 12 mm from each other, 30 mm long."""
    tools = []
    for number, radius in enumerate(radii_mm):
        entry = np.array([14.0, 12.0 + 12.0 * number, 20.0])
        line = {
            "length_mm": 30.0,
            "entry_lps_mm": entry.tolist(),
            "target_lps_mm": (entry + np.array([30.0, 0.0, 0.0])).tolist(),
            "limiting_point_lps_mm": entry.tolist(),
            "limiting_structure": "liver",
            "certified_clearance_mm": 3.25,
            "hit_probability": 0.01,
            "entry_angle_deg": 5.0,
            "clearance_mm_by_structure": {"liver": 3.25 + number},
        }
        size = {"radius_mm": radius, "entry_error_mm": error_mm, "target_error_mm": error_mm}
        tools.append({"name": f"needle {number}", "alternatives": [line], "tool": size})
    return {"notice": "Research use only.", "margins_statement": "Margins.", "tools": tools, **tools[0]}


def test_the_tool_has_the_volume_of_a_rod_with_round_ends_and_the_margin_surrounds_it(study: StudyVolume) -> None:
    tool, margin = planned_segments(plan(study, 4.0), study)
    rod = np.pi * 4.0**2 * 30.0 + 4 / 3 * np.pi * 4.0**3
    wide = np.pi * 6.0**2 * 30.0 + 4 / 3 * np.pi * 6.0**3
    assert tool.mask.array.sum() == pytest.approx(rod, rel=0.05)
    assert margin.mask.array.sum() == pytest.approx(wide - rod, rel=0.05)
    assert not (tool.mask.array & margin.mask.array).any()
    places = lps_from_index(study.affine, np.argwhere(tool.mask.array))
    np.testing.assert_allclose(places.mean(axis=0), (29.0, 12.0, 20.0), atol=1e-6)


def test_a_tool_thinner_than_a_voxel_is_a_line_without_gaps(study: StudyVolume) -> None:
    document = plan(study, 0.1, error_mm=0.0)
    document["tools"][0]["alternatives"][0]["target_lps_mm"] = [40.0, 40.0, 33.0]
    [tool] = planned_segments(document, study)
    assert ndimage.label(tool.mask.array, np.ones((3, 3, 3)))[1] == 1
    places = lps_from_index(study.affine, np.argwhere(tool.mask.array))
    assert places[:, 1].min() == 12.0 and places[:, 1].max() == 40.0


def test_several_tools_and_margins_are_one_label_map(tmp_path: Path, study: StudyVolume) -> None:
    segments = planned_segments(plan(study, 2.0, 2.0, error_mm=6.0), study)
    assert [one.label for one in segments] == [
        "needle 0: planned tool",
        "needle 1: planned tool",
        "needle 0: placement error",
        "needle 1: placement error",
    ]
    assert fitting_encoding(segments) is SegmentEncoding.LABELMAP
    back = highdicom.seg.segread(save_segments(segments, tmp_path / "tool.dcm", study))
    device = back.get_segment_description(1)
    assert device.segmented_property_category.meaning == "Physical object"
    assert device.segmented_property_type.meaning == "Needle"
    assert back.get_segment_description(3).segmented_property_category.meaning == "Spatial and Relational Concept"


def _report(tmp_path: Path, study: StudyVolume, encoding: SegmentEncoding) -> tuple[Path, list[pydicom.Dataset]]:
    document = plan(study, 2.0)
    liver = np.zeros(SHAPE, dtype=bool)
    liver[5:20, 30:45, 30:50] = True
    paths = [
        save_segments([Segment("liver", volume_like(study, liver))], tmp_path / "seg.dcm", study, encoding=encoding),
        save_segments(planned_segments(document, study), tmp_path / "tool.dcm", study, encoding=encoding),
    ]
    written = [pydicom.dcmread(path) for path in paths]
    return save_plan_sr(document, tmp_path / "plan.dcm", study, segmentations=written), written


@pytest.mark.parametrize("encoding", list(SegmentEncoding))
def test_the_report_refers_to_the_segments_of_structures_and_tool(
    encoding: SegmentEncoding, tmp_path: Path, study: StudyVolume
) -> None:
    path, written = _report(tmp_path, study, encoding)
    groups = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    found = {group.tracking_identifier: group for group in groups}
    assert list(found) == ["liver", "needle 0: planned tool", "needle 0: placement error"]
    for label, segmentation, number in (("liver", written[0], 1), ("needle 0: planned tool", written[1], 1)):
        [item] = [one for one in found[label][0].ContentSequence if one.name == codes.DCM.ReferencedSegment]
        reference = item.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
        [named] = [one for one in segmentation.SegmentSequence if one.SegmentNumber == number]
        assert found[label].tracking_uid == named.TrackingUID
    [clearance] = found["liver"].get_measurements()
    assert (clearance.name.meaning, clearance.value) == ("Distance", 3.25)
    [length] = found["needle 0: planned tool"].get_measurements()
    assert (length.name.meaning, length.value) == ("Length", 30.0)
    for label, group in found.items():  # OHIF opens no report that has a group without a place
        [place] = [one for one in group[0].ContentSequence if one.name == codes.DCM.Center]
        segmentation = written[0] if label == "liver" else written[1]
        [number] = [one.SegmentNumber for one in segmentation.SegmentSequence if one.SegmentLabel == label]
        stored = highdicom.seg.Segmentation.from_dataset(segmentation).get_volume(segment_numbers=[number])
        index = np.linalg.inv(stored.affine) @ (*np.ravel(place.value), 1.0)
        assert stored.array[tuple(np.round(index[:3]).astype(int))].any(), label
        if label == "liver":  # a box, [5:20, 30:45, 30:50] of the study
            middle = study.affine @ (12.0, 37.0, 39.5, 1.0)
            assert np.linalg.norm(np.ravel(place.value) - middle[:3]) <= np.linalg.norm(study.spacing)
    evidence = pydicom.dcmread(path).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {item.ReferencedSOPInstanceUID for series in evidence for item in series.ReferencedSOPSequence}
    assert {one.SOPInstanceUID for one in written} < named


@NEEDS_DCIODVFY
def test_dciodvfy_finds_no_error_in_the_report(tmp_path: Path, study: StudyVolume) -> None:
    path = _report(tmp_path, study, SegmentEncoding.BINARY)[0]
    assert dciodvfy_errors(path) == [] and missing_attributes(path) == []


@NEEDS_DCMQI
def test_dcmqi_reads_the_report(tmp_path: Path, study: StudyVolume) -> None:
    path, _ = _report(tmp_path, study, SegmentEncoding.LABELMAP)
    dcmqi("tid1500reader", "--inputDICOM", str(path), "--outputMetadata", str(tmp_path / "sr.json"))
    assert '"needle 0, path 1"' in (tmp_path / "sr.json").read_text()
