"""Documents, pictures, contours and masks inside DICOM come out as they went in, and validate."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from medsam_planner.deidentification.pixels import may_show_text
from medsam_planner.errors import GeometryError, StudyError
from medsam_planner.geometry import index_from_lps
from medsam_planner.io import load_volume
from medsam_planner.io.mask_reading import load_mask
from medsam_planner.io.objects.encapsulated import save_encapsulated_pdf, save_encapsulated_stl
from medsam_planner.io.objects.key_image import save_key_image
from medsam_planner.io.objects.parametric_map import save_parametric_map
from medsam_planner.io.objects.segmentation import Segment, SegmentEncoding, save_segments
from medsam_planner.io.objects.structure_set import save_structure_set
from medsam_planner.volumes import StudyVolume, volume_like
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series
from tests.medsam_planner.io.objects.validators import NEEDS_DCIODVFY, dciodvfy_errors, missing_attributes

PDF = b"%PDF-1.4\n%odd number of bytes"
STL = b"\0" * 80 + b"\0\0\0\0" + b"x"


@pytest.fixture
def study(tmp_path: Path, grid_affine: NDArray[np.float64]) -> StudyVolume:
    write_ct_series(tmp_path / "ct", blob_hu((7, 24, 20)), grid_affine)
    return load_volume(tmp_path / "ct")


def _ring(study: StudyVolume) -> highdicom.Volume:
    """A body with a hole and an island in the hole, and a single voxel on another slice."""
    mask = np.zeros(study.spatial_shape, dtype=bool)
    mask[2:5, 4:20, 3:17] = True
    mask[3, 8:16, 6:14] = False
    mask[3, 11:13, 9:11] = True
    mask[0, 0, 0] = True
    return volume_like(study, mask)


def test_a_document_comes_out_as_it_went_in(tmp_path: Path, study: StudyVolume) -> None:
    path = save_encapsulated_pdf(PDF, tmp_path / "r.dcm", study, title="Plan", names_patient=True)
    dataset = pydicom.dcmread(path)
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == PDF
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf" and dataset.DocumentTitle == "Plan"
    assert dataset.BurnedInAnnotation == "YES" and "research" in dataset.SeriesDescription
    source = study.source.datasets[0]
    assert dataset.StudyInstanceUID == source.StudyInstanceUID and dataset.PatientID == source.PatientID
    path = save_encapsulated_stl(STL, tmp_path / "m.dcm", study, structure="liver", number=2)
    dataset = pydicom.dcmread(path)
    assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == STL
    assert dataset.FrameOfReferenceUID == study.frame_of_reference_uid
    assert dataset.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    with pytest.raises(StudyError, match="Expected a PDF"):
        save_encapsulated_pdf(STL, tmp_path / "no.dcm", study, title="Plan", names_patient=False)


def test_a_picture_keeps_every_pixel(tmp_path: Path, study: StudyVolume) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)
    dataset = pydicom.dcmread(save_key_image(picture, tmp_path / "k.dcm", study))
    np.testing.assert_array_equal(dataset.pixel_array, picture)
    assert "research" in dataset.SeriesDescription
    with pytest.raises(GeometryError, match="uint8"):
        save_key_image(picture[..., 0], tmp_path / "no.dcm", study)


def test_a_picture_whose_title_may_name_the_patient_does_not_pass_as_clean(tmp_path: Path, study: StudyVolume) -> None:
    dataset = pydicom.dcmread(save_key_image(np.zeros((8, 8, 3), dtype=np.uint8), tmp_path / "k.dcm", study))
    assert may_show_text(dataset) is not None


def test_contours_are_closed_planar_and_fill_to_the_mask(tmp_path: Path, study: StudyVolume) -> None:
    mask = _ring(study)
    path = save_structure_set([Segment("liver", mask, "#56b4e9")], tmp_path / "rt.dcm", study)
    dataset = pydicom.dcmread(path)
    contours = dataset.ROIContourSequence[0]
    images = {str(header.SOPInstanceUID): k for k, header in enumerate(study.source.datasets)}
    filled = np.zeros(study.spatial_shape, dtype=bool)
    area_mm2 = 0.0
    for contour in contours.ContourSequence:
        assert contour.ContourGeometricType == "CLOSED_PLANAR"
        places = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        assert len(places) == contour.NumberOfContourPoints >= 3
        index = index_from_lps(study.affine, places)
        k = round(float(index[:, 0].mean()))
        np.testing.assert_allclose(index[:, 0], k, atol=1e-2)  # planar
        assert images[contour.ContourImageSequence[0].ReferencedSOPInstanceUID] == k
        filled[k] ^= polygon2mask(study.spatial_shape[1:], index[:, 1:])  # even–odd
        along = places - places.mean(axis=0)
        area_mm2 += np.linalg.norm(np.cross(along, np.roll(along, -1, axis=0)).sum(axis=0)) / 2
    np.testing.assert_array_equal(filled, mask.array)  # a Dice of 1
    assert list(contours.ROIDisplayColor) == [0x56, 0xB4, 0xE9]
    # Outlines cut an eighth of a voxel off each of four corners; holes count twice as outlines without a sign.
    pixel_mm2 = float(np.prod(study.spacing[1:]))
    counted = {"block": 2 * 16 * 14, "with hole": 16 * 14 + 8 * 8 + 2 * 2, "voxel": 1}
    assert area_mm2 == pytest.approx(pixel_mm2 * (sum(counted.values()) - 6 * 0.5), rel=1e-2)


def test_a_structure_set_names_its_study_frame_and_codes(tmp_path: Path, study: StudyVolume) -> None:
    path = save_structure_set(
        [Segment("liver", _ring(study)), Segment("xyz", _ring(study))], tmp_path / "rt.dcm", study
    )
    dataset = pydicom.dcmread(path)
    assert [one.ROIName for one in dataset.StructureSetROISequence] == ["liver", "xyz"]
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == study.frame_of_reference_uid
    assert dataset.ApprovalStatus == "UNAPPROVED" and "Research" in dataset.StructureSetDescription
    liver, unknown = dataset.RTROIObservationsSequence
    assert liver.RTROIIdentificationCodeSequence[0].CodeMeaning == "Liver"
    assert unknown.RTROIInterpretedType == ""


@pytest.mark.parametrize("kind", ["contours", "label map", "bit-packed"])
def test_this_program_reads_its_own_masks_back_to_the_voxel(kind: str, tmp_path: Path, study: StudyVolume) -> None:
    ring = _ring(study)
    other = volume_like(study, ~ring.array & (study.array > study.array.min() + 600))
    segments = [Segment("liver", ring), Segment("Left kidney", other)]
    if kind == "contours":
        path = save_structure_set(segments, tmp_path / "m.dcm", study)
    else:
        encoding = SegmentEncoding.LABELMAP if kind == "label map" else SegmentEncoding.BINARY
        path = save_segments(segments, tmp_path / "m.dcm", study, encoding=encoding)
    for segment in segments:
        read = load_mask(Path(f"{path}:{segment.label}"), study)
        np.testing.assert_array_equal(read.match_geometry(study).array, segment.mask.array)


def _one_of_each(tmp_path: Path, study: StudyVolume) -> tuple[Path, ...]:
    return (
        save_encapsulated_pdf(PDF, tmp_path / "r.dcm", study, title="Plan", names_patient=False),
        save_encapsulated_stl(STL, tmp_path / "m.dcm", study, structure="liver"),
        save_key_image(np.zeros((8, 8, 3), dtype=np.uint8), tmp_path / "k.dcm", study),
        save_structure_set([Segment("liver", _ring(study))], tmp_path / "rt.dcm", study),
    )


@NEEDS_DCIODVFY
def test_dciodvfy_finds_no_error_in_documents_pictures_and_contours(tmp_path: Path, study: StudyVolume) -> None:
    for path in _one_of_each(tmp_path, study):
        assert dciodvfy_errors(path) == [], path.name


def test_no_object_lacks_an_attribute_of_its_module_tables(tmp_path: Path, study: StudyVolume) -> None:
    values = volume_like(study, np.linspace(0, 1, study.array.size, dtype=np.float32).reshape(study.spatial_shape))
    segments = [Segment("liver", _ring(study))]
    for path in (
        *_one_of_each(tmp_path, study),
        save_segments(segments, tmp_path / "labels.dcm", study, encoding=SegmentEncoding.LABELMAP),
        save_segments(segments, tmp_path / "bits.dcm", study, encoding=SegmentEncoding.BINARY),
        save_parametric_map(values, tmp_path / "map.dcm", study, quantity="uncertainty", structure="liver"),
    ):
        assert missing_attributes(path) == [], path.name
    without = pydicom.dcmread(tmp_path / "labels.dcm")
    del without.SegmentSequence[0].SegmentAlgorithmType
    without.save_as(tmp_path / "without.dcm")
    assert "SegmentAlgorithmType" in missing_attributes(tmp_path / "without.dcm")[0]
