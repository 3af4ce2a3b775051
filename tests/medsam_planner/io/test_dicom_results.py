"""SEG and Parametric Map, read back by highdicom and pydicom, lie on the voxels they were made from."""

from __future__ import annotations

import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import EmptyStructureError, GeometryError, StudyError
from medsam_planner.io import load_volume, save_dicom_seg, save_nifti, save_parametric_map
from medsam_planner.io.resampling import resample_like
from medsam_planner.volumes import StudyVolume, volume_like
from tests.medsam_planner.io.dicom_series import (
    blob_hu,
    ct_datasets,
    enhanced_ct,
    same_voxels,
    save_all,
    sheared,
    write_ct_series,
)

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
    assert dataset.SegmentSequence[0].SegmentLabel == "liver"
    assert dataset.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_mask_on_reversed_and_turned_axes_lies_on_the_same_voxels(
    tmp_path: Path, grid_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    mask = _mask(study).flip_spatial([0, 2])
    assert np.linalg.det(mask.affine[:3, :3]) * np.linalg.det(study.affine[:3, :3]) > 0
    back = _seg_volume(save_dicom_seg(mask.flip_spatial(1), tmp_path / "mask.dcm", study, label="liver"))
    assert same_voxels(back.array > 0, back.affine, _mask(study).array, study.affine)


def test_map_lies_on_the_source_voxels_with_unit_and_quantity(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    values = volume_like(study, np.random.default_rng(2).random(study.spatial_shape).astype(np.float32))
    path = save_parametric_map(values, tmp_path / "u.dcm", study, quantity="uncertainty", unit="bit")
    back = highdicom.imread(path).get_volume(apply_real_world_transform=True, dtype=np.float32)
    np.testing.assert_allclose(back.affine, study.affine, atol=1e-6)
    np.testing.assert_array_equal(back.array, values.array)
    dataset = pydicom.dcmread(path)
    assert dataset.SOPClassUID == pydicom.uid.ParametricMapStorage
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "bit"
    assert "entropy" in mapping.LUTExplanation
    stored = np.frombuffer(dataset.FloatPixelData, "<f4")
    assert stored.size == values.array.size


@pytest.mark.parametrize("layout", ["shared groups", "groups per frame"])
def test_multi_frame_sources_take_masks_and_maps(layout: str, tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    dataset = enhanced_ct(ct_datasets(blob_hu(), grid_affine))
    if layout == "groups per frame":
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            for frame in dataset.PerFrameFunctionalGroupsSequence:
                setattr(frame, keyword, shared[keyword].value)
            delattr(shared, keyword)
    save_all(tmp_path / "ct", [dataset])
    study = load_volume(tmp_path / "ct")
    mask = _mask(study)
    back = _seg_volume(save_dicom_seg(mask, tmp_path / "mask.dcm", study, label="liver"))
    np.testing.assert_allclose(back.affine, study.affine, atol=1e-6)
    np.testing.assert_array_equal(back.array > 0, mask.array)
    path = save_parametric_map(
        mask.astype(np.float32), tmp_path / "m.dcm", study, quantity="boundary_spread_mm", unit="mm"
    )
    np.testing.assert_array_equal(highdicom.imread(path).get_volume().array, mask.array)


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
    mask, values = _mask(study), study.astype(np.float32)
    for name in ("a", "b"):
        save_dicom_seg(mask, tmp_path / f"seg_{name}", study, label="Leber", created=_NOON)
        save_parametric_map(values, tmp_path / f"map_{name}", study, quantity="saliency", unit="1", created=_NOON)
    for kind in ("seg", "map"):
        assert (tmp_path / f"{kind}_a").read_bytes() == (tmp_path / f"{kind}_b").read_bytes()
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
        with pytest.raises(StudyError, match="read from nifti"):
            save_parametric_map(nifti, tmp_path / "m.dcm", nifti, quantity="saliency", unit="1")

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

    def test_unknown_quantity_unit_and_values(self, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
        study = _study(tmp_path / "ct", plain_affine)
        for quantity, unit in (("doubt", "bit"), ("saliency", "nat")):
            with pytest.raises(StudyError, match="Expected a quantity of"):
                save_parametric_map(study, tmp_path / "m.dcm", study, quantity=quantity, unit=unit)
        with pytest.raises(StudyError, match="not finite"):
            save_parametric_map(
                study.with_array(study.array * np.nan), tmp_path / "m.dcm", study, quantity="saliency", unit="1"
            )
        assert not (tmp_path / "m.dcm").exists()
