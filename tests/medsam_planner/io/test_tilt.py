"""A sheared stack, straightened: what was at a place in the patient is still there."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import GantryTiltError, GeometryError, StudyError
from medsam_planner.io import load_volume
from medsam_planner.io.tilt import straighten_array
from tests.medsam_planner.io.dicom_series import ct_datasets, enhanced_ct, save_all, sheared, write_ct_series

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _places(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _sheared_affine(affine: NDArray[np.float64], row_mm: float, column_mm: float) -> NDArray[np.float64]:
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    result = affine.copy()
    result[:3, 0] += row_mm * unit[:, 1] + column_mm * unit[:, 2]
    return result


@pytest.mark.parametrize(("row_mm", "column_mm"), [(0.6, 0.0), (-0.37, 0.0), (0.9, -0.4), (3.0, 0.0)])
def test_a_linear_ramp_keeps_its_value_at_every_place(
    row_mm: float, column_mm: float, grid_affine: NDArray[np.float64]
) -> None:
    # Linear interpolation is exact for a linear function, so the answer is known at every voxel.
    tilted = _sheared_affine(grid_affine, row_mm, column_mm)
    gradient = np.array([3.0, -2.0, 5.0])
    shape = (9, 24, 20)
    ramp = (_places(tilted, shape) @ gradient).astype(np.float32)
    array, affine, _ = straighten_array(ramp, tilted)
    expected = _places(affine, array.shape) @ gradient
    # A voxel up to half a pixel outside its slice repeats the edge; those within must be exact.
    inverse = np.linalg.inv(tilted)
    index = _places(affine, array.shape) @ inverse[:3, :3].T + inverse[:3, 3]
    core = ((index > -1e-6) & (index < np.array(shape) - 1 + 1e-6)).all(axis=-1)
    assert core.sum() >= 0.8 * ramp.size
    np.testing.assert_allclose(array[core], expected[core], atol=0.02)
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    np.testing.assert_allclose(np.abs(columns.T @ columns), np.eye(3), atol=1e-9)


def _ball(affine: NDArray[np.float64], shape: tuple[int, int, int], centre: NDArray[np.float64]) -> NDArray[np.float32]:
    distance = np.linalg.norm(_places(affine, shape) - centre, axis=-1)
    return np.clip(1000.0 * (6.5 - distance), -1000.0, 1000.0).astype(np.float32)


@pytest.mark.parametrize("form", ["single frames", "one multi-frame file"])
def test_a_ball_in_a_tilted_series_is_found_where_it_is(
    form: str, tmp_path: Path, oblique_affine: NDArray[np.float64]
) -> None:
    shape, shift = (16, 60, 40), 0.8  # 17.7 degrees
    tilted = _sheared_affine(oblique_affine, shift, 0.0)
    centre = (tilted @ [7.6, 27.2, 19.4, 1.0])[:3]
    hu = _ball(tilted, shape, centre)
    datasets = ct_datasets(hu, oblique_affine)
    for k, dataset in enumerate(datasets):
        sheared(oblique_affine, shift)(k, dataset)
    save_all(tmp_path, [enhanced_ct(datasets)] if form == "one multi-frame file" else datasets)

    with pytest.raises(GantryTiltError, match=r"17\.7°"):
        load_volume(tmp_path)
    volume = load_volume(tmp_path, resample_tilt=True)
    weight = np.clip(volume.array + 1000.0, 0.0, None)
    found = (_places(volume.affine, volume.array.shape) * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()
    assert np.linalg.norm(found - centre) < 0.05
    (operation,) = (o for o in volume.source.operations if o["name"] == "resample_tilt")
    assert operation["tilt_deg"] == pytest.approx(np.rad2deg(np.arctan2(0.8, 2.5)), abs=1e-3)
    assert operation["largest_position_error_mm"] < 1e-6

    # The same slices taken for a straight stack put the ball elsewhere: the check above is not empty.
    weight = np.clip(hu + 1000.0, 0.0, None)
    wrong = (_places(oblique_affine, shape) * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()
    assert np.linalg.norm(wrong - centre) > 4.0


def test_nothing_of_the_slices_is_cut_off(plain_affine: NDArray[np.float64]) -> None:
    tilted = _sheared_affine(plain_affine, 1.0, 0.0)  # whole pixels: values must come through untouched
    frames = np.random.default_rng(0).random((5, 8, 6)).astype(np.float32)
    array, affine, _ = straighten_array(frames, tilted)
    assert array.shape == (5, 12, 6)
    for k in range(5):
        np.testing.assert_array_equal(array[k, k : k + 8], frames[k])
    np.testing.assert_array_equal(affine, plain_affine)


def test_a_straight_stack_is_left_as_it_is(tmp_path: Path, grid_affine: NDArray[np.float64]) -> None:
    write_ct_series(tmp_path, np.random.default_rng(0).integers(-900, 900, (5, 6, 7)), grid_affine)
    one, other = load_volume(tmp_path), load_volume(tmp_path, resample_tilt=True)
    np.testing.assert_array_equal(one.array, other.array)
    assert other.source.operations == one.source.operations


def test_uneven_shift_is_refused_even_with_resampling(tmp_path: Path, plain_affine: NDArray[np.float64]) -> None:
    def wobble(k: int, dataset: object) -> None:
        sheared(plain_affine, 0.5 if k != 3 else 0.9)(k, dataset)

    write_ct_series(tmp_path, np.zeros((6, 8, 8)), plain_affine, change=wobble)
    with pytest.raises(StudyError, match=r"slice_003 lies 1\.20 mm"):
        load_volume(tmp_path, resample_tilt=True)


def test_shear_within_the_slices_is_refused() -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    with pytest.raises(GeometryError, match="sheared within its slices"):
        straighten_array(np.zeros((4, 4, 4), dtype=np.float32), affine)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_sheared_nifti_is_refused_or_straightened_whichever_axis_is_the_stack(
    axis: int, tmp_path: Path, oblique_affine: NDArray[np.float64]
) -> None:
    shape = (14, 60, 40)
    tilted = _sheared_affine(oblique_affine, 0.8, 0.0)
    centre = (tilted @ [6.6, 27.2, 19.4, 1.0])[:3]
    order = [1, 2]
    order.insert(axis, 0)
    array = np.transpose(_ball(tilted, shape, centre), order)
    image = nibabel.Nifti1Image(array, None)
    image.set_sform(_RAS_FROM_LPS @ tilted[:, [*order, 3]], code=1)
    nibabel.save(image, tmp_path / "tilted.nii")
    with pytest.raises(GantryTiltError, match="--resample-tilt"):
        load_volume(tmp_path / "tilted.nii")
    volume = load_volume(tmp_path / "tilted.nii", resample_tilt=True)
    weight = np.clip(volume.array + 1000.0, 0.0, None)
    found = (_places(volume.affine, volume.array.shape) * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()
    assert np.linalg.norm(found - centre) < 0.05
    assert volume.array.shape[axis] == 14
