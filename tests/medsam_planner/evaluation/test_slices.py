"""The protocol of single slices."""

from __future__ import annotations

import json

import pytest

from medsam_planner.cli.app import run
from medsam_planner.lab.evaluation.slices import SliceScores, slice_table


def scored(case, group, value):
    return SliceScores(case, case, group, 1, 0, 5, 50, {"box": value}, {})


def test_the_table_means_groups_before_cases():
    scores = [scored("a", "CT x", 0.2), scored("a", "CT x", 0.4), scored("b", "MR y", 0.9)]
    lines = {line[:16].strip(): line.split()[-1] for line in slice_table(scores).splitlines()}
    assert (lines["CT x"], lines["MR y"]) == ("0.300", "0.900")
    assert (lines["mean of slices"], lines["mean of groups"]) == ("0.500", "0.600")


def test_every_kind_of_prompt_is_scored_on_held_out_cases_and_the_ends_are_measured(cases, tmp_path, capsys):
    assert run(["evaluate", str(cases), "--protocol", "slices", "--out", str(tmp_path), "--only", "*_ball"]) == 0
    printed = capsys.readouterr().out
    assert "mean of groups" in printed and "slice past the end" in printed
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert {row["case"] for row in document["slices"]} == {"ct_ball", "mr_ball"}
    kinds = document["slices"][0]["dice"]
    expected = {"ellipse_exact", "ellipse_loose", "box_exact", "box_loose", "box_and_click", "click", "three_clicks"}
    assert expected <= set(kinds)
    assert kinds["box_exact"] > 0.8
    similar = [row["dice"] for row in document["slices"] if row["dice"].get("neighbour_copied", 0) > 0.9]
    assert len(similar) >= 4 and all(scores["neighbour_mask"] > 0.95 for scores in similar)
    assert 0 <= document["ends"]["beyond_end"] <= 1 and document["ends"]["ends"] > 0
    assert len((tmp_path / "evaluation.csv").read_text().splitlines()) == 1 + len(document["slices"])


@pytest.mark.slow
def test_real_hippocampi_never_trained_on_are_outlined_better_than_by_the_ellipse(shared_data, tmp_path):
    root = str(shared_data / "cases")
    assert run(["evaluate", root, "--protocol", "box", "--out", str(tmp_path), "--only", "mr_hippocampus_00*"]) == 0
    whole = json.loads((tmp_path / "evaluation.json").read_text())["summary"][0]
    assert whole["over_ellipse"]["difference"]["mean"] > 0
