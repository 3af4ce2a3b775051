"""Masks from DICOM Segmentations and RT Structure Sets lie on the voxels they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from medsam_planner.errors import StudyError
from medsam_planner.io import load_volume
from medsam_planner.io.mask_reading import load_mask, mask_labels, object_notes
from medsam_planner.volumes import StudyVolume
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series
from tests.medsam_planner.io.structure_sets import square, write_structure_set

LIVER = np.random.default_rng(1).random((7, 12, 10)) > 0.6
VESSEL = ~LIVER & (np.random.default_rng(2).random((7, 12, 10)) > 0.8)
VESSEL[:2] = VESSEL[6:] = False


@pytest.fixture
def study(tmp_path: Path, grid_affine: NDArray[np.float64]) -> StudyVolume:
    write_ct_series(tmp_path / "ct", blob_hu(), grid_affine)
    return load_volume(tmp_path / "ct")


def write_segmentation(path: Path, study: StudyVolume, kind: str, masks: dict[str, NDArray[np.bool_]]) -> Path:
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(masks, start=1)
    ]
    labels = np.zeros(study.spatial_shape, np.uint8)
    for number, mask in enumerate(masks.values(), start=1):
        labels[mask] = number
    highdicom.seg.Segmentation(
        source_images=_headers(study),
        pixel_array=highdicom.Volume(
            labels, study.affine, "PATIENT", frame_of_reference_uid=study.frame_of_reference_uid
        ),
        segmentation_type=kind,
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=5,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="Test",
        manufacturer_model_name="Test",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
    return path


def _headers(study: StudyVolume) -> list[object]:
    from medsam_planner.io.objects.identity import image_sources, source_headers

    return image_sources(source_headers(study))["source_images"]


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_are_read_by_label_number_and_name_of_the_structure(
    tmp_path: Path, study: StudyVolume, kind: str
) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", study, kind, {"liver": LIVER, "portal vein": VESSEL})
    assert mask_labels(path) == {1: "liver", 2: "portal vein"}
    for chosen, expected in ((":liver", LIVER), (":portal vein", VESSEL), (":2", VESSEL)):
        mask = load_mask(Path(f"{path}{chosen}"), study)
        np.testing.assert_array_equal(mask.array, expected)  # also where slices without the segment were left out
        np.testing.assert_array_equal(mask.affine, study.affine)
    np.testing.assert_array_equal(load_mask(path, study, name="portal vein").array, VESSEL)


def test_a_choice_among_segments_is_never_guessed(tmp_path: Path, study: StudyVolume) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", study, "BINARY", {"liver": LIVER, "vein": VESSEL})
    with pytest.raises(StudyError, match=r"seg.dcm:NAME.*1 'liver', 2 'vein'"):
        load_mask(path, study, name="kidney")
    with pytest.raises(StudyError, match=r"one segment 'kidney'.*found 0"):
        load_mask(Path(f"{path}:kidney"), study)
    one = write_segmentation(tmp_path / "one.dcm", study, "BINARY", {"liver": LIVER})
    np.testing.assert_array_equal(load_mask(one, study, name="kidney").array, LIVER)


def test_a_square_contour_holds_the_voxels_whose_centres_it_encloses(tmp_path: Path, study: StudyVolume) -> None:
    path = write_structure_set(tmp_path / "rs.dcm", study, {"box": [(k, square(1.6, 6.4)) for k in (2, 3, 4)]})
    expected = np.zeros(study.spatial_shape, bool)
    expected[2:5, 2:7, 2:7] = True
    mask = load_mask(path, study)
    np.testing.assert_array_equal(mask.array, expected)
    np.testing.assert_array_equal(mask.affine, study.affine)


def test_a_contour_inside_another_is_a_hole_and_a_keyhole_too(tmp_path: Path, study: StudyVolume) -> None:
    outer, inner = square(0.6, 8.4), square(3.6, 5.4)
    keyhole = [*outer, outer[0], *inner[::-1], inner[-1], outer[0]]
    places = {"two contours": [(2, outer), (2, inner)], "keyhole": [(2, keyhole)]}
    path = write_structure_set(tmp_path / "rs.dcm", study, places)
    expected = np.zeros(study.spatial_shape, bool)
    expected[2, 1:9, 1:9] = True
    expected[2, 4:6, 4:6] = False
    for name in places:
        np.testing.assert_array_equal(load_mask(Path(f"{path}:{name}"), study).array, expected, err_msg=name)


def test_contours_that_say_so_are_combined_by_exclusive_or(tmp_path: Path, study: StudyVolume) -> None:
    places = {"xor": [(2, square(0.6, 5.4)), (2, square(3.6, 8.4))]}
    path = write_structure_set(tmp_path / "rs.dcm", study, places, kind="CLOSEDPLANAR_XOR")
    assert load_mask(path, study).array.sum() == 2 * (25 - 4)


def test_touching_contours_share_no_voxel_and_leave_none_out(tmp_path: Path, study: StudyVolume) -> None:
    ends = (0.6, 8.6)  # the halves touch on voxel centres
    halves = {
        "left": [(2, [[ends[0], 0.6], [ends[0], 4], [ends[1], 4], [ends[1], 0.6]])],
        "right": [(2, [[ends[0], 4], [ends[0], 8.6], [ends[1], 8.6], [ends[1], 4]])],
    }
    path = write_structure_set(tmp_path / "rs.dcm", study, halves)
    left, right = (load_mask(Path(f"{path}:{name}"), study).array for name in halves)
    assert not (left & right).any() and (left | right).sum() == 64


def test_the_area_of_a_fine_circle_is_that_of_the_circle(tmp_path: Path) -> None:
    affine = np.diag([2.0, 0.5, 0.5, 1.0])[[2, 1, 0, 3]]
    write_ct_series(tmp_path / "ct", np.zeros((3, 120, 120), np.float32) + np.arange(3)[:, None, None], affine)
    study = load_volume(tmp_path / "ct")
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    corners = np.stack([60.3 + 50 * np.sin(angle), 59.8 + 50 * np.cos(angle)], axis=1).tolist()
    path = write_structure_set(tmp_path / "rs.dcm", study, {"disc": [(1, corners)]})
    assert load_mask(path, study).array.sum() == pytest.approx(np.pi * 50**2, rel=0.003)


def test_contours_beyond_the_study_are_kept(tmp_path: Path, study: StudyVolume) -> None:
    path = write_structure_set(tmp_path / "rs.dcm", study, {"body": [(k, square(-1.4, 5.4)) for k in range(-1, 4)]})
    mask = load_mask(path, study)
    assert mask.array.sum() == 5 * 7 * 7
    assert mask.spatial_shape == (8, 14, 12)


@pytest.mark.parametrize(
    ("places", "kind", "said"),
    [
        (
            [(2.4, square(1, 6))],
            "CLOSED_PLANAR",
            "1 of 1 contours .*'mass' .* lie off them, by up to 0.40",
        ),
        ([(2, [[1, 1], [1, 6], [6, 6]]), (3, [[1, 1], [1, 6]])], "CLOSED_PLANAR", "fewer than three points"),
        ([(2, square(1, 6))], "OPEN_PLANAR", "OPEN_PLANAR, which encloses nothing"),
        ([], "CLOSED_PLANAR", "has no contour"),
        ([(k, square(1, 6)) for k in (0, 2, 4, 6)], "CLOSED_PLANAR", "2 and more slices apart"),
        ([(2, square(1, 6)), (2, square(4, 9))], "CLOSED_PLANAR", r"on one slice that overlap, .* \(4 voxels\)"),
        ([(2, square(1, 6)), (2, square(1, 6))], "CLOSED_PLANAR", "on one slice that overlap"),
    ],
)
def test_contours_that_are_no_mask_are_refused_by_name(
    tmp_path: Path, study: StudyVolume, places: list, kind: str, said: str
) -> None:
    path = write_structure_set(tmp_path / "rs.dcm", study, {"mass": places}, kind=kind)
    with pytest.raises(StudyError, match=said):
        load_mask(path, study)


def test_masks_of_another_frame_of_reference_are_refused(tmp_path: Path, study: StudyVolume) -> None:
    path = write_structure_set(tmp_path / "rs.dcm", study, {"mass": [(2, square(1, 6))]}, frame="1.2.3")
    with pytest.raises(StudyError, match="another frame of reference"):
        load_mask(path, study)
    with pytest.raises(StudyError, match="is neither"):
        load_mask(Path(f"{tmp_path / 'ct' / 'slice_000'}:liver"), study)


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ((1, 2, 4, 5), "no contour on slice 4, which"),
        ((1, 2, 5, 6), "no contour on slices 4 to 5, which"),
        ((0, 1, 3, 4, 6), "no contour on slices 3, 6, which"),
        ((1, 5), "no contour on slices 3 to 5, which"),
        ((2, 3, 4), ""),
    ],
)
def test_a_slice_without_a_contour_inside_a_structure_is_said(
    slices: tuple[int, ...], said: str, tmp_path: Path, study: StudyVolume
) -> None:
    path = write_structure_set(tmp_path / "rs.dcm", study, {"mass": [(k, square(1, 6)) for k in slices]})
    mask = load_mask(path, study)
    assert [k for k in range(7) if mask.array[k].any()] == list(slices)
    assert len(object_notes(mask)) == bool(said) and said in "".join(object_notes(mask))


def test_what_states_no_frame_is_of_the_series_it_names_or_is_noted(tmp_path: Path, study: StudyVolume) -> None:
    assert study.source is not None
    places = {"mass": [(2, square(1, 6))]}
    path = write_structure_set(tmp_path / "rs.dcm", study, places, frame="")
    assert "states no frame of reference" in "".join(object_notes(load_mask(path, study)))
    write_structure_set(path, study, places, frame="", series=study.source.series_instance_uid)
    assert object_notes(load_mask(path, study)) == ()
    write_structure_set(path, study, places, frame="", series="1.2.3")
    with pytest.raises(StudyError, match="states no frame of reference and was made on another series"):
        load_mask(path, study)
    dataset = pydicom.dcmread(path)
    dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3"
    dataset.save_as(path)
    with pytest.raises(StudyError, match="another frame of reference"):
        load_mask(path, study)


def _without_number(dataset: pydicom.Dataset) -> None:
    del dataset.StructureSetROISequence[0].ROINumber


def _without_regions(dataset: pydicom.Dataset) -> None:
    del dataset.StructureSetROISequence


def _with_half_a_point(dataset: pydicom.Dataset) -> None:
    dataset.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_without_number, "is damaged"),
        (_without_regions, "the 0 regions of .* There are: none"),
        (_with_half_a_point, "has a damaged contour"),
    ],
)
def test_a_damaged_structure_set_is_refused_by_name(tmp_path: Path, study: StudyVolume, damage: Any, said: str) -> None:
    path = write_structure_set(tmp_path / "rs.dcm", study, {"mass": [(2, square(1, 6))]})
    dataset = pydicom.dcmread(path)
    damage(dataset)
    dataset.save_as(path)
    with pytest.raises(StudyError, match=said):
        load_mask(path, study)


def test_a_segmentation_that_was_cut_off_is_refused_by_name(tmp_path: Path, study: StudyVolume) -> None:
    path = write_segmentation(tmp_path / "seg.dcm", study, "LABELMAP", {"liver": LIVER})
    content = path.read_bytes()
    for length in (len(content) - 300, len(content) // 2, 700):
        path.write_bytes(content[:length])
        with pytest.raises(StudyError, match=r"seg\.dcm"):
            load_mask(path, study)
