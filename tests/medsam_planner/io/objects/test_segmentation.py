"""A Segmentation, read back by other programs, lies on the voxels it was made from and says what they are."""

from __future__ import annotations

import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import EmptyStructureError, GeometryError, StudyError
from medsam_planner.io import load_volume, save_dicom_seg, save_nifti
from medsam_planner.io.objects.segmentation import Algorithm, Segment, SegmentEncoding, save_segments
from medsam_planner.io.resampling import resample_like
from medsam_planner.volumes import StudyVolume, volume_like
from tests.medsam_planner.io.dicom_series import (
    blob_hu,
    ct_datasets,
    enhanced_ct,
    geometry_by_frame,
    same_voxels,
    save_all,
    sheared,
    write_ct_series,
)
from tests.medsam_planner.io.objects.validators import NEEDS_DCIODVFY, NEEDS_DCMQI, dciodvfy_errors, dcmqi

_NOON = datetime.datetime(2024, 2, 29, 12, 0, 0)


def _study(folder: Path, affine: NDArray[np.float64]) -> StudyVolume:
    write_ct_series(folder, blob_hu(), affine)
    return load_volume(folder)


def _mask(study: highdicom.Volume) -> highdicom.Volume:
    return volume_like(study, np.random.default_rng(1).random(study.spatial_shape) > 0.6)


def _seg_volume(path: Path) -> highdicom.Volume:
    return highdicom.seg.segread(path).get_volume(combine_segments=True)


def test_segmentation_lies_on_the_source_voxels(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    mask = _mask(study)
    back = _seg_volume(save_dicom_seg(mask, tmp_path / "mask.dcm", study, label="liver"))
    np.testing.assert_allclose(back.affine, study.affine, atol=1e-6)
    np.testing.assert_array_equal(back.array > 0, mask.array)
    assert back.frame_of_reference_uid == study.frame_of_reference_uid


def test_every_frame_refers_to_the_slice_it_lies_on(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    mask = _mask(study)
    dataset = pydicom.dcmread(save_dicom_seg(mask, tmp_path / "mask.dcm", study, label="liver"))
    header_by_uid = {header.SOPInstanceUID: header for header in study.source.datasets}
    frames = dataset.pixel_array
    assert len(dataset.PerFrameFunctionalGroupsSequence) == len(header_by_uid) == 7
    for frame, pixels in zip(dataset.PerFrameFunctionalGroupsSequence, frames, strict=True):
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
        np.testing.assert_allclose(place, [float(v) for v in header_by_uid[uid].ImagePositionPatient], atol=1e-6)
        k = [header.SOPInstanceUID for header in study.source.datasets].index(uid)
        np.testing.assert_array_equal(pixels, mask.array[k])
    assert dataset.StudyInstanceUID == study.source.datasets[0].StudyInstanceUID
    assert dataset.PatientName == study.source.datasets[0].PatientName
    assert dataset.SegmentSequence[-1].SegmentLabel == "liver"
    assert dataset.SegmentSequence[-1].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_mask_on_reversed_and_turned_axes_lies_on_the_same_voxels(
    tmp_path: Path, grid_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    mask = _mask(study).flip_spatial([0, 2])
    assert np.linalg.det(mask.affine[:3, :3]) * np.linalg.det(study.affine[:3, :3]) > 0
    back = _seg_volume(save_dicom_seg(mask.flip_spatial(1), tmp_path / "mask.dcm", study, label="liver"))
    assert same_voxels(back.array > 0, back.affine, _mask(study).array, study.affine)


@pytest.mark.parametrize("layout", ["shared groups", "groups per frame"])
def test_multi_frame_sources_take_masks(layout: str, tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    dataset = enhanced_ct(ct_datasets(blob_hu(), grid_affine))
    save_all(tmp_path / "ct", [geometry_by_frame(dataset) if layout == "groups per frame" else dataset])
    study = load_volume(tmp_path / "ct")
    mask = _mask(study)
    back = _seg_volume(save_dicom_seg(mask, tmp_path / "mask.dcm", study, label="liver"))
    np.testing.assert_allclose(back.affine, study.affine, atol=1e-6)
    np.testing.assert_array_equal(back.array > 0, mask.array)


def test_straightened_and_resampled_studies_take_masks_on_their_own_grid(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    write_ct_series(tmp_path / "ct", blob_hu(), plain_affine, change=sheared(plain_affine, 0.4))
    straight = load_volume(tmp_path / "ct", resample_tilt=True)
    finer = highdicom.VolumeGeometry(straight.affine @ np.diag([0.8, 0.8, 0.8, 1.0]), straight.spatial_shape, "PATIENT")
    for number, study in enumerate((straight, resample_like(straight, finer))):
        mask = _mask(study)
        back = _seg_volume(save_dicom_seg(mask, tmp_path / f"{number}.dcm", study, label="liver"))
        np.testing.assert_allclose(back.affine, study.affine, atol=1e-6)
        np.testing.assert_array_equal(back.array > 0, mask.array)


def test_blank_identifiers_of_the_source_give_valid_objects(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    def blank(_: int, dataset: pydicom.Dataset) -> None:
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
            setattr(dataset, keyword, "")
        for keyword in ("FrameOfReferenceUID", "PatientID", "AccessionNumber", "StudyID", "SliceThickness"):
            delattr(dataset, keyword)

    write_ct_series(tmp_path / "ct", blob_hu(), plain_affine, change=blank)
    study = load_volume(tmp_path / "ct")
    dataset = pydicom.dcmread(save_dicom_seg(_mask(study), tmp_path / "mask.dcm", study, label="liver"))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert pydicom.uid.UID(dataset[keyword].value).is_valid
    referenced = dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPClassUID for item in referenced} == {pydicom.uid.CTImageStorage}
    assert "PatientID" not in study.source.datasets[0]  # the study's own headers stay as they were read


def test_same_content_and_time_give_the_same_bytes(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    mask = _mask(study)
    for name in ("a", "b"):
        save_dicom_seg(mask, tmp_path / f"seg_{name}", study, label="Leber", created=_NOON)
    assert (tmp_path / "seg_a").read_bytes() == (tmp_path / "seg_b").read_bytes()
    other = save_dicom_seg(mask, tmp_path / "seg_c", study, label="Niere", created=_NOON)
    uids = {pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "seg_a", other)}
    assert len(uids) == 2


def test_label_may_have_any_script(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    path = save_dicom_seg(_mask(study), tmp_path / "mask.dcm", study, label="Hüfte 股関節")
    assert highdicom.seg.segread(path).get_segment_description(1).segment_label == "Hüfte 股関節"


class TestRefusals:
    """What cannot become an object is said before a file is written."""

    def test_nifti_study_has_nothing_to_refer_to(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        nifti = load_volume(save_nifti(study, tmp_path / "v.nii"))
        with pytest.raises(StudyError, match="save_nifti"):
            save_dicom_seg(_mask(nifti), tmp_path / "m.dcm", nifti, label="liver")

    def test_empty_mask(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        with pytest.raises(EmptyStructureError, match="'liver' has no voxel"):
            save_dicom_seg(study.with_array(study.array > 1e9), tmp_path / "m.dcm", study, label="liver")

    def test_probability_is_not_a_mask(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        with pytest.raises(GeometryError, match="mask of bool, got float32"):
            save_dicom_seg(study, tmp_path / "m.dcm", study, label="liver")

    def test_another_frame_of_reference(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        stranger = highdicom.Volume(study.array > 0, study.affine, "PATIENT", frame_of_reference_uid="1.2.3")
        with pytest.raises(GeometryError, match="frame of reference"):
            save_dicom_seg(stranger, tmp_path / "m.dcm", study, label="liver")

    @pytest.mark.parametrize("label", ["", "a" * 65, "a\\b"])
    def test_labels_that_dicom_cannot_hold(self, label: str, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        with pytest.raises(StudyError, match="1 to 64 characters"):
            save_dicom_seg(_mask(study), tmp_path / "m.dcm", study, label=label)

    def test_overlapping_segments_are_no_label_map(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        segments = [Segment("liver", _mask(study)), Segment("spleen", _mask(study))]
        with pytest.raises(GeometryError, match="BINARY"):
            save_segments(segments, tmp_path / "m.dcm", study, encoding=SegmentEncoding.LABELMAP)


def _parts(study: StudyVolume, *names: str) -> list[Segment]:
    """Disjoint segments that share out the volume."""
    part = np.random.default_rng(3).integers(0, len(names) + 1, study.spatial_shape)
    weights = Algorithm("MedSAM Planner compact", {"weights_sha256": "0" * 64})
    colours = ("#f0e442", "#56b4e9", "#ff8c1a")
    return [
        Segment(name, volume_like(study, part == number), colours[number - 1], weights)
        for number, name in enumerate(names, start=1)
    ]


@pytest.mark.parametrize("encoding", [SegmentEncoding.LABELMAP, SegmentEncoding.BINARY])
def test_all_structures_of_a_run_are_segments_of_one_object(
    encoding: SegmentEncoding, tmp_path: Path, grid_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    segments = _parts(study, "liver", "Left kidney", "lesion of the liver")
    path = save_segments(segments, tmp_path / "seg.dcm", study, encoding=encoding)
    back = highdicom.seg.segread(path)
    assert back.segmentation_type.value == encoding
    assert back.file_meta.TransferSyntaxUID == encoding.transfer_syntax_uid
    for number, segment in enumerate(segments, start=1):
        volume = back.get_volume(segment_numbers=[number], combine_segments=False)
        np.testing.assert_array_equal(volume.array[..., 0] > 0, segment.mask.array)
        np.testing.assert_allclose(volume.affine, study.affine, atol=1e-6)


def test_a_segment_says_what_it_is_where_it_lies_and_what_made_it(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    path = save_segments(_parts(study, "liver", "Left kidney", "xyz"), tmp_path / "seg.dcm", study)
    back = highdicom.seg.segread(path)
    liver, kidney, unknown = (back.get_segment_description(number) for number in (1, 2, 3))
    assert (liver.segmented_property_type.value, liver.segmented_property_type.meaning) == ("10200004", "Liver")
    assert liver.segmented_property_category.meaning == "Anatomical Structure"
    assert liver.anatomic_regions[0].meaning == "Abdomen"
    modifier = kidney.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert (kidney.segmented_property_type.meaning, modifier.CodeMeaning) == ("Kidney", "Left")
    assert unknown.segmented_property_type.meaning == "Tissue"
    algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "MedSAM Planner compact" and algorithm.AlgorithmVersion
    assert algorithm.AlgorithmParameters == f"weights_sha256={'0' * 64}"
    assert "research" in back.SeriesDescription and "research" in liver.SegmentDescription
    red, green, blue = highdicom.color.CIELabColor.from_dicom_value(liver.RecommendedDisplayCIELabValue).to_rgb()
    np.testing.assert_allclose((red, green, blue), (0xF0, 0xE4, 0x42), atol=2)


def test_the_notice_of_research_use_stands_behind_the_longest_label(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    path = save_dicom_seg(_mask(study), tmp_path / "seg.dcm", study, label="x" * 64)
    (segment,) = (one for one in pydicom.dcmread(path).SegmentSequence if one.SegmentNumber)
    assert segment.SegmentLabel == "x" * 64
    assert segment.SegmentDescription == "x" * 44 + " (research use only)"


def test_a_structure_is_tracked_over_revisions_of_its_mask(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    first, second = _parts(study, "liver", "spleen")
    masks = (first.mask, second.mask)
    written = [
        pydicom.dcmread(save_dicom_seg(mask, tmp_path / f"{n}.dcm", study, label="liver"))
        for n, mask in enumerate(masks)
    ]
    assert written[0].SOPInstanceUID != written[1].SOPInstanceUID
    assert written[0].SegmentSequence[-1].TrackingUID == written[1].SegmentSequence[-1].TrackingUID
    assert written[0].SegmentSequence[-1].TrackingID == "liver"


def test_segments_that_share_voxels_are_written_bit_packed_and_lose_none(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    segments = [
        Segment("liver", _mask(study)),
        Segment("whole", volume_like(study, np.ones(study.spatial_shape, bool))),
    ]
    back = highdicom.seg.segread(save_segments(segments, tmp_path / "seg.dcm", study))
    assert back.segmentation_type.value == "BINARY"
    counts = [int(back.get_volume(segment_numbers=[n], combine_segments=False).array.sum()) for n in (1, 2)]
    assert counts == [int(segment.mask.array.sum()) for segment in segments]


@NEEDS_DCIODVFY
def test_dciodvfy_finds_no_error_in_a_bit_packed_segmentation(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    segments = _parts(study, "liver", "Left kidney")
    path = save_segments(segments, tmp_path / "seg.dcm", study, encoding=SegmentEncoding.BINARY)
    assert dciodvfy_errors(path) == []  # it does not know label maps yet


@NEEDS_DCMQI
@pytest.mark.parametrize("encoding", list(SegmentEncoding))
def test_dcmqi_which_is_slicers_reader_reads_every_voxel(
    encoding: SegmentEncoding, tmp_path: Path, grid_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    segments = _parts(study, "liver", "Left kidney")
    path = save_segments(segments, tmp_path / "seg.dcm", study, encoding=encoding)
    out = tmp_path / "out"
    out.mkdir()
    dcmqi("segimage2itkimage", "--inputDICOM", str(path), "--outputDirectory", str(out), "-t", "nii")
    read = [load_volume(found).match_geometry(study).array for found in sorted(out.glob("*.nii.gz"))]
    for number, segment in enumerate(segments, start=1):
        np.testing.assert_array_equal(np.any([array == number for array in read], axis=0), segment.mask.array)
