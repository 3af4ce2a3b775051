"""Metrics of MC dropout, by hand and of the shipped weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.engine.compact_weights import annotate_weights
from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.case_choice import EvaluationOptions
from medsam_planner.lab.evaluation.dropout_run import _metrics, evaluate_dropout
from medsam_planner.lab.evaluation.dropout_temperature import halves
from medsam_planner.lab.evaluation.protocols import Protocol
from xai.calibration import BAND_MM

SHIPPED = Path(__file__).resolve().parents[3] / "weights" / "compact.safetensors"


def test_passes_that_differ_only_where_the_prediction_is_wrong_rank_perfectly():
    logits = np.array([[4, 4, 4, -2], [4, 4, 4, 2]], dtype=np.float16)
    wrong = np.array([False, False, False, True])
    found = _metrics({"logits": logits, "truth": wrong, "wrong": wrong})
    assert found["variance_rank"] == pytest.approx(1.0)
    assert found["variance_ause"] == found["entropy_ause"] == pytest.approx(0.0)
    # One of four wrong, no ranking: (N − m)/m · 1/N with N = 4, m = 1.
    assert found["unranked_ause"] == pytest.approx(3 / 4)
    assert found["error_rate"] == 0.25


def test_where_nothing_is_wrong_nothing_can_be_ranked():
    logits = np.random.default_rng(0).normal(size=(3, 5))
    found = _metrics({"logits": logits, "truth": np.ones(5), "wrong": np.zeros(5)})
    assert found["variance_rank"] is None and found["entropy_ause"] is None and found["error_rate"] == 0


def test_patients_are_dealt_to_two_halves_with_each_modality_in_both():
    patients = {f"ct{n}": "CT" for n in range(6)} | {f"mr{n}": "MR" for n in range(7)}
    first, second = halves(patients, seed=3)
    assert first | second == set(patients) and not first & second
    assert {len(first), len(second)} == {6, 7}
    assert sum(name.startswith("ct") for name in first) == 3
    assert halves(patients, seed=3) == (first, second) != halves(patients, seed=4)
    assert halves({"alone": "CT"}, seed=0) == ({"alone"}, frozenset())


def test_a_run_measures_the_band_keeps_what_is_finished_and_fits_a_temperature(cases, tmp_path):
    options = EvaluationOptions(protocol=Protocol.BOX, most=1)
    found = evaluate_dropout(cases, tmp_path, options, passes=4)
    assert found.structures == 2 and found.passes == 4
    assert [row.name for row in found.rows if row.kind == "modality"] == ["CT", "MR"]
    assert found.temperature is not None and found.temperature.temperature > 0
    assert found.temperature.fitted_on == found.temperature.measured_on == 1
    document = json.loads((tmp_path / "dropout.json").read_text())
    assert document["settings"]["band_mm"] == BAND_MM
    kept = sorted((tmp_path / "finished").glob("*__*.json"))
    before = [path.stat().st_mtime_ns for path in kept]
    assert evaluate_dropout(cases, tmp_path, options, passes=4) == found
    assert [path.stat().st_mtime_ns for path in kept] == before
    few = EvaluationOptions(protocol=Protocol.BOX, per_group=1)
    assert evaluate_dropout(cases, tmp_path, few, passes=4).structures == 2
    with pytest.raises(ConfigError, match="runs: 4 there, 3 now"):
        evaluate_dropout(cases, tmp_path, options, passes=3)


def test_a_temperature_written_into_the_weights_does_not_begin_the_measurement_anew(cases, tmp_path):
    weights = Path(shutil.copy(SHIPPED, tmp_path / "copy.safetensors"))
    options = EvaluationOptions(protocol=Protocol.BOX, model=str(weights), most=1)
    found = evaluate_dropout(cases, tmp_path / "out", options, passes=2)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "finished").glob("*__*")}
    annotate_weights(weights, {"temperature": "1.5"})
    assert evaluate_dropout(cases, tmp_path / "out", options, passes=2) == found
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "finished").glob("*__*")}
