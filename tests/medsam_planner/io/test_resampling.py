"""Resampling keeps every value at its place in the patient."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.errors import GeometryError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.resampling import resample_like
from medsam_planner.volumes import StudySource, StudyVolume

_GRADIENT = np.array([3.0, -2.0, 5.0])


def _places(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def _ramp(affine: NDArray[np.float64], shape: tuple[int, int, int] = (9, 14, 11)) -> highdicom.Volume:
    values = (_places(affine, shape) @ _GRADIENT).astype(np.float32)
    return highdicom.Volume(values, affine, "PATIENT", frame_of_reference_uid="1.2.3")


def _inside(volume: highdicom.Volume, affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Grid points between the voxel centres of `volume`, where interpolation is not extrapolation."""
    inverse = np.linalg.inv(volume.affine)
    index = _places(affine, shape) @ inverse[:3, :3].T + inverse[:3, 3]
    inside: NDArray[np.bool_] = ((index > -1e-9) & (index < np.array(volume.spatial_shape) - 1 + 1e-9)).all(axis=-1)
    return inside


def _isotropic(volume: highdicom.Volume, spacing: float, order: int = 1) -> highdicom.Volume:
    """Cubes of `spacing` mm along the same axes and about the same centre."""
    old = spacing_mm(volume.affine)
    shape = [round(n * s / spacing) for n, s in zip(volume.spatial_shape, old, strict=True)]
    affine = volume.affine @ np.diag([*(spacing / old), 1.0])
    centre = volume.affine @ [*((np.array(volume.spatial_shape) - 1) / 2), 1.0]
    affine[:3, 3] = centre[:3] - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return resample_like(volume, highdicom.VolumeGeometry(affine, shape, "PATIENT"), order)


@pytest.mark.parametrize("spacing", [0.6, 1.0, 1.7])
def test_isotropic_ramp_has_the_value_of_its_place(spacing: float, grid_affine: NDArray[np.float64]) -> None:
    volume = _ramp(grid_affine)
    result = _isotropic(volume, spacing)
    np.testing.assert_allclose(spacing_mm(result.affine), spacing)
    inside = _inside(volume, result.affine, result.array.shape)
    assert inside.mean() > 0.6
    np.testing.assert_allclose(
        result.array[inside], (_places(result.affine, result.array.shape) @ _GRADIENT)[inside], atol=5e-3
    )


def test_to_another_grid_a_ramp_has_the_value_of_its_place(
    plain_affine: NDArray[np.float64], oblique_affine: NDArray[np.float64]
) -> None:
    volume = _ramp(oblique_affine, (20, 40, 40))
    target = plain_affine @ np.diag([1.3, 0.9, 1.1, 1.0])
    target[:3, 3] = (oblique_affine @ [10, 20, 20, 1])[:3] - 8.0
    reference = highdicom.Volume(np.zeros((18, 19, 17), np.uint8), target, "PATIENT")
    result = resample_like(volume, reference, fill_value=-7.0)
    inside = _inside(volume, target, (18, 19, 17))
    assert inside.mean() > 0.2
    np.testing.assert_allclose(result.array[inside], (_places(target, (18, 19, 17)) @ _GRADIENT)[inside], atol=5e-3)
    np.testing.assert_array_equal(result.affine, target)
    assert result.frame_of_reference_uid == "1.2.3"


@pytest.mark.parametrize("order", [0, 1, 3])
def test_to_its_own_grid_a_volume_stays_itself_up_to_the_edge(order: int, grid_affine: NDArray[np.float64]) -> None:
    values = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    volume = highdicom.Volume(values, grid_affine, "PATIENT")
    result = resample_like(volume, volume.flip_spatial([0, 1]), order, fill_value=-99.0)
    np.testing.assert_allclose(result.array, values[::-1, ::-1], atol=1e-5)


def test_outside_the_volume_is_the_fill_value(plain_affine: NDArray[np.float64]) -> None:
    volume = highdicom.Volume(np.ones((3, 3, 3), np.float32), plain_affine, "PATIENT")
    away = plain_affine.copy()
    away[:3, 3] = (-3.0, 0.0, 0.0)
    reference = highdicom.Volume(np.zeros((3, 3, 7), np.uint8), away, "PATIENT")
    np.testing.assert_array_equal(
        resample_like(volume, reference, fill_value=-1.0).array[1, 1], [-1] * 3 + [1] * 3 + [-1]
    )


@pytest.mark.parametrize("order", [0, 1])
def test_a_mask_stays_a_mask_of_the_same_volume(order: int, grid_affine: NDArray[np.float64]) -> None:
    shape = (20, 40, 44)
    centre = (grid_affine @ [9.5, 20.0, 21.0, 1.0])[:3]
    ball = np.linalg.norm(_places(grid_affine, shape) - centre, axis=-1) < 9.0
    result = _isotropic(highdicom.Volume(ball, grid_affine, "PATIENT"), 0.8, order)
    assert result.array.dtype == np.bool_
    volume_mm3 = [
        m.sum() * abs(np.linalg.det(a[:3, :3])) for m, a in ((ball, grid_affine), (result.array, result.affine))
    ]
    assert volume_mm3[1] == pytest.approx(volume_mm3[0], rel=0.06)
    found = _places(result.affine, result.array.shape)[result.array].mean(axis=0)
    assert np.linalg.norm(found - _places(grid_affine, shape)[ball].mean(axis=0)) < 0.2


def test_integers_are_rounded_and_not_cut(plain_affine: NDArray[np.float64]) -> None:
    values = np.array([0, 3], np.int16).reshape(1, 1, 2).repeat(3, 0).repeat(3, 1)
    result = _isotropic(highdicom.Volume(values, plain_affine, "PATIENT"), 0.5)
    assert result.array.dtype == np.int16
    np.testing.assert_array_equal(result.array[0, 0], [0, 1, 2, 3])  # 0, 0.75, 2.25, 3


def test_operation_is_recorded(plain_affine: NDArray[np.float64]) -> None:
    study = StudyVolume.from_volume(_ramp(plain_affine), StudySource(Path("x"), "dicom", "CT"))
    (operation,) = resample_like(study, study, 0).source.operations
    assert operation == {
        "name": "resample_like",
        "order": 0,
        "shape": [9, 14, 11],
        "affine": plain_affine.tolist(),
    }


def test_what_cannot_be_resampled_is_refused(plain_affine: NDArray[np.float64]) -> None:
    volume = _ramp(plain_affine)
    with pytest.raises(GeometryError, match="order 0, 1, 2 or 3"):
        resample_like(volume, volume, 5)
    stranger = highdicom.Volume(np.zeros((3, 3, 3)), plain_affine, "PATIENT", frame_of_reference_uid="9.9")
    with pytest.raises(GeometryError, match="registration"):
        resample_like(volume, stranger)
