from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prompts.errors import GeometryError
from xai.errors import EmptyStructureError, UncertaintyError
from xai.surface import boundary_spread_mm, signed_distance_mm

SPACING_MM = (2.5, 0.7, 0.9)


def ball(shape: tuple[int, int, int], spacing_mm: tuple[float, ...], radius_mm: float) -> NDArray[np.bool_]:
    steps = np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2
    return np.linalg.norm(steps * spacing_mm, axis=-1) <= radius_mm


def half_space(axis: int, last: int, shape: tuple[int, int, int] = (24, 20, 22)) -> NDArray[np.bool_]:
    return np.indices(shape)[axis] <= last


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_distance_to_a_plane_is_exact_and_passes_through_zero(axis: int) -> None:
    distance = signed_distance_mm(half_space(axis, 9), SPACING_MM)
    profile = np.moveaxis(distance, axis, 0)[:, 3, 3]
    np.testing.assert_allclose(profile, (np.arange(len(profile)) - 9) * SPACING_MM[axis], rtol=1e-6)


@pytest.mark.parametrize("grid", ["plain_affine", "oblique_affine"])
def test_distance_agrees_with_a_search_in_patient_space(grid: str, request: pytest.FixtureRequest) -> None:
    affine = request.getfixturevalue(grid)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    mask = ball((15, 21, 19), tuple(spacing_mm), 4.0)
    mask[9:13, 4:9, 3:16] = True
    position_lps_mm = np.stack(np.indices(mask.shape), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    neighbours = [np.roll(mask, step, axis) for axis in range(3) for step in (-1, 1)]  # nothing touches the border
    surface = mask & ~np.all(neighbours, axis=0)
    nearest_mm = cKDTree(position_lps_mm[surface]).query(position_lps_mm.reshape(-1, 3))[0].reshape(mask.shape)
    np.testing.assert_allclose(signed_distance_mm(mask, spacing_mm), np.where(mask, -nearest_mm, nearest_mm), atol=1e-4)


def test_a_cut_by_the_border_of_the_field_is_not_a_surface() -> None:
    distance = signed_distance_mm(half_space(0, 9), SPACING_MM)
    assert distance[0].max() == pytest.approx(-9 * 2.5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_two_d_apart_spread_by_d_everywhere(axis: int) -> None:
    masks = np.stack([half_space(axis, 10 + shift) for shift in (-3, 3, 3, -3)])
    spread = boundary_spread_mm(masks, SPACING_MM)
    assert spread.dtype == np.float32
    np.testing.assert_allclose(spread, 3 * SPACING_MM[axis], rtol=1e-5)


def test_concentric_balls_spread_by_half_the_difference_of_their_radii() -> None:
    spacing_mm = (0.5, 0.4, 0.4)
    masks = np.stack([ball((64, 80, 80), spacing_mm, radius) for radius in (8.0, 12.0)])
    spread = boundary_spread_mm(masks, spacing_mm)
    away_mm = np.abs(signed_distance_mm(ball((64, 80, 80), spacing_mm, 10.0), spacing_mm))
    shell = spread[away_mm <= 4.0]
    assert abs(float(shell.mean()) - 2.0) < 0.1  # a voxel is half a millimetre
    assert float(np.abs(shell - 2.0).max()) < 0.75  # its diagonal


def test_equal_passes_have_no_spread() -> None:
    assert (boundary_spread_mm(np.stack([half_space(1, 8)] * 3), SPACING_MM) == 0).all()


def test_finer_voxels_do_not_change_millimetres() -> None:
    coarse = boundary_spread_mm(np.stack([half_space(0, 9), half_space(0, 11)]), (2.0, 1.0, 1.0))
    fine = boundary_spread_mm(np.stack([half_space(0, 18, (48, 8, 8)), half_space(0, 22, (48, 8, 8))]), (1.0, 1.0, 1.0))
    assert coarse.max() == fine.max() == pytest.approx(2.0)


def test_turning_the_grid_turns_the_map() -> None:
    runs = np.stack([ball((14, 22, 18), SPACING_MM, radius) for radius in (4.0, 5.0, 6.5)])
    turned = boundary_spread_mm(runs.transpose(0, 3, 1, 2)[:, ::-1], np.array(SPACING_MM)[[2, 0, 1]])
    np.testing.assert_allclose(turned, boundary_spread_mm(runs, SPACING_MM).transpose(2, 0, 1)[::-1], atol=1e-5)


def test_a_band_is_exact_where_it_is_computed_and_says_where_it_is_not() -> None:
    runs = np.stack([ball((30, 60, 60), SPACING_MM, radius) for radius in (5.0, 6.0, 8.0)])
    everywhere = boundary_spread_mm(runs, SPACING_MM)
    band = boundary_spread_mm(iter(runs), SPACING_MM, band_mm=4.0)
    computed = np.isfinite(band)
    near = np.abs(signed_distance_mm(runs[2], SPACING_MM)) <= 4.0
    assert computed[near].all()
    assert 0.0 < computed.mean() < 0.5
    np.testing.assert_allclose(band[computed], everywhere[computed], atol=1e-5)
    assert (boundary_spread_mm(runs, SPACING_MM, band_mm=4.0, outside=0.0)[~computed] == 0).all()


def test_an_empty_pass_and_a_pass_without_a_surface_are_refused() -> None:
    plane = half_space(0, 9)
    with pytest.raises(EmptyStructureError, match="Stochastic pass 1 is empty"):
        boundary_spread_mm([plane, np.zeros_like(plane)], SPACING_MM)
    with pytest.raises(EmptyStructureError, match="fills the whole array"):
        boundary_spread_mm([plane, np.ones_like(plane)], SPACING_MM)
    with pytest.raises(EmptyStructureError, match="empty mask"):
        signed_distance_mm(np.zeros_like(plane), SPACING_MM)


def test_one_pass_other_grids_and_wrong_spacings_are_refused() -> None:
    plane = half_space(0, 9)
    with pytest.raises(UncertaintyError, match="at least 2 passes"):
        boundary_spread_mm([plane], SPACING_MM)
    with pytest.raises(UncertaintyError, match="band_mm"):
        boundary_spread_mm([plane, plane], SPACING_MM, band_mm=-1.0)
    with pytest.raises(GeometryError, match="one grid"):
        boundary_spread_mm([plane, plane[1:]], SPACING_MM)
    for wrong in ((1.0, 1.0), (1.0, 1.0, 0.0), (1.0, np.nan, 1.0)):
        with pytest.raises(GeometryError, match="positive spacings"):
            boundary_spread_mm([plane, plane], wrong)
