"""Why here: the explanation of one piece of a surface, with the shipped weights."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

import medsam_planner as mp
from medsam_planner.errors import SaliencyError
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.segmentation.surface_explanation import nearest_surface_lps_mm
from prompts import Box

SHAPE, CENTRE, RADII = (18, 64, 64), (9, 32, 30), (6, 14, 11)


@pytest.fixture(scope="module")
def affine():
    """Oblique, anisotropic and left-handed."""
    angle = np.deg2rad(20.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn[:, ::-1] * np.array([2.5, 0.8, 0.8])
    matrix[:3, 3] = (-20, 35, 100)
    return matrix


@pytest.fixture(scope="module")
def explained(affine):
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    solid = (((index - np.array(CENTRE)) / np.array(RADII)) ** 2).sum(-1) <= 1
    values = np.where(solid, 120.0, 20.0) + np.random.default_rng(0).normal(0, 12, SHAPE)
    session = mp.Session(highdicom.Volume(values.astype(np.float32), affine, "PATIENT"), seed=3)
    section = np.argwhere(solid[CENTRE[0]])
    low, high = section.min(0) - 1, section.max(0) + 1
    session.add(Box(lps_from_index(affine, (CENTRE[0], *low)), lps_from_index(affine, (CENTRE[0], *high))))
    asked = lps_from_index(affine, (11.0, 55.0, 30.0))
    return session, asked, session.why_here(asked)


def test_it_explains_the_surface_nearest_to_the_place(explained, affine):
    _, _, why = explained
    index = index_from_lps(affine, why.place_lps_mm)
    assert index[1] == pytest.approx(CENTRE[1] + RADII[1], abs=3)
    assert abs(why.slice_index - index[why.axis]) <= 1
    rows, _ = np.nonzero(why.patch)
    middle = np.nonzero(why.mask)[0].mean()
    assert (rows > middle).mean() > 0.95  # one side only
    assert 0 < why.patch.sum() < 0.3 * why.patch.size


def test_both_maps_are_scaled_finite_and_of_the_size_of_the_field(explained):
    _, _, why = explained
    for shown in (why.image, why.mask, why.patch, why.grad_cam, why.shap):
        assert shown.shape == (why.crop.size, why.crop.size) and np.isfinite(shown).all()
    assert why.grad_cam.min() >= 0 and why.grad_cam.max() == 1
    assert np.abs(why.shap).max() == pytest.approx(1)


def test_both_maps_explain_more_than_a_map_that_is_the_same_everywhere(explained):
    _, _, why = explained
    assert set(why.metrics) == {"grad_cam", "shap"}
    for figures in why.metrics.values():
        assert 0 <= figures["infidelity"] <= 1 and 0 <= figures["infidelity_of_chance"] <= 1
    assert why.metrics["shap"]["infidelity"] < why.metrics["shap"]["infidelity_of_chance"]


def test_the_same_session_gives_the_same_explanation(explained):
    session, asked, why = explained
    again = session.why_here(asked)
    np.testing.assert_array_equal(again.shap, why.shap)
    np.testing.assert_array_equal(again.grad_cam, why.grad_cam)
    assert again.metrics == why.metrics


def test_the_nearest_place_of_a_surface_is_found_and_an_empty_mask_refused(affine):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:10, 20:40, 20:40] = True
    place = nearest_surface_lps_mm(mask, affine, lps_from_index(affine, (7, 30, 60)))
    np.testing.assert_allclose(index_from_lps(affine, place), (7, 30, 39), atol=1e-9)
    with pytest.raises(SaliencyError, match="surface"):
        nearest_surface_lps_mm(np.zeros(SHAPE, dtype=bool), affine, (0, 0, 0))
