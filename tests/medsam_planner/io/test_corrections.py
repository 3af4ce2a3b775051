"""Corrections of intensity: what they do, that they are recorded, and that they leave their input alone."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from medsam_planner.errors import OperationCancelledError, StudyError
from medsam_planner.io.corrections import clip_outliers, correct_bias_field, corrected_again
from medsam_planner.volumes import StudySource, StudyVolume


def _study(array: NDArray[np.float32], modality: str, affine: NDArray[np.float64]) -> StudyVolume:
    volume = highdicom.Volume(array, affine, "PATIENT", frame_of_reference_uid="1.2.3")
    return StudyVolume.from_volume(volume, StudySource(Path("x"), "dicom", modality, operations=({"name": "before"},)))


def test_metal_and_padding_are_clipped_and_counted(oblique_affine: NDArray[np.float64]) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, :2] = -3024
    array[1, 1, 1] = 30000
    study = _study(array, "CT", oblique_affine)
    clipped = clip_outliers(study)
    assert (clipped.array.min(), clipped.array.max()) == (-1024, 3071)
    assert study.array.min() == -3024
    np.testing.assert_array_equal(clipped.affine, study.affine)
    assert clipped.frame_of_reference_uid == "1.2.3"
    assert clipped.source.operations == (
        {"name": "before"},
        {"name": "clip_outliers", "low": -1024.0, "high": 3071.0, "voxels_below": 2, "voxels_above": 1},
    )


def test_mr_is_clipped_at_its_percentiles_and_bounds_can_be_given(plain_affine: NDArray[np.float64]) -> None:
    study = _study(np.arange(1000, dtype=np.float32).reshape(10, 10, 10), "MR", plain_affine)
    clipped = clip_outliers(study)
    assert clipped.array.min() == pytest.approx(0.999)
    assert clipped.array.max() == pytest.approx(998.001)
    assert clip_outliers(study, low=10, high=20).array.max() == 20
    with pytest.raises(StudyError, match="30 and 20"):
        clip_outliers(study, low=30, high=20)


def test_a_volume_without_a_source_stays_without(plain_affine: NDArray[np.float64]) -> None:
    result = clip_outliers(highdicom.Volume(np.full((3, 3, 3), -5000.0, np.float32), plain_affine, "PATIENT"))
    assert not isinstance(result, StudyVolume)


def _two_tissues_under_a_coil(shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    k, j, i = (np.linspace(-1, 1, n) for n in shape)
    radius = np.sqrt(k[:, None, None] ** 2 + j[None, :, None] ** 2 + i[None, None, :] ** 2)
    tissue = np.where(radius < 0.5, 600.0, 300.0) * (radius < 0.9)
    noise = np.random.default_rng(0).normal(0, 5, shape)
    bias = np.exp(0.5 * i[None, None, :] + 0.3 * j[None, :, None])
    return np.clip(tissue * bias + noise, 0, None).astype(np.float32), (radius > 0.55) & (radius < 0.85)


def test_bias_field_correction_makes_a_tissue_even(plain_affine: NDArray[np.float64]) -> None:
    array, outer = _two_tissues_under_a_coil((32, 34, 36))
    study = _study(array, "MR", plain_affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    stages: list[int] = []

    class Watcher:
        is_cancelled = False

        def update(self, stage: str, done: int, total: int) -> None:
            stages.append(done)

    corrected = correct_bias_field(study, iterations=8, progress=Watcher())
    before = array[outer].std() / array[outer].mean()
    after = corrected.array[outer].std() / corrected.array[outer].mean()
    assert before > 0.2
    assert after < before / 3
    assert stages
    operation = corrected.source.operations[-1]
    assert operation["method"] == "N4"
    assert operation["shrink_factors"] == [2, 2, 2]  # fitted on 4 mm voxels, applied on these of 2 mm
    assert operation["field_max"] > operation["field_min"]


def test_bias_field_correction_is_the_same_on_any_number_of_threads(plain_affine: NDArray[np.float64]) -> None:
    array, _ = _two_tissues_under_a_coil((16, 16, 16))
    study = _study(array, "MR", plain_affine @ np.diag([4.0, 4.0, 4.0, 1.0]))
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    results = []
    try:
        for count in (1, 3):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)
            results.append(correct_bias_field(study, iterations=4).array)
            assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == count
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    np.testing.assert_array_equal(*results)


def test_bias_field_correction_can_be_cancelled(plain_affine: NDArray[np.float64]) -> None:
    array, _ = _two_tissues_under_a_coil((12, 12, 12))

    class Impatient:
        is_cancelled = True

        def update(self, stage: str, done: int, total: int) -> None:
            pass

    with pytest.raises(OperationCancelledError):
        correct_bias_field(_study(array, "MR", plain_affine), progress=Impatient())


def test_bias_field_is_refused_where_it_means_nothing(plain_affine: NDArray[np.float64]) -> None:
    array, _ = _two_tissues_under_a_coil((10, 10, 10))
    with pytest.raises(StudyError, match="this study is CT"):
        correct_bias_field(_study(array, "CT", plain_affine))
    with pytest.raises(StudyError, match="minimum of -1"):
        correct_bias_field(_study(array - 1, "MR", plain_affine))


def test_recorded_corrections_give_the_same_bytes_again(plain_affine: NDArray[np.float64]) -> None:
    array, _ = _two_tissues_under_a_coil((32, 34, 36))
    study = _study(array, "MR", plain_affine)
    once = correct_bias_field(clip_outliers(study, low=0.0), iterations=4)
    again = corrected_again(study, once.source.operations)
    np.testing.assert_array_equal(again.array, once.array)
    assert again.source.operations == once.source.operations


@pytest.mark.parametrize(
    "record", [{"name": "clip_outliers", "low": 0.0}, {"name": "correct_bias_field", "iterations": []}]
)
def test_a_damaged_record_of_a_correction_is_refused(
    record: dict[str, object], plain_affine: NDArray[np.float64]
) -> None:
    study = _study(np.arange(27, dtype=np.float32).reshape(3, 3, 3), "MR", plain_affine)
    with pytest.raises(StudyError, match="recorded correction with its figures"):
        corrected_again(study, [record])
