"""The survey protocol: the metrics beyond the box, and the subset of structures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.lab.evaluation.cases import find_cases
from medsam_planner.lab.evaluation.protocols import InteractionScores, InteractionStep, Protocol, first_prompts
from medsam_planner.lab.evaluation.references import read_structures, spread_labels
from medsam_planner.lab.evaluation.scores import EndScores, MaskScores
from medsam_planner.lab.evaluation.survey import WALL_SHARE, harmful_share, walled
from prompts import Click

from ..memory_studies import write_memory_weights
from .synthetic_cases import write_case


def _step(dice: float, *, clicked: bool = True) -> InteractionStep:
    return InteractionStep(Click((0, 0, 0)) if clicked else None, MaskScores(dice, 0, 0, 0, 0), EndScores(0, 0), 0.0)


@pytest.mark.parametrize(
    "dices, share",
    [((0.5, 0.6, 0.7), 0.0), ((0.5, 0.45, 0.7), 0.5), ((0.5, 0.485, 0.475), 0.0), ((0.9, 0.5, 0.4), 1.0)],
)
def test_a_correction_is_harmful_when_the_dice_falls_by_more_than_two_hundredths(dices, share):
    steps = (_step(dices[0], clicked=False), *(_step(dice) for dice in dices[1:]))
    assert harmful_share(InteractionScores(None, 0.0, steps)) == share


def test_without_a_correction_none_is_harmful_or_not():
    assert harmful_share(InteractionScores(None, 0.0, (_step(1.0, clicked=False), _step(1.0, clicked=False)))) is None


def test_a_wall_is_the_outer_layer_of_the_structure_on_its_middle_slice_and_visible(tmp_path):
    write_case(tmp_path / "mr_ball")
    ball, vein = read_structures(find_cases(tmp_path)[0])
    opening = first_prompts(ball, Protocol.SURVEY, 0)
    study, wall = walled(ball, opening)
    reference = ball.reference[opening.slice_index]
    ring = wall[opening.slice_index]
    assert wall.sum() == ring.sum() and not (ring & ~reference).any()
    rows, columns = np.nonzero(reference)
    assert not ring[20, 18]  # the ball's middle
    assert ring[rows.min(), 18] and ring[20, columns.min()]
    assert np.count_nonzero(ring[20, : 18 + 1]) in (3, 4)  # a layer of WALL_SHARE of 9 to 11 pixels
    assert 3 <= WALL_SHARE * 9 <= WALL_SHARE * 11 < 4
    before = ball.volume.array[opening.slice_index]
    after = study.array[opening.slice_index]
    assert (after[ring] > before[ring] + 20).all()
    assert np.array_equal(after[~ring], before[~ring])
    assert np.array_equal(
        np.delete(study.array, opening.slice_index, 0), np.delete(ball.volume.array, opening.slice_index, 0)
    )
    small = first_prompts(vein, Protocol.SURVEY, 0)
    assert walled(vein, small) is None or walled(vein, small)[1].sum() < vein.reference.sum()


def test_a_subset_is_spread_over_the_cases_of_each_group(tmp_path):
    for number in range(5):
        write_case(tmp_path / f"ct_{number}", modality="CT", seed=number)
    write_case(tmp_path / "mr_one")
    cases = find_cases(tmp_path)
    chosen = spread_labels(cases, 2)
    assert {name: len(labels) for name, labels in chosen.items()} == {"ct_0": 1, "ct_2": 1, "mr_one": 2}
    everything = spread_labels(cases, 100)
    assert sum(len(labels) for labels in everything.values()) == 12
    assert sum(len(labels) for labels in spread_labels(cases, 100, most=1).values()) == 6


def test_weights_with_a_memory_are_surveyed(tmp_path, capsys):
    cases, out = tmp_path / "cases", tmp_path / "out"
    for number in range(2):
        write_case(cases / f"mr_{number}", subject=f"patient {number}", seed=number)
    weights = write_memory_weights(tmp_path / "memory.safetensors")
    options = ["--protocol", "survey", "--per-group", "2", "--corrections", "2", "--worst", "1"]
    assert run(["evaluate", str(cases), *options, "--model", str(weights), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for column in ("best of offered", "below ellipse", "harmful corrections", "wall, box + 2 clicks", "single click"):
        assert column in shown
    told = json.loads((out / "evaluation.json").read_text())
    assert [record["case"] for record in told["structures"]] == ["mr_0", "mr_1"]
    for record in told["structures"]:
        figures = record["figures"]
        assert figures["slice_best_dice"] >= figures["slice_dice"]
        assert figures["below_ellipse"] == float(figures["slice_dice"] < record["ellipse_slice_dice"])
        assert 0 <= figures["wall_slice_dice"] <= 1 and 0 <= figures["click_slice_dice"] <= 1
        assert figures["harmful_corrections"] in (0.0, 0.5, 1.0)
    whole = told["summary"][0]["figures"]["slice_best_dice"]
    assert whole["patients"] == 2 and whole["low"] <= whole["mean"] <= whole["high"]
