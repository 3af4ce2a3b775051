"""The conformance statement says what the writers write: no more, and no less."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from medsam_planner.io import load_volume
from medsam_planner.io.objects.concepts import PRIVATE, SCHEME
from medsam_planner.io.objects.conformance import WRITTEN, conformance_statement
from medsam_planner.io.objects.encapsulated import save_encapsulated_pdf, save_encapsulated_stl
from medsam_planner.io.objects.identity import SeriesNumber
from medsam_planner.io.objects.key_image import save_key_image
from medsam_planner.io.objects.parametric_map import MAP_QUANTITIES, save_parametric_map
from medsam_planner.io.objects.plan_sr import save_plan_sr
from medsam_planner.io.objects.planned_tool import planned_segments
from medsam_planner.io.objects.segmentation import Segment, SegmentEncoding, save_segments
from medsam_planner.io.objects.structure_set import save_structure_set
from medsam_planner.volumes import volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series

PAGE = Path(__file__).resolve().parents[4] / "docs" / "conformance.md"


@pytest.fixture
def written(tmp_path: Path, plain_affine: NDArray[np.float64]) -> list[Dataset]:
    """One object of every kind, with everything in it that can be."""
    write_ct_series(tmp_path / "ct", blob_hu((9, 24, 20)), plain_affine)
    study = load_volume(tmp_path / "ct")
    liver = volume_like(study, study.array > -800)
    entry, target = [2.0, 3.0, 2.0], [15.0, 18.0, 6.0]
    line = {
        "length_mm": 20.2,
        "entry_lps_mm": entry,
        "target_lps_mm": target,
        "limiting_point_lps_mm": entry,
        "limiting_structure": "liver",
        "reason": "It has the largest clearance.",
        "certified_clearance_mm": 1.0,
        "hit_probability": 0.01,
        "entry_angle_deg": 5.0,
        "bone_density_hu": 300.0,
        "tool_density_hu": 290.0,
        "clearance_mm_by_structure": {"liver": 1.0},
    }
    tool = {"radius_mm": 1.0, "entry_error_mm": 1.0, "target_error_mm": 1.0}
    tools = [{"name": "tool", "alternatives": [line], "tool": tool}]
    document = {"notice": "Research use only.", "margins_statement": "Margins.", "tools": tools}
    segments = [Segment("liver", liver)]
    paths = [
        save_segments(segments, tmp_path / "seg", study),
        save_segments(segments, tmp_path / "binary", study, encoding=SegmentEncoding.BINARY),
        save_segments(planned_segments(document, study), tmp_path / "tool", study, series_number=SeriesNumber.TOOL),
        save_structure_set(segments, tmp_path / "contours", study),
        save_encapsulated_pdf(b"%PDF-1.4\n", tmp_path / "pdf", study, title="Plan", names_patient=False),
        save_encapsulated_stl(b"\0" * 84, tmp_path / "stl", study, structure="liver"),
        save_key_image(np.zeros((4, 4, 3), dtype=np.uint8), tmp_path / "key", study),
    ]
    paths += [
        save_parametric_map(
            highdicom.Volume(study.array, study.affine, "PATIENT", study.frame_of_reference_uid),
            tmp_path / name,
            study,
            quantity=name,
            structure="liver",
        )
        for name in MAP_QUANTITIES
    ]
    segmentations = [pydicom.dcmread(paths[0]), pydicom.dcmread(paths[2])]
    paths.append(save_plan_sr(document, tmp_path / "sr", study, segmentations=segmentations))
    return [pydicom.dcmread(path) for path in paths]


def _private_codes(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if item.get("CodingSchemeDesignator") == SCHEME:
                    yield str(item.CodeValue), str(item.CodeMeaning)
                yield from _private_codes(item)


def test_every_kind_of_object_is_stated_and_every_stated_one_is_written(written: list[Dataset]) -> None:
    found = {(str(one.SOPClassUID), str(one.file_meta.TransferSyntaxUID)) for one in written}
    assert found == {(str(one.sop_class_uid), str(one.transfer_syntax_uid)) for one in WRITTEN}
    modality = {str(one.sop_class_uid): one.modality for one in WRITTEN}
    for one in written:
        assert modality[str(one.SOPClassUID)] in (one.Modality, "that of the images")


def test_every_private_code_is_stated_and_every_stated_one_is_used(written: list[Dataset]) -> None:
    assert {code for one in written for code in _private_codes(one)} == set(PRIVATE.items())


def test_no_two_series_of_a_study_have_one_number(written: list[Dataset]) -> None:
    numbers = [int(one.SeriesNumber) for one in written if one.SOPClassUID != pydicom.uid.SegmentationStorage]
    assert len(numbers) == len(set(numbers))


def test_every_object_says_that_it_is_for_research(written: list[Dataset]) -> None:
    assert all("research use only" in one.SeriesDescription for one in written)


def test_the_page_is_that_of_this_code() -> None:
    assert PAGE.read_text(encoding="utf-8").startswith(conformance_statement())
