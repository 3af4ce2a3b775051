"""A Parametric Map, read back by other programs, has every value at its place and says what it is."""

from __future__ import annotations

import datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io import load_volume, save_nifti, save_parametric_map
from medsam_planner.io.objects.identity import with_notice
from medsam_planner.io.objects.parametric_map import MAP_QUANTITIES, _series_description
from medsam_planner.volumes import StudyVolume, volume_like
from tests.medsam_planner.io.dicom_series import (
    blob_hu,
    ct_datasets,
    enhanced_ct,
    geometry_by_frame,
    save_all,
    write_ct_series,
)
from tests.medsam_planner.io.objects.validators import NEEDS_DCIODVFY, NEEDS_DCMQI, dciodvfy_errors, dcmqi

_NOON = datetime.datetime(2024, 2, 29, 12, 0, 0)


def _study(folder: Path, affine: NDArray[np.float64]) -> StudyVolume:
    write_ct_series(folder, blob_hu(), affine)
    return load_volume(folder)


def _values(study: highdicom.Volume) -> highdicom.Volume:
    return volume_like(study, np.random.default_rng(2).random(study.spatial_shape).astype(np.float32))


@pytest.mark.parametrize("quantity", MAP_QUANTITIES)
def test_every_map_lies_on_the_source_voxels_to_the_last_bit(
    quantity: str, tmp_path: Path, grid_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    values = _values(study)
    path = save_parametric_map(values, tmp_path / "u.dcm", study, quantity=quantity, structure="liver")
    back = highdicom.imread(path).get_volume(apply_real_world_transform=True, dtype=np.float32)
    np.testing.assert_allclose(back.affine, study.affine, atol=1e-6)
    np.testing.assert_array_equal(back.array, values.array)
    dataset = pydicom.dcmread(path)
    # OHIF takes a map only with the rows, columns and slices of its images.
    assert (dataset.Rows, dataset.Columns, dataset.NumberOfFrames) == (12, 10, 7)
    frames = dataset.PerFrameFunctionalGroupsSequence
    across = np.array(dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient)
    places = np.array([frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], dtype=float)
    # Slicer and OHIF stack frames along the normal, in the order of the file.
    assert (np.diff(places @ np.cross(across[:3].astype(float), across[3:].astype(float))) > 0).all()


def test_a_map_says_its_structure_its_quantity_its_unit_and_its_modality(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    series = set()
    for number, (structure, label) in enumerate(
        {"external_iliac_artery": "ARTERY", "external_iliac_vein": "VEIN"}.items()
    ):
        path = save_parametric_map(
            _values(study), tmp_path / "u.dcm", study, quantity="uncertainty", structure=structure, number=number
        )
        dataset = pydicom.dcmread(path)
        assert dataset.SeriesDescription == f"{structure}: predictive entropy (research use only)"
        assert dataset.ContentLabel.startswith("ENTROP_") and dataset.ContentLabel.endswith(label)
        assert dataset.Modality == "CT" and dataset.ContentCreatorName
        series.add(dataset.SeriesNumber)
        shared = dataset.SharedFunctionalGroupsSequence[0]
        mapping = shared.RealWorldValueMappingSequence[0]
        assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "bit"
        assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeMeaning == "Predictive entropy"
        assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeMeaning == "Pelvis"
        assert shared.FrameVOILUTSequence[0].VOILUTFunction == "LINEAR_EXACT"
    assert len(series) == 2


def test_maps_of_a_structure_with_a_long_name_are_told_apart_by_their_descriptions() -> None:
    name = "left_internal_iliac_artery_with_its_branches"
    texts = {with_notice(_series_description(name, what)) for what in MAP_QUANTITIES.values()}
    assert len(texts) == len(MAP_QUANTITIES) and max(map(len, texts)) <= 64
    for what in MAP_QUANTITIES.values():
        assert _series_description("supra_acetabular_bone", what).startswith("supra_acetabular")


def test_quantities_have_standard_codes_where_there_are_any(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)

    def said(quantity: str) -> list[str]:
        path = save_parametric_map(_values(study), tmp_path / "m.dcm", study, quantity=quantity, structure="liver")
        shared = pydicom.dcmread(path).SharedFunctionalGroupsSequence[0]
        items = shared.RealWorldValueMappingSequence[0].QuantityDefinitionSequence
        codes = [item.ConceptCodeSequence[0] for item in items]
        return [f"{code.CodingSchemeDesignator} {code.CodeValue}" for code in codes]

    assert said("probability") == ["DCM 122157"]
    assert said("saliency") == ["DCM 130403"]
    assert said("boundary_spread_mm") == ["99MEDSAMPLANNER BoundarySpread", "SCT 386136009"]


def test_a_map_that_is_mostly_nothing_is_small_without_loss(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path / "ct", blob_hu((20, 128, 128)), plain_affine)
    study = load_volume(tmp_path / "ct")
    array = np.zeros(study.spatial_shape, dtype=np.float32)
    array[8:12, 40:60, 40:60] = np.random.default_rng(0).random((4, 20, 20))
    values = volume_like(study, array)
    path = save_parametric_map(values, tmp_path / "u.dcm", study, quantity="uncertainty", structure="liver")
    assert path.stat().st_size < array.nbytes / 20
    np.testing.assert_array_equal(highdicom.imread(path).get_volume().array, array)


@pytest.mark.parametrize("layout", ["shared groups", "groups per frame"])
def test_multi_frame_sources_take_maps(layout: str, tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    dataset = enhanced_ct(ct_datasets(blob_hu(), grid_affine))
    save_all(tmp_path / "ct", [geometry_by_frame(dataset) if layout == "groups per frame" else dataset])
    study = load_volume(tmp_path / "ct")
    values = _values(study)
    path = save_parametric_map(values, tmp_path / "m.dcm", study, quantity="boundary_spread_mm", structure="liver")
    np.testing.assert_array_equal(highdicom.imread(path).get_volume().array, values.array)


def test_same_content_and_time_give_the_same_bytes(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    for name in ("a", "b"):
        save_parametric_map(
            _values(study), tmp_path / name, study, quantity="saliency", structure="liver", created=_NOON
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@NEEDS_DCIODVFY
@pytest.mark.parametrize("structure", ["liver", "xyz"])
def test_dciodvfy_finds_no_error(structure: str, tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    for quantity in MAP_QUANTITIES:
        path = save_parametric_map(_values(study), tmp_path / "m.dcm", study, quantity=quantity, structure=structure)
        assert dciodvfy_errors(path) == []


@NEEDS_DCMQI
def test_dcmqi_which_is_slicers_reader_reads_the_same_values(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", grid_affine)
    values = _values(study)
    path = save_parametric_map(values, tmp_path / "m.dcm", study, quantity="uncertainty", structure="liver")
    dcmqi("paramap2itkimage", "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-t", "nii")
    read = load_volume(tmp_path / "pmap.nii.gz").match_geometry(values)
    np.testing.assert_array_equal(read.array.astype(np.float32), values.array)


def test_what_cannot_be_a_map_is_refused(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    study = _study(tmp_path / "ct", plain_affine)
    with pytest.raises(StudyError, match="Expected a quantity of"):
        save_parametric_map(study, tmp_path / "m.dcm", study, quantity="doubt", structure="liver")
    with pytest.raises(StudyError, match="not finite"):
        nothing = study.with_array(study.array * np.nan)
        save_parametric_map(nothing, tmp_path / "m.dcm", study, quantity="saliency", structure="liver")
    nifti = load_volume(save_nifti(study, tmp_path / "v.nii"))
    with pytest.raises(StudyError, match="read from nifti"):
        save_parametric_map(nifti, tmp_path / "m.dcm", nifti, quantity="saliency", structure="liver")
    assert not (tmp_path / "m.dcm").exists()
