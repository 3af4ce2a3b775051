"""Margins from spreads, and their reading at a surface."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import PlanningError
from medsam_planner.planning import Avoid, margin_from_spread, masks_from_spread
from medsam_planner.planning.margins import margin_from_scale, surface_margins

from .planning_scenes import capsule, middle, shape_covering, volume


def test_margin_is_base_plus_factor_times_spread_up_to_the_cap(plain_affine):
    spread = volume(np.array([[[0.0, 1.0, 10.0]]], dtype=np.float32), plain_affine)
    margin = margin_from_spread(spread, base_mm=1.0, factor=2.0, cap_mm=5.0)
    np.testing.assert_allclose(margin.array, [[[1.0, 3.0, 5.0]]])
    assert margin.array.dtype == np.float32


def test_senseless_margins_are_refused(plain_affine):
    spread = volume(np.ones((2, 2, 2), dtype=np.float32), plain_affine)
    with pytest.raises(PlanningError, match="cap_mm"):
        margin_from_spread(spread, base_mm=3.0, factor=1.0, cap_mm=2.0)
    with pytest.raises(PlanningError, match="finite"):
        margin_from_spread(volume(-spread.array, plain_affine), base_mm=1.0, factor=1.0, cap_mm=2.0)
    for base, factor, cap in ((1e20, 1.0, 1e20), (1.0, 1e39, 2.0), (1.0, np.nan, 2.0), (np.nan, 1.0, 2.0)):
        with pytest.raises(PlanningError, match="none above 1000"):
            margin_from_spread(spread, base_mm=base, factor=factor, cap_mm=cap)
    with pytest.raises(PlanningError, match="at least one"):
        masks_from_spread(volume(spread.array > 0, plain_affine), spread, samples=0, seed=0)


def test_a_surface_voxel_gets_the_largest_margin_nearby_and_none_from_deep_inside():
    inside = np.zeros((21, 21, 21), dtype=bool)
    inside[3:18, 3:18, 3:18] = True
    margin = np.ones(inside.shape, dtype=np.float32)
    margin[10, 10, 10] = 50.0  # the middle is no surface
    margin[3, 10, 10] = 4.0
    field = surface_margins(inside, margin, np.ones(3))
    assert field.max() == 4.0
    assert field[3, 12, 10] == 4.0 and field[3, 16, 10] == 1.0
    assert field[10, 10, 10] == 1.0  # the smallest
    assert field[0, 0, 0] == 0.0


def test_masks_drawn_from_a_spread_have_that_spread(any_affine):
    shape = shape_covering(any_affine, 40.0)
    centre = middle(shape, any_affine)
    ball = capsule(shape, any_affine, centre, centre, 9.0)
    spread = volume(np.full(shape, 1.5, dtype=np.float32), any_affine)
    masks = masks_from_spread(ball, spread, samples=80, seed=1)
    voxel = abs(np.linalg.det(any_affine[:3, :3]))
    radii = np.cbrt([mask.array.sum() * voxel * 3 / (4 * np.pi) for mask in masks])
    assert np.std(radii) == pytest.approx(1.5, rel=0.3)
    assert np.mean(radii) == pytest.approx(9.0, abs=0.6)
    again = masks_from_spread(ball, spread, samples=80, seed=1)
    assert all((a.array == b.array).all() for a, b in zip(masks, again, strict=True))


@pytest.mark.parametrize("quantile", [1e4, 1e20, 1e39, 1e300])
def test_a_calibration_whose_margin_no_patient_holds_is_refused(plain_affine, quantile):
    mask = volume(np.ones((2, 2, 2), dtype=bool), plain_affine)
    with np.errstate(over="ignore"):
        margin = margin_from_scale(mask, np.ones((2, 2, 2), dtype=np.float32), quantile=quantile)
    with pytest.raises(PlanningError, match="at most 1000"):
        Avoid("vessel", mask, margin)


def test_the_widest_spread_gives_the_cap(plain_affine):
    spread = volume(np.array([[[0.0, 3e38]]], dtype=np.float32), plain_affine)
    with np.errstate(over="ignore"):
        margin = margin_from_spread(spread, base_mm=1.0, factor=1000.0, cap_mm=9.0)
    assert margin.array.tolist() == [[[1.0, 9.0]]]
