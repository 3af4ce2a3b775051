"""Every real DICOM set is read as its independent description says, or refused in words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from medsam_planner.deidentification import Profile, Pseudonyms, deidentify
from medsam_planner.errors import AmbiguousSeriesError, GantryTiltError, StudyError
from medsam_planner.io import inspect_study, load_volume, save_dicom_seg, save_nifti
from medsam_planner.io.mask_reading import load_mask, mask_labels
from medsam_planner.volumes import StudySource, StudyVolume, volume_like

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_READ = [
    "compressed_jpegls",
    "compressed_rle",
    "hyperfine_mr_anat",
    "philips_enhanced_multiframe",
    "siemens_ct_j2k",
    "siemens_mr_anat",
]

_REFUSED: dict[str, tuple[type[StudyError], tuple[str, ...]]] = {
    "d2n_gantrytilt": (GantryTiltError, ("14.0°", "--resample-tilt")),
    "d2n_slicecount": (StudyError, ("2 slices", "at least 3")),
    "d2n_sliceincrement_1": (StudyError, ("1 slice is missing", "10.00 mm", "IM-0001-0009-0001.dcm")),
    "ge_ct_variable_tilt_and_spacing": (AmbiguousSeriesError, ("not equally spaced", "18.5°", "--volume NUMBER")),
    "rgb": (StudyError, ("colour", "RGB")),
    "rtutils_ct_rtstruct": (StudyError, ("2 slices", "3 RTSTRUCT")),
}


def _expected(folder: Path) -> dict[str, Any]:
    meta = json.loads((folder / "meta.json").read_text())
    (series,) = meta["correct_reader"]["series"]
    return dict(series)


def _kji_from_meta(series: dict[str, Any]) -> NDArray[np.float64]:
    """The description's RAS affine of (column, row, slice) as LPS affine of (slice, row, column)."""
    return (_RAS_FROM_LPS @ np.array(series["affine_ras_ijk_to_mm"]))[:, [2, 1, 0, 3]]


def test_every_set_is_covered(shared_data: Path) -> None:
    assert sorted(path.name for path in (shared_data / "dicom").iterdir()) == sorted([*_READ, *_REFUSED])


@pytest.mark.parametrize("name", _READ)
def test_set_is_read_rightly(name: str, shared_data: Path) -> None:
    folder = shared_data / "dicom" / name
    series = _expected(folder)
    volume = load_volume(folder)
    columns, rows, slices = series["shape_ijk"]
    assert volume.array.shape == (slices, rows, columns)
    low, high, mean = series["value_min_max_mean_after_rescale"]
    assert float(volume.array.min()) == pytest.approx(low, abs=1e-3)
    assert float(volume.array.max()) == pytest.approx(high, abs=1e-3)
    assert float(volume.array.mean(dtype=np.float64)) == pytest.approx(mean, abs=1e-3)

    # highdicom stacks against row × column direction, the description along it.
    ((slope, intercept),) = series["rescale_slope_intercept"]
    stored = np.rint((volume.array[::-1].astype(np.float64) - intercept) / slope).astype("<i4")
    assert hashlib.sha256(stored.tobytes()).hexdigest() == series["stored_pixels_sha256_int32_le_k_row_col"]
    flipped = volume.flip_spatial(0)
    np.testing.assert_allclose(flipped.affine, _kji_from_meta(series), atol=1e-3)
    assert volume.source.modality == json.loads((folder / "meta.json").read_text())["modality"][0]


@pytest.mark.parametrize("name", _READ)
def test_inspection_finds_the_same_geometry_and_no_problem(name: str, shared_data: Path) -> None:
    (series,) = inspect_study(shared_data / "dicom" / name).series
    assert series.problems == ()
    volume = load_volume(shared_data / "dicom" / name)
    np.testing.assert_allclose(series.affine, volume.affine, atol=1e-9)
    assert series.shape == volume.array.shape


@pytest.mark.parametrize("name", sorted(_REFUSED))
def test_set_is_refused_clearly(name: str, shared_data: Path) -> None:
    error, words = _REFUSED[name]
    with pytest.raises(StudyError) as caught:
        load_volume(shared_data / "dicom" / name)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)
    (series,) = inspect_study(shared_data / "dicom" / name).series
    assert series.problems


def test_resampling_does_not_help_unequal_spacing(shared_data: Path) -> None:
    with pytest.raises(StudyError, match=r"not equally spaced.*18\.5°"):
        load_volume(shared_data / "dicom" / "ge_ct_variable_tilt_and_spacing", resample_tilt=True)


@pytest.mark.parametrize(("volume", "step_mm"), [(1, 7.0), (2, 4.0)])
def test_the_two_parts_of_a_head_ct_are_read_one_by_one(shared_data: Path, volume: int, step_mm: float) -> None:
    place = shared_data / "dicom" / "ge_ct_variable_tilt_and_spacing"
    with pytest.raises(GantryTiltError, match=r"--resample-tilt"):
        load_volume(place, volume=volume)
    read = load_volume(place, volume=volume, resample_tilt=True)
    assert read.array.shape[0] == 14
    assert read.spacing[0] == pytest.approx(step_mm, abs=0.01)


def test_tilted_set_is_straightened(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "d2n_gantrytilt"
    series = _expected(folder)
    volume = load_volume(folder, resample_tilt=True)
    spacing = np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(spacing, [series["step_along_normal_mm"][0], *series["pixel_spacing_ij_mm"]], atol=1e-3)
    # The lowest slice of the description keeps its pixels: the straight grid meets it at whole pixels.
    tilted = _kji_from_meta(series)
    for corner in ([0, 0, 0], [0, 511, 511], [3, 255, 255]):
        place = tilted @ [*corner, 1.0]
        index = (np.linalg.inv(volume.affine) @ place)[:3]
        assert (index > -0.51).all()
        assert (index < np.array(volume.array.shape) - 0.49).all()
        assert abs(index[0] - round(index[0])) < 1e-3


def test_reference_masks_lie_on_the_voxels_of_the_siemens_ct(shared_data: Path, tmp_path: Path) -> None:
    # The case was converted by another program: same HU at the same places, whatever the order of axes.
    study = load_volume(shared_data / "dicom" / "siemens_ct_j2k")
    case = load_volume(shared_data / "cases" / "ct_trunk_totalseg_siemens" / "image.nii.gz")
    turned = case.match_geometry(study)
    np.testing.assert_allclose(turned.affine, study.affine, atol=1e-3)
    np.testing.assert_array_equal(turned.array, study.array)

    # And back: bone as NIfTI and as SEG, read by other libraries, lies on the bone of the other program's file.
    bone = volume_like(study, study.array > 200)
    image = nibabel.load(save_nifti(bone, tmp_path / "bone.nii.gz"))
    np.testing.assert_array_equal(np.asarray(image.dataobj, dtype=bool), turned.array > 200)
    np.testing.assert_allclose(image.affine, _RAS_FROM_LPS @ turned.affine, atol=1e-3)
    segmentation = highdicom.seg.segread(save_dicom_seg(bone, tmp_path / "bone.dcm", study, label="bone"))
    back = segmentation.get_volume(combine_segments=True)
    np.testing.assert_array_equal(back.array > 0, turned.array > 200)
    np.testing.assert_allclose(back.affine, study.affine, atol=1e-9)


def test_modality_of_every_case_is_inferred_rightly(shared_data: Path) -> None:
    folders = sorted(path for path in (shared_data / "cases").iterdir() if path.is_dir())
    hippocampi = [path for path in folders if "hippocampus" in path.name][:10]
    checked = 0
    for folder in [*(path for path in folders if "hippocampus" not in path.name), *hippocampi]:
        source = load_volume(folder / "image.nii.gz").source
        assert source.modality == folder.name[:2].upper(), folder.name
        checked += 1
    assert checked >= 30


def test_real_contours_have_the_area_of_their_polygons(shared_data: Path) -> None:
    place = shared_data / "dicom" / "rtutils_ct_rtstruct"
    datasets = {path: pydicom.dcmread(path) for path in sorted(place.glob("*.dcm"))}
    [structure_set] = [path for path in datasets if path.name == "invalid_reference_rt.dcm"]
    slices = [one for one in datasets.values() if one.Modality == "CT"]
    source = StudySource(path=place, format="dicom", modality="CT")
    study = StudyVolume.from_volume(highdicom.get_volume_from_series(slices), source)  # two slices are no study
    pixel_mm2 = float(slices[0].PixelSpacing[0]) * float(slices[0].PixelSpacing[1])
    labels = mask_labels(structure_set)
    for contours in datasets[structure_set].ROIContourSequence:
        area_mm2 = 0.0
        for contour in contours.ContourSequence:
            x, y, _ = np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3).T
            area_mm2 += abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
        mask = load_mask(structure_set, study, number=int(contours.ReferencedROINumber))
        assert mask.array.sum() * pixel_mm2 == pytest.approx(area_mm2, rel=0.001)
    assert labels == {1: "ROI-1", 2: "ROI-2", 3: "ROI-3", 4: "ROI-4"}


@pytest.mark.parametrize("name", _READ)
def test_a_real_set_has_the_same_voxels_after_its_de_identification(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    place = shared_data / "dicom" / name
    done = deidentify(place, tmp_path / "out", Profile(), Pseudonyms(b"a key of thirty-two bytes for us"))
    assert done.counts["refused"] == 0
    before, after = load_volume(place), load_volume(done.out)
    np.testing.assert_array_equal(after.array, before.array)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-9)
