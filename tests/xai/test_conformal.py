"""Scores against arithmetic and brute force; the quantile against hand-counted patients."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from prompts.affine import lps_from_index
from prompts.errors import GeometryError
from xai.conformal import (
    TooFewPatientsError,
    conformal_quantile,
    coverage_law,
    inner_nonconformity_score,
    joint_score,
    nonconformity_score,
    patients_needed,
    smallest_alpha,
    stretch,
)
from xai.errors import EmptyStructureError, UncertaintyError
from xai.weighted_distance import widened_mask

UNIT = (1.0, 1.0, 1.0)
ANISOTROPIC = (2.5, 0.7, 0.9)


def ball(radius_mm: float, spacing: tuple[float, float, float], shape: tuple[int, int, int]) -> np.ndarray:
    index = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), axis=-1)
    return np.linalg.norm(index * np.asarray(spacing), axis=-1) <= radius_mm


def blob(generator: np.random.Generator, shape=(9, 14, 12), share=0.15) -> np.ndarray:
    noise = ndimage.gaussian_filter(generator.standard_normal(shape), 1.6)
    return noise > np.quantile(noise, 1 - share)


def by_brute_force(truth, predicted, u, positions) -> float:
    """The definition, word by word, on positions (K, J, I, 3) in mm."""
    if not truth.any():
        return 0.0
    if not predicted.any():
        return math.inf
    y, z, reach = positions[truth], positions[predicted], u[predicted]
    return float((np.linalg.norm(y[:, None] - z[None], axis=-1) / reach).min(axis=1).max())


def positions_of(affine, shape) -> np.ndarray:
    return lps_from_index(affine, np.stack(np.indices(shape), axis=-1).reshape(-1, 3)).reshape(*shape, 3)


def test_a_slab_three_millimetres_too_thin_scores_three():
    truth, found = np.zeros((21, 5, 5), dtype=bool), np.zeros((21, 5, 5), dtype=bool)
    truth[2:19], found[5:16] = True, True
    assert nonconformity_score(truth, found, np.ones(truth.shape), UNIT) == 3.0
    assert nonconformity_score(truth, found, np.full(truth.shape, 2.0), UNIT) == 1.5
    assert nonconformity_score(truth, found, np.ones(truth.shape), (0.7, 1, 1)) == pytest.approx(2.1)


def test_a_ball_three_millimetres_too_small_scores_three_to_within_the_voxels():
    truth, found = ball(8, UNIT, (21, 21, 21)), ball(5, UNIT, (21, 21, 21))
    assert 3.0 <= nonconformity_score(truth, found, np.ones(truth.shape), UNIT) <= 3.0 + math.sqrt(3)


def test_a_prediction_that_holds_the_reference_scores_nothing():
    truth, found = ball(5, UNIT, (21, 21, 21)), ball(8, UNIT, (21, 21, 21))
    assert nonconformity_score(truth, found, np.ones(truth.shape), UNIT) == 0.0
    assert nonconformity_score(truth, truth, np.ones(truth.shape), UNIT) == 0.0


def test_a_missed_structure_scores_infinity_and_an_absent_one_nothing():
    truth, nothing, u = ball(4, UNIT, (11, 11, 11)), np.zeros((11, 11, 11), bool), np.ones((11, 11, 11))
    assert nonconformity_score(truth, nothing, u, UNIT) == math.inf
    assert nonconformity_score(nothing, truth, u, UNIT) == 0.0
    assert nonconformity_score(nothing, nothing, u, UNIT) == 0.0


def test_the_wide_voxel_wins_over_the_near_one():
    truth, found, u = (np.zeros((1, 1, 9), dtype=bool) for _ in range(3))
    truth[0, 0, 4] = found[0, 0, 2] = found[0, 0, 8] = True
    u = np.ones(truth.shape)
    assert nonconformity_score(truth, found, u, UNIT) == pytest.approx(2.0)
    u[0, 0, 8] = 4.0
    assert nonconformity_score(truth, found, u, UNIT) == pytest.approx(1.0)
    assert nonconformity_score(truth, found, u, (1, 1, 0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_brute_force_in_the_patient_on_an_oblique_left_handed_grid(seed, oblique_affine):
    generator = np.random.default_rng(seed)
    truth, found = blob(generator), blob(generator)
    u = np.exp(generator.normal(0, 0.7, truth.shape)) if seed % 2 else generator.choice([0.5, 1.0, 3.0], truth.shape)
    spacing = np.linalg.norm(oblique_affine[:3, :3], axis=0)
    positions = positions_of(oblique_affine, truth.shape)
    assert nonconformity_score(truth, found, u, spacing) == pytest.approx(
        by_brute_force(truth, found, u, positions), rel=1e-9
    )
    assert inner_nonconformity_score(truth, found, u, spacing) == pytest.approx(
        by_brute_force(~truth, ~found, u, positions), rel=1e-9
    )


@pytest.mark.parametrize("seed", range(12))
def test_the_widened_structure_holds_the_reference_exactly_when_the_score_is_within_the_quantile(seed, oblique_affine):
    generator = np.random.default_rng(100 + seed)
    truth, found = blob(generator), blob(generator)
    u = np.exp(generator.normal(0, 0.5, truth.shape))
    spacing = np.linalg.norm(oblique_affine[:3, :3], axis=0)
    positions = positions_of(oblique_affine, truth.shape)
    score = nonconformity_score(truth, found, u, spacing)
    for q in (0.5 * score, 0.999 * score, score, 1.001 * score, 2 * score):
        room = np.linalg.norm(positions[..., None, :] - positions[found], axis=-1) - q * u[found]
        widened = widened_mask(found, u, q, spacing)
        assert not (widened ^ (room.min(axis=-1) <= 0))[np.abs(room.min(axis=-1)) > 1e-9].any()
        assert bool(widened[truth].all()) == (score <= q)


def test_a_wrong_score_would_be_noticed(oblique_affine):
    """The equivalence above fails for a score that reads u at the truth instead of at the prediction."""
    generator = np.random.default_rng(3)
    truth, found, u = blob(generator), blob(generator), np.exp(generator.normal(0, 0.5, (9, 14, 12)))
    spacing = np.linalg.norm(oblique_affine[:3, :3], axis=0)
    wrong = (ndimage.distance_transform_edt(~found, sampling=spacing) / u)[truth].max()
    assert bool(widened_mask(found, u, wrong, spacing)[truth].all()) != (
        nonconformity_score(truth, found, u, spacing) > wrong * (1 + 1e-9)
    )
    assert nonconformity_score(truth, found, u, spacing) != pytest.approx(wrong, rel=1e-3)


def test_a_large_organ_takes_seconds_and_not_pairs_of_voxels():
    truth, found = ball(70, (1.5, 0.8, 0.8), (110, 190, 190)), ball(62, (1.5, 0.8, 0.8), (110, 190, 190))
    u = 1 + 0.5 * np.sin(np.indices(truth.shape).sum(axis=0) / 17.0)
    began = time.perf_counter()
    score = nonconformity_score(truth, found, u, (1.5, 0.8, 0.8))
    assert 8.0 / 1.5 < score < 9.0 / 0.5
    assert time.perf_counter() - began < 60  # 1.1 million true by 100,000 surface voxels would take hours


def test_u_is_read_in_the_prediction_only():
    truth, found = ball(6, UNIT, (17, 17, 17)), ball(4, UNIT, (17, 17, 17))
    u = np.where(found, 1.0, np.nan)
    everywhere = nonconformity_score(truth, found, np.ones(truth.shape), UNIT)
    assert nonconformity_score(truth, found, u, UNIT) == everywhere > 0
    u[8, 8, 8] = 0.0
    with pytest.raises(UncertaintyError, match="u > 0"):
        nonconformity_score(truth, found, u, UNIT)


def test_grids_that_do_not_fit_are_refused():
    mask = ball(3, UNIT, (9, 9, 9))
    with pytest.raises(GeometryError, match="one 3D grid"):
        nonconformity_score(mask, mask[1:], np.ones(mask.shape), UNIT)
    with pytest.raises(GeometryError, match="3 positive spacings"):
        nonconformity_score(mask, np.roll(mask, 1), np.ones(mask.shape), (1.0, 0.0, 1.0))


def test_a_corridor_predicted_too_wide_is_scored_by_how_far():
    truth, found = ball(5, UNIT, (21, 21, 21)), ball(8, UNIT, (21, 21, 21))
    score = inner_nonconformity_score(truth, found, np.ones(truth.shape), UNIT)
    inner = ~widened_mask(~found, np.ones(truth.shape), score, UNIT)
    assert inner.any()
    assert not (inner & ~truth).any()
    assert (~widened_mask(~found, np.ones(truth.shape), 0.99 * score, UNIT) & ~truth).any()
    assert inner_nonconformity_score(truth, np.ones_like(truth), np.ones(truth.shape), UNIT) == math.inf


def test_the_quantile_is_the_kth_smallest_and_not_an_interpolation():
    scores = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0]
    assert conformal_quantile(scores, 0.1) == 9.0  # k = 10 * 0.9 = 9 of 9
    assert conformal_quantile(scores, 0.2) == 8.0
    assert conformal_quantile(scores, 0.5) == 5.0
    assert conformal_quantile([*scores, math.inf], 0.1) == math.inf
    assert conformal_quantile([*scores, math.inf], 0.25) == 9.0
    assert np.quantile(scores, 0.9) < conformal_quantile(scores, 0.1)


@pytest.mark.parametrize(("alpha", "patients"), [(0.10, 9), (0.05, 19), (0.01, 99), (0.2, 4), (1 - 0.9, 9)])
def test_too_few_patients_are_refused_with_the_number_that_is_needed(alpha, patients):
    assert patients_needed(alpha) == patients
    assert conformal_quantile(np.arange(patients, dtype=float), alpha) == patients - 1
    with pytest.raises(TooFewPatientsError, match=f"at least {patients} calibration patients, there are"):
        conformal_quantile(np.arange(patients - 1, dtype=float), alpha)
    assert issubclass(TooFewPatientsError, ValueError)


def test_no_patients_at_all_are_too_few():
    with pytest.raises(TooFewPatientsError, match="there are 0"):
        conformal_quantile([], 0.1)


@given(st.integers(1, 3000), st.integers(1, 999))
@settings(deadline=None)
def test_k_is_that_of_exact_arithmetic(patients, thousandths):
    from fractions import Fraction

    exact = math.ceil((patients + 1) * (1 - Fraction(thousandths, 1000)))
    if exact > patients:
        with pytest.raises(TooFewPatientsError):
            coverage_law(patients, thousandths / 1000)
        assert patients < patients_needed(thousandths / 1000)
    else:
        assert coverage_law(patients, thousandths / 1000).k == exact
        assert smallest_alpha(patients) <= thousandths / 1000 + 1e-12


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, float("nan")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(UncertaintyError, match="between 0 and 1"):
        conformal_quantile([1.0] * 50, alpha)


def test_scores_that_are_no_scores_are_refused():
    for wrong in (-1.0, float("nan")):
        with pytest.raises(UncertaintyError, match=">= 0"):
            conformal_quantile([1.0] * 20 + [wrong], 0.1)
        with pytest.raises(UncertaintyError, match=">= 0"):
            joint_score([1.0, wrong])


def test_structures_hold_together_with_the_largest_of_their_scores():
    assert joint_score([1.0, 3.0, 2.0]) == 3.0
    assert joint_score([1.0, math.inf]) == math.inf


def test_coverage_of_nineteen_patients_at_95_percent_is_beta_19_1():
    law = coverage_law(19, 0.05)
    assert (law.k, law.mean) == (19, 0.95)
    low, high = law.interval(0.9)
    assert low == pytest.approx(0.05 ** (1 / 19))  # Beta(19, 1) has the distribution function x ** 19
    assert high == pytest.approx(0.95 ** (1 / 19))


def test_stretch_counts_what_is_widened_beyond_the_grid():
    truth = np.ones((1, 1, 4), dtype=bool)
    assert stretch(truth, truth, np.ones(truth.shape), 0.0, UNIT) == 1.0
    assert stretch(truth, truth, np.ones(truth.shape), 1.0, UNIT) == (4 + 4 * 4 + 2) / 4
    assert stretch(truth, truth, np.ones(truth.shape), math.inf, UNIT) == math.inf
    assert stretch(truth, np.zeros_like(truth), np.ones(truth.shape), 3.0, UNIT) == 0.0
    assert stretch(truth, np.zeros_like(truth), np.ones(truth.shape), math.inf, UNIT) == math.inf


def test_no_finite_margin_finds_a_missed_structure_and_an_infinite_one_holds_everything():
    nothing, u = np.zeros((3, 4, 5), dtype=bool), np.ones((3, 4, 5))
    assert not widened_mask(nothing, u, 1e6, UNIT).any()
    assert widened_mask(nothing, u, math.inf, UNIT).all()


def test_an_empty_reference_has_no_stretch():
    truth = np.ones((1, 1, 4), dtype=bool)
    with pytest.raises(EmptyStructureError):
        stretch(np.zeros_like(truth), truth, np.ones(truth.shape), 1.0, UNIT)
