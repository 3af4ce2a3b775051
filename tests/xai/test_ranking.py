"""Does doubt point at errors? Cases that can be worked out on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prompts.errors import GeometryError
from xai.errors import EmptyStructureError, UncertaintyError
from xai.ranking import area_under_sparsification_error, rank_correlation, unranked_area_under_sparsification_error


def test_a_perfect_ranking_leaves_no_area() -> None:
    error = np.array([0.0, 3.0, 1.0, 2.0, 5.0])
    assert area_under_sparsification_error(error**3, error) == pytest.approx(0.0, abs=1e-12)


def test_three_voxels_by_hand() -> None:
    # Kept after removing 0, 1, 2 by doubt: {1, 0, 0}, {1, 0}, {1}: means 1/3, 1/2, 1. By error: 1/3, 0, 0.
    doubt, error = np.array([0.1, 0.5, 0.9]), np.array([1.0, 0.0, 0.0])
    expected = (0 + 1 / 2 + 1) / 3 / (1 / 3)
    assert area_under_sparsification_error(doubt, error) == pytest.approx(expected)


@pytest.mark.parametrize(("wrong", "voxels"), [(1, 2), (3, 10), (50, 200)])
def test_constant_uncertainty_has_the_closed_form_of_no_ranking(wrong: int, voxels: int) -> None:
    error = np.arange(voxels) < wrong
    harmonic = sum(1 / n for n in range(voxels - wrong + 1, voxels + 1))
    exact = (voxels - wrong) / wrong * harmonic
    assert area_under_sparsification_error(np.ones(voxels), error) == pytest.approx(exact)
    assert unranked_area_under_sparsification_error(error) == pytest.approx(exact)


def test_random_uncertainty_comes_to_minus_one_minus_r_over_r_times_the_logarithm() -> None:
    rng = np.random.default_rng(0)
    rate = 0.2
    error = rng.random(200_000) < rate
    limit = -(1 - rate) / rate * math.log(1 - rate)
    assert area_under_sparsification_error(rng.random(200_000), error) == pytest.approx(limit, abs=0.02)


def test_ties_are_broken_by_nobody() -> None:
    # The order in which equal doubts are stored must not matter.
    doubt, error = np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 1.0])
    turned = area_under_sparsification_error(doubt[::-1], error[::-1])
    assert area_under_sparsification_error(doubt, error) == pytest.approx(turned)


def test_uncertainty_that_grows_where_the_error_falls_is_worse_than_none() -> None:
    error = np.linspace(0, 1, 50)
    assert area_under_sparsification_error(-error, error) > unranked_area_under_sparsification_error(error)


def test_the_area_does_not_depend_on_the_unit_of_either() -> None:
    rng = np.random.default_rng(1)
    doubt, error = rng.random(100), rng.random(100)
    first = area_under_sparsification_error(doubt, error)
    assert area_under_sparsification_error(np.exp(4 * doubt), 7 * error) == pytest.approx(first)


def test_ranks_of_the_same_order_correlate_fully_and_of_the_opposite_order_fully_the_other_way() -> None:
    doubt = np.array([0.1, 0.4, 0.2, 0.9])
    assert rank_correlation(doubt, doubt**3) == pytest.approx(1.0)
    assert rank_correlation(doubt, -doubt) == pytest.approx(-1.0)


def test_the_correlation_with_right_and_wrong_by_hand() -> None:
    # Ranks of the doubt 1, 2, 3, 4; of the error 1.5, 1.5, 3.5, 3.5: covariance 1, variances 5/4 and 1.
    assert rank_correlation([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]) == pytest.approx(2 / math.sqrt(5))


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(UncertaintyError, match="a constant one"):
        rank_correlation(np.zeros(4), [0, 1, 0, 1])
    with pytest.raises(UncertaintyError, match="error somewhere"):
        area_under_sparsification_error([0.1, 0.2], [0.0, 0.0])
    with pytest.raises(UncertaintyError, match="at least 0"):
        area_under_sparsification_error([0.1, 0.2], [-1.0, 1.0])
    with pytest.raises(UncertaintyError, match="finite"):
        rank_correlation([0.1, np.nan], [0.0, 1.0])
    with pytest.raises(GeometryError):
        rank_correlation([0.1, 0.2], [1.0])
    with pytest.raises(EmptyStructureError):
        unranked_area_under_sparsification_error([])
