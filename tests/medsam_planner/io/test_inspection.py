"""The table a person sees before choosing."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import StudyError
from medsam_planner.io import inspect_study, load_volume
from tests.medsam_planner.io.dicom_series import blob_hu, ct_datasets, enhanced_ct, save_all, sheared, write_ct_series


def test_geometry_is_that_of_the_loaded_volume(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path / "single", blob_hu(), grid_affine)
    save_all(tmp_path / "multi", [enhanced_ct(ct_datasets(blob_hu(), grid_affine))])
    for folder in ("single", "multi"):
        (series,) = inspect_study(tmp_path / folder).series
        volume = load_volume(tmp_path / folder)
        np.testing.assert_allclose(series.affine, volume.affine, atol=1e-9)
        assert series.shape == volume.array.shape
        assert series.problems == ()


def test_text_names_spacing_orientation_and_what_else_is_there(
    tmp_path: Path, plain_affine: NDArray[np.float64]
) -> None:
    write_ct_series(tmp_path, blob_hu(), plain_affine @ np.diag([2.0, 0.75, 0.5, 1.0]))
    (tmp_path / "readme.md").write_text("hello " * 50)
    text = inspect_study(tmp_path).as_text()
    for part in (
        "1: CT, 7 file(s), 7 × 12 × 10, 'Series of a test'",
        "spacing 2 × 0.75 × 0.5 mm, axes S→I, A→P, R→L",
        "Explicit VR Little Endian",
        "1 not DICOM",
    ):
        assert part in text


def test_every_problem_is_listed_and_nothing_is_raised(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path, blob_hu(), plain_affine, change=sheared(plain_affine, 0.5), SeriesNumber=1)
    paths = write_ct_series(tmp_path, blob_hu((6, 8, 8)), plain_affine, prefix="gap", SeriesNumber=2)
    paths[2].unlink()
    write_ct_series(tmp_path, blob_hu((3, 8, 8)), plain_affine, prefix="xa", Modality="XA", SeriesNumber=3)
    paths[0].with_name("cut").write_bytes(paths[0].read_bytes()[:500])
    summary = inspect_study(tmp_path)
    assert [len(series.problems) for series in summary.series] == [1, 1, 1]
    assert summary.readable == ()
    text = summary.as_text()
    for part in ("--resample-tilt", "1 slice is missing", "modality is 'XA'", "DAMAGED: cut"):
        assert part in text


def test_several_readable_series_say_how_to_choose(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    for number in (1, 2):
        write_ct_series(
            tmp_path, blob_hu((number + 3, 8, 8)), plain_affine, prefix=f"s{number}", SeriesDescription=f"s{number}"
        )
    summary = inspect_study(tmp_path)
    assert len(summary.readable) == 2
    assert "--series NUMBER" in summary.as_text()


def test_nifti_is_inspected_too(tmp_path: Path) -> None:
    nibabel.Nifti1Image(blob_hu(), np.diag([-1.0, -1.0, 2.0, 1.0])).to_filename(tmp_path / "good.nii.gz")
    nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)).to_filename(tmp_path / "series.nii")
    good, bad = inspect_study(tmp_path).series
    assert (good.modality, good.modality_is_inferred, good.shape) == ("CT", True, (7, 12, 10))
    np.testing.assert_allclose(good.affine, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert "4, 4, 4, 2" in bad.problems[0]
    assert "inferred from the values" in good.as_text()


def test_empty_folder_has_no_series_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert "No image series" in inspect_study(tmp_path).as_text()
    with pytest.raises(StudyError, match="does not exist"):
        inspect_study(tmp_path / "nowhere")
