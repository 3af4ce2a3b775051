"""Runs made of few answers: exact where an answer is a parabola, and alike in mean and covariance."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.engine.stochastic_passes import ImageChange, StochasticPass
from medsam_planner.propagation.blends import JITTERS_DECODED, drawn_about, jittered


def test_logits_that_are_a_parabola_along_each_parameter_are_met_exactly():
    """2 + 3 r - c + 5 g + 4 r² + g² of the shifts r, c and the logarithm g of the growth, at a share of 0.1."""

    def answer(rows, columns, growth):
        return 2 + 3 * rows - columns + 5 * growth + 4 * rows**2 + growth**2

    draws = np.random.default_rng(0).standard_normal((9, 3))
    runs = jittered(draws.tolist(), 0.1)
    parts = {part for run in runs for part, _ in run.blend}
    assert len(parts - {StochasticPass()}) == JITTERS_DECODED
    for run, draw in zip(runs, draws, strict=True):
        found = 0.0
        for part, weight in run.blend:
            jitter = part.jitter
            shown = 2.0 if jitter is None else answer(*jitter.shift, np.log(jitter.growth))
            found += weight * shown
        assert found == pytest.approx(answer(*(0.1 * draw)))


def test_passes_drawn_about_predictions_have_their_mean_and_their_covariance():
    """Over 20,000 draws; the standard error of a covariance near 1 is 0.01."""
    views = [StochasticPass(), *(StochasticPass(change=ImageChange(gamma=gamma)) for gamma in (0.8, 1.2, 1.4))]
    answers = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5], [-1.0, 0.0]])
    generators = [np.random.default_rng((0, number)) for number in range(20_000)]
    weights = np.array([[weight for _, weight in run.blend] for run in drawn_about(views, generators)])
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    found = weights @ answers
    np.testing.assert_allclose(found.mean(axis=0), answers.mean(axis=0), atol=0.04)
    np.testing.assert_allclose(np.cov(found.T), np.cov(answers.T), atol=0.06)
