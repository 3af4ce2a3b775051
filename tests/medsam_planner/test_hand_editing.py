"""Brush strokes and operations on masks."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import PromptError
from medsam_planner.segmentation.brush import Brush, painted_voxels
from medsam_planner.segmentation.mask_operations import (
    FillHoles,
    KeepIslandAt,
    KeepLargestIsland,
    RemoveSmallIslands,
    Smooth,
    operated,
)

SHAPE = (20, 60, 80)
AFFINE = np.array([[0, 0, 0.5, -20], [0, 0.8, 0, 10], [2.0, 0, 0, 50], [0, 0, 0, 1.0]])
SPACING = np.array([2.0, 0.8, 0.5])
VALUES = np.broadcast_to(np.arange(80, dtype=np.float32), SHAPE)
PLACES_MM = np.indices(SHAPE).reshape(3, -1).T * SPACING


def painted(line, brush, axis=0):
    first, inside = painted_voxels(line, brush, AFFINE, VALUES, axis=axis)
    whole = np.zeros(SHAPE, bool)
    whole[tuple(slice(low, low + size) for low, size in zip(first, inside.shape, strict=True))] = inside
    return whole


def box(*parts):
    mask = np.zeros(SHAPE, bool)
    for low, high in parts:
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_click_with_the_brush_paints_the_disc_of_its_radius_in_mm_on_any_plane(axis):
    at = np.array([9, 30.4, 40.2])
    at[axis] = round(at[axis])
    away_mm = np.linalg.norm(PLACES_MM - at * SPACING, axis=1).reshape(SHAPE)
    on_slice = np.indices(SHAPE)[axis] == at[axis]
    assert np.array_equal(painted([at], Brush(7.0), axis), on_slice & (away_mm <= 7.0))
    assert np.array_equal(painted([at], Brush(7.0, is_ball=True), axis), away_mm <= 7.0)


def test_a_stroke_paints_all_that_is_within_its_radius_of_the_line_and_nothing_else():
    start, end = np.array([5, 20.0, 15.3]), np.array([5, 41.7, 60.0])
    along = ((PLACES_MM - start * SPACING) @ ((end - start) * SPACING)) / np.sum(((end - start) * SPACING) ** 2)
    nearest = start * SPACING + np.clip(along, 0, 1)[:, None] * (end - start) * SPACING
    away_mm = np.linalg.norm(PLACES_MM - nearest, axis=1).reshape(SHAPE)
    away_mm[np.arange(SHAPE[0]) != 5] = np.inf
    made = painted([start, end], Brush(4.0))
    assert not (made & (away_mm > 4.0)).any()
    assert not ((away_mm <= 3.99) & ~made).any()


def test_a_brush_smaller_than_a_voxel_paints_the_voxels_that_the_line_runs_through():
    made = painted([[3, 10.3, 5.2], [3, 10.3, 9.4]], Brush(0.01))
    assert np.argwhere(made).tolist() == [[3, 10, i] for i in range(5, 10)]


def test_only_voxels_with_values_in_the_range_are_painted():
    whole, part = painted([[3, 30, 40]], Brush(6.0)), painted([[3, 30, 40]], Brush(6.0, low=38, high=41))
    assert np.array_equal(part, whole & (VALUES >= 38) & (VALUES <= 41))
    with pytest.raises(PromptError, match="No voxel under the brush has a value from 500 to 600"):
        painted([[3, 30, 40]], Brush(6.0, low=500, high=600))


def test_the_brush_is_cut_at_the_edge_of_the_study():
    made = painted([[0, 0, 0]], Brush(5.0, is_ball=True))
    assert made[0, 0, 0] and made[:3, 0, 0].sum() == 3


@pytest.mark.parametrize("radius", [0, -1, 101, float("nan"), float("inf")])
def test_a_radius_that_is_no_length_of_a_brush_is_refused(radius):
    with pytest.raises(PromptError, match="radius above 0"):
        Brush(radius)


@pytest.mark.parametrize("line", [[[0, 0, -1]], [[0, 0, 1e300]], [[np.nan, 0, 0]], [], [[0, 0]], [[20, 0, 0]]], ids=str)
def test_a_line_that_leaves_the_study_or_is_none_is_refused(line):
    with pytest.raises(PromptError):
        painted(line, Brush(5.0))


def test_a_line_of_kilometres_is_refused_before_it_is_painted():
    with pytest.raises(PromptError, match="at most 10000 mm"):
        painted([[0, 0, 0], [0, 59, 79]] * 200, Brush(5.0))


LARGE, SMALL, TOUCHING = ((2, 10, 10), (8, 30, 30)), ((12, 40, 50), (14, 44, 54)), ((8, 30, 30), (9, 31, 31))


def test_the_largest_island_stays_with_what_touches_it_at_a_corner():
    assert np.array_equal(operated(box(LARGE, SMALL, TOUCHING), KeepLargestIsland(), AFFINE), box(LARGE, TOUCHING))


def test_islands_below_a_volume_are_removed():
    small_ml = 2 * 4 * 4 * 2.0 * 0.8 * 0.5 / 1000
    mask = box(LARGE, SMALL)
    assert np.array_equal(operated(mask, RemoveSmallIslands(small_ml * 1.001), AFFINE), box(LARGE))
    assert np.array_equal(operated(mask, RemoveSmallIslands(small_ml * 0.999), AFFINE), mask)
    with pytest.raises(PromptError, match="Nothing of the structure would be left"):
        operated(mask, RemoveSmallIslands(100.0), AFFINE)


def test_the_island_that_was_clicked_stays():
    position = (AFFINE @ [12.4, 42, 51, 1])[:3]
    assert np.array_equal(operated(box(LARGE, SMALL), KeepIslandAt(tuple(position)), AFFINE), box(SMALL))
    with pytest.raises(PromptError, match="nothing of it lies there"):
        operated(box(LARGE, SMALL), KeepIslandAt((0.0, 0.0, 0.0)), AFFINE)


def test_a_cavity_is_filled_in_3d_and_a_tunnel_on_the_slices_it_runs_across():
    cavity, tunnel = ((4, 15, 15), (6, 20, 20)), ((2, 22, 22), (8, 25, 25))
    mask = box(LARGE) & ~box(cavity) & ~box(tunnel)
    assert np.array_equal(operated(mask, FillHoles(), AFFINE), box(LARGE) & ~box(tunnel))
    assert np.array_equal(operated(mask, FillHoles(axis=0), AFFINE), box(LARGE))
    across = box(LARGE) & ~box(((2, 22, 10), (8, 25, 30)))
    assert np.array_equal(operated(across, FillHoles(axis=0), AFFINE), across)


def test_smoothing_is_in_mm_takes_off_a_spike_and_leaves_a_straight_edge_of_the_study_alone():
    slab = box(((0, 0, 0), (10, 60, 80)))
    spike = box(((10, 30, 40), (14, 31, 41)))
    assert np.array_equal(operated(slab | spike, Smooth(3.0), AFFINE), slab)
    fine = operated(box(LARGE), Smooth(0.1), AFFINE)
    assert np.array_equal(fine, box(LARGE))
    with pytest.raises(PromptError, match="up to 20 mm"):
        Smooth(21.0)
