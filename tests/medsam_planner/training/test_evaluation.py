"""The figures of the evaluation can be redone by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.training.evaluation import SliceScores, dice, inscribed_ellipse, summary_text


def test_dice_of_known_masks():
    a = np.zeros((4, 4), dtype=bool)
    b = a.copy()
    a[:2], b[1:3] = True, True
    assert dice(a, b) == pytest.approx(2 * 4 / 16)
    assert dice(a, a) == 1.0
    assert dice(a, ~a) == 0.0
    assert dice(a & False, b & False) == 1.0


def test_the_ellipse_touches_the_sides_of_its_box_and_has_its_area():
    ellipse = inscribed_ellipse(np.array([10.0, 20.0, 49.0, 99.0]), (80, 120))
    rows, columns = np.nonzero(ellipse)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (10, 20, 49, 99)
    assert ellipse.sum() == pytest.approx(np.pi * 20 * 40, rel=0.01)


def test_the_summary_means_groups_before_cases():
    scores = [
        SliceScores("a", "CT x", 1, 50, {"box": 0.2}, {}),
        SliceScores("a", "CT x", 1, 50, {"box": 0.4}, {}),
        SliceScores("b", "MR y", 1, 50, {"box": 0.9}, {}),
    ]
    lines = {line[:30].strip(): line.split()[-1] for line in summary_text(scores).splitlines()}
    assert lines["CT x"] == "0.300"
    assert lines["MR y"] == "0.900"
    assert lines["mean of slices"] == "0.500"
    assert lines["mean of groups"] == "0.600"
