"""Logits and probabilities, there and back."""

from __future__ import annotations

import numpy as np

from medsam_planner.engine.logits import OUTSIDE_LOGIT, logit, sigmoid


def test_a_probability_comes_back_from_its_logit():
    probability = np.array([1e-6, 0.25, 0.5, 0.75, 0.999], dtype=np.float32)
    np.testing.assert_allclose(logit(probability)[1:4], [-np.log(3), 0.0, np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(sigmoid(logit(probability)), probability, rtol=1e-5)


def test_certainty_has_a_finite_logit_and_no_logit_overflows():
    low, high = logit(np.array([0.0, 1.0], dtype=np.float32))
    assert low == OUTSIDE_LOGIT and 16 < high < 17
    with np.errstate(all="raise"):
        assert np.all(np.isfinite(sigmoid(np.array([-1e30, 1e30], dtype=np.float32))))
