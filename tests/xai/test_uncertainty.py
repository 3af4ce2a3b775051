from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xai.errors import UncertaintyError
from xai.uncertainty import EntropyAccumulator, expected_entropy, mutual_information, predictive_entropy

RUNS = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0, 1))


def test_a_fair_coin_is_one_bit_that_every_pass_shares() -> None:
    runs = np.full((4, 2, 3), 0.5)
    assert (predictive_entropy(runs) == 1.0).all()
    assert (expected_entropy(runs) == 1.0).all()
    assert (mutual_information(runs) == 0.0).all()


def test_certain_passes_that_contradict_each_other_are_one_bit_of_disagreement() -> None:
    runs = np.array([[0.0], [1.0], [0.0], [1.0]])
    assert predictive_entropy(runs) == 1.0
    assert expected_entropy(runs) == 0.0
    assert mutual_information(runs) == 1.0


def test_one_quarter_against_three_quarters_by_hand() -> None:
    runs = np.array([[0.25], [0.75]])
    quarter = 2 - 0.75 * np.log2(3)  # H(1/4) in bits
    np.testing.assert_allclose(expected_entropy(runs), quarter, rtol=1e-6)
    np.testing.assert_allclose(mutual_information(runs), 1 - quarter, rtol=1e-6)


def test_identical_passes_carry_no_mutual_information() -> None:
    run = np.random.default_rng(0).random((3, 4, 5))
    np.testing.assert_allclose(mutual_information(np.stack([run] * 7)), 0.0, atol=1e-7)


@settings(max_examples=60, deadline=None)
@given(runs=RUNS)
def test_entropies_are_bits_between_zero_and_one_and_disagreement_is_never_negative(runs: np.ndarray) -> None:
    total, shared, disagreement = predictive_entropy(runs), expected_entropy(runs), mutual_information(runs)
    assert (disagreement >= 0).all()
    for bits in (total, shared, disagreement):
        assert bits.dtype == np.float32
        assert ((bits >= 0) & (bits <= 1 + 1e-6)).all()
    np.testing.assert_allclose(total, shared + disagreement, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(runs=RUNS)
def test_structure_and_background_are_equally_uncertain_and_order_does_not_matter(runs: np.ndarray) -> None:
    np.testing.assert_allclose(mutual_information(runs), mutual_information(1 - runs), atol=1e-6)
    np.testing.assert_allclose(predictive_entropy(runs), predictive_entropy(runs[::-1]), atol=1e-6)


def test_passes_added_one_at_a_time_give_what_the_array_gives() -> None:
    runs = np.random.default_rng(1).random((5, 2, 3, 4)).astype(np.float32)
    total = EntropyAccumulator((2, 3, 4))
    for run in runs:
        total.add(run)
    assert total.passes == 5
    np.testing.assert_array_equal(total.predictive_entropy, predictive_entropy(iter(runs)))
    np.testing.assert_array_equal(total.mutual_information, mutual_information(runs))
    np.testing.assert_allclose(total.probability, runs.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, 7.5])
def test_logits_and_broken_probabilities_are_refused(value: float) -> None:
    with pytest.raises(UncertaintyError, match="sigmoid"):
        predictive_entropy(np.array([[0.5], [value]]))


def test_no_passes_or_passes_of_another_shape_are_refused() -> None:
    with pytest.raises(UncertaintyError, match="at least one pass"):
        predictive_entropy(np.zeros((0, 3)))
    with pytest.raises(UncertaintyError, match="No pass"):
        EntropyAccumulator((3,)).predictive_entropy
    with pytest.raises(UncertaintyError, match="shape"):
        EntropyAccumulator((3,)).add(np.zeros(4))
