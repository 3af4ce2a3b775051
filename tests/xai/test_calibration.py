from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import CalibrationErrorMetric

import xai.calibration
from prompts.errors import GeometryError
from xai.calibration import (
    brier_score,
    fit_dropout_temperature,
    fit_temperature,
    mean_of_scaled_passes,
    measure_reliability,
    surface_band,
)
from xai.errors import EmptyStructureError, UncertaintyError
from xai.surface import signed_distance_mm

EIGHT_OF_TEN = np.array([1] * 8 + [0] * 2, dtype=bool)


def test_eight_of_ten_at_probability_0_8_is_calibrated() -> None:
    diagram = measure_reliability(np.full(10, 0.8), EIGHT_OF_TEN)
    assert diagram.expected_calibration_error == pytest.approx(0.0, abs=1e-6)
    assert diagram.count.sum() == 10


def test_two_bins_by_hand() -> None:
    probability = np.array([0.95] * 10 + [0.35] * 30)
    truth = np.concatenate([[True] * 5 + [False] * 5, [True] * 12 + [False] * 18])
    diagram = measure_reliability(probability, truth, bins=10)
    assert diagram.count[9] == 10
    assert diagram.count[3] == 30
    assert diagram.expected_calibration_error == pytest.approx((10 * 0.45 + 30 * 0.05) / 40, abs=1e-6)
    assert diagram.maximum_calibration_error == pytest.approx(0.45, abs=1e-6)
    assert np.isnan(diagram.confidence[0])
    assert diagram.edges[-1] == 1.0


def test_the_error_agrees_with_monais_metric() -> None:
    generator = np.random.default_rng(0)
    probability = generator.random((1, 1, 20, 21, 22)).astype(np.float32)
    truth = generator.random(probability.shape) < probability**2
    metric = CalibrationErrorMetric(num_bins=15)
    metric(torch.from_numpy(probability), torch.from_numpy(truth.astype(np.float32)))
    ours = measure_reliability(probability, truth).expected_calibration_error
    assert ours == pytest.approx(float(metric.aggregate()), abs=1e-6)
    assert ours > 0.1


def test_binning_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    probability = generator.random(1000)
    truth = generator.random(1000) < 0.4
    whole = measure_reliability(probability, truth)
    monkeypatch.setattr(xai.calibration, "_CHUNK", 64)
    pieces = measure_reliability(probability, truth)
    np.testing.assert_array_equal(pieces.count, whole.count)
    np.testing.assert_allclose(pieces.frequency, whole.frequency, atol=1e-6)


def test_background_hides_an_overconfident_surface_and_the_band_shows_it() -> None:
    distance = np.linalg.norm(np.stack(np.indices((40, 40, 40)), axis=-1) - 19.5, axis=-1)
    truth = distance < 8
    probability = np.where(distance < 10, 0.99, 0.0)  # two voxels too large and sure of it
    band = surface_band(truth, (1.0, 1.0, 1.0), band_mm=3.0)
    near = measure_reliability(probability, truth, within=band).expected_calibration_error
    everywhere = measure_reliability(probability, truth).expected_calibration_error
    assert near > 0.25
    assert everywhere < near / 5


def test_the_band_holds_what_is_near_the_surface_in_mm() -> None:
    mask = np.indices((20, 12, 12))[0] < 10
    band = surface_band(mask, (2.5, 0.7, 0.9), band_mm=5.0)
    assert list(np.flatnonzero(band[:, 0, 0])) == [7, 8, 9, 10, 11]  # the outermost layer is 9; 5 mm are two layers
    np.testing.assert_array_equal(band, np.abs(signed_distance_mm(mask, (2.5, 0.7, 0.9))) <= 5.0)


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_logits_that_are_k_times_too_large_need_temperature_k(factor: float) -> None:
    # three of four true where the honest logit is ln 3, one of four where it is −ln 3
    honest = np.repeat([np.log(3), -np.log(3)], 400)
    truth = np.concatenate([np.arange(400) % 4 < 3, np.arange(400) % 4 == 0])
    assert fit_temperature(factor * honest, truth) == pytest.approx(factor, rel=1e-6)


def test_the_fitted_temperature_mends_the_calibration_error() -> None:
    generator = np.random.default_rng(3)
    honest = generator.normal(0, 2, 20000)
    truth = generator.random(20000) < 1 / (1 + np.exp(-honest))
    overconfident = 1 / (1 + np.exp(-3 * honest))
    mended = 1 / (1 + np.exp(-3 * honest / fit_temperature(3 * honest, truth)))
    assert measure_reliability(overconfident, truth).expected_calibration_error > 0.05
    assert measure_reliability(mended, truth).expected_calibration_error < 0.02


def test_temperatures_that_do_not_exist_are_refused() -> None:
    truth = np.array([True, True, False, False])
    with pytest.raises(UncertaintyError, match="perfectly"):
        fit_temperature([2.0, 1.0, -1.0, -3.0], truth)
    with pytest.raises(UncertaintyError, match="opposite"):
        fit_temperature([-2.0, 1.0, 1.0, 3.0], truth)
    with pytest.raises(UncertaintyError, match="finite"):
        fit_temperature([np.inf, 1.0, 1.0, -3.0], truth)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(UncertaintyError, match="temperature"):
        mean_of_scaled_passes([[0.4]], temperature)


def test_logits_other_shapes_and_empty_bands_are_refused() -> None:
    truth = np.array([True, False])
    with pytest.raises(UncertaintyError, match="probabilities"):
        measure_reliability([3.0, 0.1], truth)
    with pytest.raises(UncertaintyError, match="bin"):
        measure_reliability([0.3, 0.1], truth, bins=0)
    with pytest.raises(GeometryError, match="one shape"):
        measure_reliability([0.3], truth)
    with pytest.raises(EmptyStructureError, match="widen the band"):
        measure_reliability([0.3, 0.1], truth, within=[False, False])
    with pytest.raises(UncertaintyError, match="band_mm"):
        surface_band(np.eye(3, dtype=bool), (1.0, 1.0), band_mm=-1.0)


def test_average_calibration_error_is_monais_and_counts_every_filled_bin_alike():
    generator = np.random.default_rng(3)
    probability = generator.beta(0.4, 0.4, 5000).astype(np.float32)
    truth = generator.random(5000) < probability**2
    diagram = measure_reliability(probability, truth, bins=15)
    for reduction, ours in (
        ("average", diagram.average_calibration_error),
        ("expected", diagram.expected_calibration_error),
        ("maximum", diagram.maximum_calibration_error),
    ):
        metric = CalibrationErrorMetric(num_bins=15, calibration_reduction=reduction)
        shape = (1, 1, 50, 100)
        metric(torch.from_numpy(probability.reshape(shape)), torch.from_numpy(truth.reshape(shape).astype(np.float32)))
        assert float(metric.aggregate()) == pytest.approx(ours, abs=1e-5)


def test_brier_score_by_hand():
    assert brier_score([1.0, 0.0, 0.5, 0.5], [True, False, True, False]) == 0.125
    assert brier_score([0.5, 1.0], [True, False], within=[True, False]) == 0.25
    with pytest.raises(UncertaintyError, match="in \\[0, 1\\]"):
        brier_score([1.5], [True])


@pytest.mark.parametrize("factor", [0.4, 1.0, 2.5])
def test_passes_that_agree_need_the_temperature_of_one_of_them(factor: float) -> None:
    logits = factor * np.repeat([np.log(3), -np.log(3)], 400)
    truth = np.concatenate([np.arange(400) % 4 < 3, np.arange(400) % 4 == 0])
    runs = np.tile(logits, (3, 1))
    assert fit_dropout_temperature(runs, truth) == pytest.approx(factor, rel=1e-3)
    np.testing.assert_allclose(mean_of_scaled_passes(runs, factor)[[0, 400]], [0.75, 0.25], atol=1e-6)


def test_the_temperature_that_made_the_reference_is_found_again_from_passes_that_differ() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, 40_000) + rng.normal(0, 1, (8, 40_000))
    truth = rng.random(40_000) < (1 / (1 + np.exp(-honest))).mean(axis=0)
    runs = 3 * honest
    found = fit_dropout_temperature(runs, truth)
    assert found == pytest.approx(3, rel=0.05)
    before = measure_reliability(mean_of_scaled_passes(runs, 1.0), truth).expected_calibration_error
    after = measure_reliability(mean_of_scaled_passes(runs, found), truth).expected_calibration_error
    assert after < 0.01 < before


def test_outside_the_crop_the_probability_stays_0_and_the_temperature_is_as_without_it() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (4, 2000))
    truth = rng.random(2000) < 1 / (1 + np.exp(-logits[0] / 2))
    unseen = np.full((4, 50), -np.inf)
    with_unseen = fit_dropout_temperature(np.hstack([logits, unseen]), np.append(truth, np.ones(50, dtype=bool)))
    assert with_unseen == pytest.approx(fit_dropout_temperature(logits, truth), rel=1e-3)
    np.testing.assert_array_equal(mean_of_scaled_passes(unseen, 7.0), np.zeros(50))


def test_passes_that_no_temperature_corrects_are_refused() -> None:
    truth = np.array([True, True, False, False])
    for right in (2.0, -2.0):
        with pytest.raises(UncertaintyError, match="no temperature is best"):
            fit_dropout_temperature(np.tile(np.where(truth, right, -right), (2, 1)), truth)
    with pytest.raises(UncertaintyError, match="NaN"):
        fit_dropout_temperature(np.full((2, 4), np.nan), truth)
    with pytest.raises(UncertaintyError, match="positive"):
        mean_of_scaled_passes(np.zeros((2, 4)), 0.0)
    with pytest.raises(GeometryError, match=r"\(T, N\)"):
        fit_dropout_temperature(np.full(4, 0.5), truth)
    with pytest.raises(EmptyStructureError):
        fit_dropout_temperature(np.zeros((2, 0)), np.zeros(0, dtype=bool))
