"""Intervals over patients, on values whose result is known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.statistics import mean_over_patients, paired_difference, ratio_over_patients


def test_the_mean_is_over_structures_and_the_interval_over_patients():
    found = mean_over_patients([0.0, 0.0, 0.0, 1.0], ["a", "a", "a", "b"])
    assert found.mean == pytest.approx(0.25)
    assert (found.low, found.high) == (0.0, 1.0)  # drawing one patient twice gives either
    assert (found.structures, found.patients) == (4, 2)


def test_ten_structures_of_one_patient_say_no_more_than_one():
    values = np.random.default_rng(0).normal(0.7, 0.1, 12).tolist()
    names = [f"p{number}" for number in range(12)]
    once = mean_over_patients(values, names)
    repeated = mean_over_patients([value for value in values for _ in range(10)], [n for n in names for _ in range(10)])
    assert repeated.mean == pytest.approx(once.mean)
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=1e-6)


def test_one_patient_gives_a_mean_without_an_interval():
    found = mean_over_patients([0.5, 0.7], ["a", "a"])
    assert (found.mean, found.low, found.high) == (pytest.approx(0.6), None, None)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(60):
        effects = rng.normal(0, 1, 30)
        values = np.repeat(effects, 3) + rng.normal(0, 0.1, 90)
        found = mean_over_patients(values.tolist(), [str(n) for n in np.repeat(np.arange(30), 3)])
        inside += found.low <= 0 <= found.high
    assert inside >= 50


def test_a_constant_gain_is_found_and_tested_from_six_patients_on():
    ours, names = [0.5, 0.6, 0.7, 0.8, 0.4, 0.9], list("abcdef")
    better = paired_difference(ours, [value - 0.1 for value in ours], names)
    assert better.difference.mean == pytest.approx(0.1)
    assert (better.difference.low, better.difference.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert better.better_share == 1.0
    assert better.p_value == pytest.approx(2 / 2**6)  # all six signs alike, two-sided
    assert paired_difference(ours[:5], [0.0] * 5, names[:5]).p_value is None


def test_the_same_scores_differ_by_nothing():
    same = paired_difference([0.5] * 7, [0.5] * 7, list("abcdefg"))
    assert (same.difference.mean, same.p_value, same.better_share) == (0.0, None, 0.0)


def test_no_values_and_unequal_lengths_are_refused():
    with pytest.raises(ConfigError, match="values"):
        mean_over_patients([], [])
    with pytest.raises(ConfigError, match="patient"):
        mean_over_patients([0.5], [])
    with pytest.raises(ConfigError, match="both scores"):
        paired_difference([0.5], [], ["a"])


def test_a_ratio_is_of_the_means_and_certain_where_every_patient_has_it():
    baseline = [2.0, 4.0, 10.0]
    same = ratio_over_patients([value * 0.7 for value in baseline], baseline, ["a", "b", "c"])
    assert (same.mean, same.low, same.high) == pytest.approx((0.7, 0.7, 0.7))
    mixed = ratio_over_patients([1.0, 4.0, 15.0], baseline, ["a", "b", "c"])
    assert mixed.mean == pytest.approx(20 / 16)
    assert mixed.low == pytest.approx(0.5)
    assert mixed.high == pytest.approx(1.5)


def test_a_ratio_of_one_patient_has_no_interval_and_unequal_lengths_are_refused():
    assert ratio_over_patients([1.0, 2.0], [2.0, 4.0], ["a", "a"]).low is None
    with pytest.raises(ConfigError, match="got 2 and 1"):
        ratio_over_patients([1.0, 2.0], [1.0], ["a", "b"])
