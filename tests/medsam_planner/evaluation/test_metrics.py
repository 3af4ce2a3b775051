"""Metrics of an interaction with invented scores, computed by hand."""

from __future__ import annotations

import pytest

from medsam_planner.lab.evaluation.metrics import METRICS, metrics_of, metrics_shown
from medsam_planner.lab.evaluation.protocols import InteractionScores, InteractionStep, Protocol
from medsam_planner.lab.evaluation.scores import EndScores, MaskScores
from prompts import Click


def scored(dices, surfaces=None, *, slice_dice=0.9):
    surfaces = surfaces or dices
    scores = [MaskScores(d, s, s, s, 3.0) for d, s in zip(dices, surfaces, strict=True)]
    steps = tuple(
        InteractionStep(None if number == 0 else Click((0, 0, 0)), one, EndScores(number, 0), 1.0 + number)
        for number, one in enumerate(scores)
    )
    return InteractionScores(MaskScores(slice_dice, 1.0, 1.0, 1.0, 0.0), 0.5, steps)


def test_area_clicks_and_seconds_after_a_box():
    found = metrics_of(scored([0.5, 0.7, 0.85, 0.95]), Protocol.BOX)
    assert found["slice_dice"] == 0.9
    assert (found["first_dice"], found["final_dice"]) == (0.5, 0.95)
    assert found["mean_dice_over_clicks"] == pytest.approx((0.6 + 0.775 + 0.9) / 3)
    assert (found["reached_080"], found["clicks_to_080"]) == (1.0, 2.0)
    assert (found["reached_090"], found["clicks_to_090"]) == (1.0, 3.0)
    assert (found["first_slices_beyond"], found["final_slices_beyond"]) == (0, 3)
    assert (found["first_answer_s"], found["volume_s"], found["correction_s"]) == (0.5, 1.0, 3.0)
    assert found["total_s"] == pytest.approx(0.5 + 1 + 2 + 3 + 4)


def test_a_level_never_reached_costs_one_click_more_than_were_given():
    found = metrics_of(scored([0.1, 0.2, 0.3]), Protocol.CLICK)
    assert (found["reached_080"], found["clicks_to_080"]) == (0.0, 3.0)


def test_without_corrections_there_is_no_area_and_no_seconds_of_them():
    found = metrics_of(scored([0.5]), Protocol.BOX)
    assert found["mean_dice_over_clicks"] is None
    assert found["correction_s"] is None


def test_the_challenge_counts_the_last_five_scores_and_no_surface_where_dice_is_at_most_a_fifth():
    found = metrics_of(scored([0.9, 0.2, 0.4, 0.6, 0.8, 1.0], [0.9, 0.9, 0.5, 0.5, 0.5, 0.5]), Protocol.CVPR25)
    assert found["challenge_dsc_auc"] == pytest.approx(0.3 + 0.5 + 0.7 + 0.9)
    assert found["challenge_nsd_auc"] == pytest.approx(0.25 + 0.5 + 0.5 + 0.5)
    assert (found["challenge_dsc_final"], found["challenge_nsd_final"]) == (1.0, 0.5)
    perfect = metrics_of(scored([1.0] * 6), Protocol.CVPR25)
    assert perfect["challenge_dsc_auc"] == perfect["challenge_nsd_auc"] == pytest.approx(4.0)


def test_each_protocol_shows_its_own_metrics_and_no_name_twice():
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    shown = {metric.name for metric in metrics_shown(Protocol.BOX)}
    assert "clicks_to_080" in shown and "challenge_dsc_auc" not in shown
    assert list(metrics_of(scored([0.5]), Protocol.BOX)) == [f.name for f in metrics_shown(Protocol.BOX)]
