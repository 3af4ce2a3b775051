"""Agreement of readers against published examples, and intervals that hold as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.agreement import (
    bland_altman,
    cases_needed,
    fleiss_kappa,
    intraclass_correlation,
    non_inferiority,
)

SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
"""Six targets by four judges, Shrout and Fleiss 1979, table 2."""
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
"""Ten subjects by five categories, counts of fourteen raters: the worked example of Fleiss' κ, 0.210."""
DRAWS = 2000
OFF = 3 * np.sqrt(0.95 * 0.05 / DRAWS)


def test_the_published_correlations_of_four_judges_are_reproduced() -> None:
    agreement = intraclass_correlation(SHROUT_FLEISS)
    consistency = intraclass_correlation(SHROUT_FLEISS, kind="consistency")
    assert round(agreement.value, 2) == 0.29 and round(consistency.value, 2) == 0.71
    assert (round(agreement.low, 2), round(agreement.high, 2)) == (0.02, 0.76)
    assert (round(consistency.low, 2), round(consistency.high, 2)) == (0.34, 0.95)


def test_readers_who_agree_in_all_have_a_correlation_of_one_and_a_bias_lowers_agreement_only() -> None:
    same = np.repeat(np.arange(6.0)[:, None], 3, axis=1)
    assert intraclass_correlation(same).value == intraclass_correlation(same, kind="consistency").value == 1
    biased = same + np.array([0, 2, 4])
    assert intraclass_correlation(biased, kind="consistency").value == 1
    assert intraclass_correlation(biased).value < 0.6


def test_the_worked_example_of_kappa_is_reproduced() -> None:
    raters = [np.repeat(np.arange(5), counts) for counts in FLEISS]
    assert round(fleiss_kappa(raters), 3) == 0.210
    assert fleiss_kappa([["yes", "yes"], ["no", "no"]]) == 1


def test_limits_of_agreement_are_those_of_a_normal_difference() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    found = bland_altman(values + np.array([0.5, -0.5, 0.5, -0.5]), values)
    spread = np.sqrt(4 * 0.25 / 3)
    assert found.bias == 0 and found.upper_limit == pytest.approx(1.959964 * spread) == -found.lower_limit


@pytest.mark.slow
def test_the_intervals_hold_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    held = {"icc": 0, "bias": 0, "not worse": 0}
    for _ in range(DRAWS):
        case = random.normal(0, 1, (20, 1))
        ratings = case + random.normal(0, 0.5, (20, 3))  # ICC(3,1) = 1 / 1.25
        found = intraclass_correlation(ratings, kind="consistency")
        held["icc"] += found.low <= 0.8 <= found.high
        low, high = bland_altman(ratings[:, 0] + 0.3, ratings[:, 1]).bias_interval
        held["bias"] += low <= 0.3 <= high
        worse = random.normal(-0.1, 0.2, 15)  # exactly at the margin: the test may err in 2.5 %
        held["not worse"] += non_inferiority(worse, np.zeros(15), margin=0.1).is_shown
    assert held["icc"] / DRAWS == pytest.approx(0.95, abs=OFF)
    assert held["bias"] / DRAWS == pytest.approx(0.95, abs=OFF)
    assert held["not worse"] / DRAWS == pytest.approx(0.025, abs=3 * np.sqrt(0.025 * 0.975 / DRAWS))


@pytest.mark.slow
def test_the_number_of_cases_said_beforehand_gives_the_power() -> None:
    cases = cases_needed(margin=0.05, spread=0.08)
    assert cases == 23  # (z + z)² of the normal is 20.1; t adds the rest
    random = np.random.default_rng(1)
    shown = [
        non_inferiority(random.normal(0, 0.08, cases), np.zeros(cases), margin=0.05).is_shown for _ in range(DRAWS)
    ]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.03)


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(ConfigError, match="two or more cases"):
        intraclass_correlation([[1.0, np.nan], [2.0, 3.0]])
    with pytest.raises(ConfigError, match="not defined"):
        intraclass_correlation(np.ones((4, 3)))
    with pytest.raises(ConfigError, match="more than one category"):
        fleiss_kappa([["yes", "yes"], ["yes", "yes"]])
    with pytest.raises(ConfigError, match="same three or more cases"):
        bland_altman([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(ConfigError, match="margin greater than 0"):
        non_inferiority([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], margin=0.0)
    with pytest.raises(ConfigError, match="no number of cases"):
        cases_needed(margin=0.05, spread=0.08, difference=-0.05)
