"""Comparison of modes over readers and cases: a published example, and what holds by construction."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.multi_reader import (
    Covariance,
    dorfman_berbaum_metz,
    jackknife,
    jackknife_covariance,
    obuchowski_rockette,
)

# Areas under the ROC curves of five readers in two modes of 114 patients (Van Dyke 1993), and their covariances, as the
# documentation of RJafroc states them (StSignificanceTesting of dataset02: Wilcoxon, OR, RRRC).
VAN_DYKE = [
    [0.91964573, 0.85877617, 0.90386473, 0.97310789, 0.82979066],
    [0.94782609, 0.90531401, 0.92173913, 0.99935588, 0.92995169],
]
VAN_DYKE_COVARIANCE = Covariance(
    0.00080228827, 0.00034661371, 0.00034407483, 0.00023902837, (0.0004839618, 0.00020418785)
)


def mean_score(scores: np.ndarray, cases: np.ndarray) -> float:
    return float(scores[cases].mean())


def area(scores: np.ndarray, cases: np.ndarray) -> float:
    """Under the ROC curve; the first half of the cases is diseased."""
    diseased = cases < 20
    above = scores[cases][diseased][:, None] - scores[cases][~diseased]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def scores_of(seed: int, shift: float = 0.0) -> np.ndarray:
    """Two modes, four readers, 40 cases, with effects of reader and case; the second mode is better by `shift`."""
    random = np.random.default_rng(seed)
    case, reader = random.normal(0, 1, 40), random.normal(0, 0.3, (4, 1))
    both = random.normal(0, 0.2, (2, 4, 1)) + random.normal(0, 0.4, (2, 1, 40))
    scores: np.ndarray = case + reader + both + random.normal(0, 0.5, (2, 4, 40))
    scores[1] += shift
    return scores


def test_the_published_example_of_two_modes_and_five_readers_is_reproduced() -> None:
    found = obuchowski_rockette(VAN_DYKE, VAN_DYKE_COVARIANCE)
    assert found.f_statistic == pytest.approx(4.4563187, rel=1e-6)
    assert found.degrees_of_freedom == pytest.approx((1, 15.259675), rel=1e-6)
    assert found.p_value == pytest.approx(0.051665686, rel=1e-6)
    between = found.differences[0, 1]
    assert (between.estimate, between.standard_error) == pytest.approx((-0.043800322, 0.020748618), rel=1e-6)
    assert (between.low, between.high) == pytest.approx((-0.087959499, 0.00035885444), abs=1e-8)
    first, second = found.means
    assert (first.estimate, first.standard_error, first.low) == pytest.approx((0.89703704, 0.033173597, 0.8252236))
    assert (second.degrees_of_freedom, second.high) == pytest.approx((12.71019, 0.98753689))


@pytest.mark.parametrize("merit", [mean_score, area])
def test_pseudovalues_and_the_covariance_of_the_jackknife_give_the_same_analysis(merit: object) -> None:
    merits, left_out = jackknife(scores_of(1, 0.3), merit)  # type: ignore[arg-type]
    theirs = obuchowski_rockette(merits, Covariance.of_matrix(jackknife_covariance(left_out)))
    ours = dorfman_berbaum_metz(merits, left_out)
    assert ours.f_statistic == pytest.approx(theirs.f_statistic)
    assert ours.degrees_of_freedom == pytest.approx(theirs.degrees_of_freedom)
    assert ours.differences[0, 1].low == pytest.approx(theirs.differences[0, 1].low)


def test_the_covariance_of_means_is_that_of_the_scores_over_the_number_of_cases() -> None:
    scores = scores_of(2)
    _, left_out = jackknife(scores, mean_score)
    whole = jackknife_covariance(left_out).reshape(8, 8)
    assert np.allclose(whole, np.cov(scores.reshape(8, 40)) / 40)


@pytest.mark.slow
def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says() -> None:
    draws = 400
    found = []
    for seed in range(draws):
        merits, left_out = jackknife(scores_of(seed, 0.5), mean_score)
        found.append(dorfman_berbaum_metz(merits, left_out).differences[0, 1])
    held = np.mean([one.low <= -0.5 <= one.high for one in found])
    assert held == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / draws))


@pytest.mark.parametrize("shape", [(1, 4, 40), (2, 1, 40), (2, 4, 2), (2, 40)])
def test_too_few_modes_readers_or_cases_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="two or more readers"):
        jackknife(np.zeros(shape), mean_score)


def test_a_missing_score_is_refused_and_equal_scores_differ_in_nothing() -> None:
    scores = np.ones((2, 3, 5))
    merits, left_out = jackknife(scores, mean_score)
    same = dorfman_berbaum_metz(merits, left_out)
    assert (same.f_statistic, same.p_value) == (0.0, 1.0)
    scores[0, 0, 0] = np.nan
    with pytest.raises(ConfigError, match="finite"):
        jackknife(scores, mean_score)
