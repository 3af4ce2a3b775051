"""NIfTI in and out: exact voxels, exact places, and refusals for files that do not say where they lie."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io import load_volume, save_nifti
from tests.medsam_planner.io.dicom_series import blob_hu, write_ct_series

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _volume(array: NDArray[np.generic], affine: NDArray[np.float64]) -> highdicom.Volume:
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
def test_nibabel_finds_every_voxel_where_the_volume_has_it(
    name: str, tmp_path: Path, grid_affine: NDArray[np.float64]
) -> None:
    mask = blob_hu() > -600
    path = save_nifti(_volume(mask, grid_affine), tmp_path / "new" / name)
    image = nibabel.load(path)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj), mask.astype(np.uint8))
    np.testing.assert_allclose(image.affine, _RAS_FROM_LPS @ grid_affine, atol=1e-4)
    for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(matrix, _RAS_FROM_LPS @ grid_affine, atol=1e-4)
    assert image.header.get_xyzt_units()[0] == "mm"


def test_saved_and_loaded_volume_is_the_same(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    array = blob_hu() / 3
    loaded = load_volume(save_nifti(_volume(array, grid_affine), tmp_path / "v.nii.gz"))
    assert loaded.array.dtype == np.float32
    np.testing.assert_array_equal(loaded.array, array)
    np.testing.assert_allclose(loaded.affine, grid_affine, atol=1e-4)


def test_mask_of_a_dicom_study_lies_on_its_voxels(tmp_path: Path, oblique_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path / "ct", blob_hu(), oblique_affine)
    study = load_volume(tmp_path / "ct")
    image = nibabel.load(save_nifti(study.with_array(study.array > -600), tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(np.asarray(image.dataobj, dtype=bool), study.array > -600)
    np.testing.assert_allclose(_RAS_FROM_LPS @ image.affine, study.affine, atol=1e-4)


def test_same_volume_gives_the_same_bytes_under_any_name(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    volume = _volume(blob_hu(), plain_affine)
    one, other = save_nifti(volume, tmp_path / "a.nii.gz"), save_nifti(volume, tmp_path / "b.nii.gz")
    assert one.read_bytes() == other.read_bytes()


def test_other_endings_are_refused(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    with pytest.raises(StudyError, match=r"\.nii or \.nii\.gz, got 'mask\.mha'"):
        save_nifti(_volume(blob_hu(), plain_affine), tmp_path / "mask.mha")


def test_modality_is_inferred_and_says_so_or_is_stated(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    ct = save_nifti(_volume(blob_hu(), plain_affine), tmp_path / "ct.nii")
    mr = save_nifti(_volume(blob_hu() + 1000, plain_affine), tmp_path / "mr.nii")
    for path, modality in ((ct, "CT"), (mr, "MR")):
        source = load_volume(path).source
        assert (source.format, source.modality, source.modality_is_inferred) == ("nifti", modality, True)
    source = load_volume(mr, modality="CT").source
    assert (source.modality, source.modality_is_inferred) == ("CT", False)


def test_scaled_integers_and_a_trailing_axis_of_one_are_read(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5, 1), plain_affine)
    image.header.set_slope_inter(2.0, -1000.0)
    image.to_filename(tmp_path / "scaled.nii")
    loaded = load_volume(tmp_path / "scaled.nii")
    np.testing.assert_array_equal(loaded.array, np.arange(60).reshape(3, 4, 5) * 2.0 - 1000.0)


def test_nifti_2_is_read(tmp_path: Path, oblique_affine: NDArray[np.float64]) -> None:
    nibabel.Nifti2Image(blob_hu(), _RAS_FROM_LPS @ oblique_affine).to_filename(tmp_path / "two.nii")
    np.testing.assert_allclose(load_volume(tmp_path / "two.nii").affine, oblique_affine, atol=1e-9)


def test_label_numbers_keep_their_values(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    labels = np.arange(60).reshape(3, 4, 5)
    assert labels.dtype == np.int64
    image = nibabel.load(save_nifti(_volume(labels, plain_affine), tmp_path / "labels.nii"))
    np.testing.assert_array_equal(np.asarray(image.dataobj), labels)
    with pytest.raises(StudyError, match="32 bits"):
        save_nifti(_volume(labels << 40, plain_affine), tmp_path / "labels.nii")


def test_one_nifti_in_a_zip_is_read_and_has_no_series(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    file = save_nifti(_volume(blob_hu(), plain_affine), tmp_path / "v.nii.gz")
    with zipfile.ZipFile(tmp_path / "v.zip", "w") as archive:
        archive.write(file, "deep/v.nii.gz")
    np.testing.assert_array_equal(load_volume(tmp_path / "v.zip").array, blob_hu())
    with pytest.raises(StudyError, match="no series"):
        load_volume(tmp_path / "v.zip", series="1")


# --- files that are wrong -------------------------------------------------------------------------------------------


def _image(array: NDArray[np.generic] | None = None) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(blob_hu() if array is None else array, np.diag([-1.0, -1.0, 2.0, 1.0]))


def four_dimensional() -> nibabel.Nifti1Image:
    return _image(np.zeros((4, 5, 6, 7), dtype=np.float32))


def flat() -> nibabel.Nifti1Image:
    return _image(np.zeros((40, 50, 1), dtype=np.float32))


def zero_affine() -> nibabel.Nifti1Image:
    image = _image()
    image.header["srow_x"] = image.header["srow_y"] = image.header["srow_z"] = 0
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    return nibabel.Nifti1Image(image.dataobj, None, image.header)


def no_codes() -> nibabel.Nifti1Image:
    image = _image()
    image.header["sform_code"] = image.header["qform_code"] = 0
    return nibabel.Nifti1Image(image.dataobj, None, image.header)


def forms_disagree() -> nibabel.Nifti1Image:
    image = _image()
    image.set_sform(image.affine, code=1)
    image.set_qform(np.diag([1.0, -1.0, 2.0, 1.0]), code=1)
    return image


def not_a_number() -> nibabel.Nifti1Image:
    array = blob_hu()
    array[2, 3, 4] = np.nan
    return _image(array)


def coloured() -> nibabel.Nifti1Image:
    return _image(np.zeros((5, 5, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


def complex_values() -> nibabel.Nifti1Image:
    return _image(np.ones((5, 5, 5), dtype=np.complex64))


def in_metres() -> nibabel.Nifti1Image:
    image = _image()
    image.header.set_xyzt_units("meter")
    return image


def constant() -> nibabel.Nifti1Image:
    return _image(np.full((5, 5, 5), 7, dtype=np.int16))


_WRONG: list[tuple[Callable[[], nibabel.Nifti1Image], tuple[str, ...]]] = [
    (four_dimensional, ("one 3D volume", "(4, 5, 6, 7)")),
    (flat, ("at least 3 voxels along each axis", "(40, 50, 1)")),
    (zero_affine, ("sform", "not an invertible affine")),
    (no_codes, ("sform_code and qform_code are 0", "left and right")),
    (forms_disagree, ("sform and the qform", "mm apart")),
    (not_a_number, ("1 voxels", "NaN", "(2, 3, 4)")),
    (coloured, ("one number per voxel",)),
    (complex_values, ("one number per voxel", "complex64")),
    (in_metres, ("millimetres", "meter")),
    (constant, ("have the value 7",)),
]


@pytest.mark.parametrize(("make", "words"), _WRONG, ids=[case[0].__name__ for case in _WRONG])
def test_wrong_nifti_is_refused_in_words(
    make: Callable[[], nibabel.Nifti1Image], words: tuple[str, ...], tmp_path: Path
) -> None:
    make().to_filename(tmp_path / "wrong.nii")
    with pytest.raises(StudyError) as caught:
        load_volume(tmp_path / "wrong.nii")
    for word in ("wrong.nii", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["cut.nii", "cut.nii.gz"])
def test_truncated_nifti_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    _image(np.random.default_rng(0).random((20, 20, 20)).astype(np.float32)).to_filename(path)
    content = path.read_bytes()
    for length in (500, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:length])
        with pytest.raises(StudyError, match=name):
            load_volume(path)


@pytest.mark.parametrize("name", ["a.data", "A.NII", "a", "a.nii.gz", "a.dcm"])
def test_nifti_is_told_by_its_content_whatever_its_name(name: str, tmp_path: Path) -> None:
    _image().to_filename(tmp_path / "first.nii")
    (tmp_path / "first.nii").rename(tmp_path / name)
    np.testing.assert_array_equal(load_volume(tmp_path / name).array, blob_hu())


@pytest.mark.parametrize("name", ["A.NII.GZ", "a.Nii.Gz", "a.nii", "a"])
def test_compressed_nifti_is_told_by_its_content_too(name: str, tmp_path: Path) -> None:
    _image().to_filename(tmp_path / "first.nii.gz")
    (tmp_path / "first.nii.gz").rename(tmp_path / name)
    np.testing.assert_array_equal(load_volume(tmp_path / name).array, blob_hu())


def test_folder_of_several_niftis_asks_for_the_file(tmp_path: Path) -> None:
    _image().to_filename(tmp_path / "image.nii")
    assert load_volume(tmp_path).array.shape == (7, 12, 10)
    _image().to_filename(tmp_path / "labels.nii.gz")
    with pytest.raises(StudyError, match=r"2 NIfTI files \(image\.nii, labels\.nii\.gz\)\. Name the file"):
        load_volume(tmp_path)
