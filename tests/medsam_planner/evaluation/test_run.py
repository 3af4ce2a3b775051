"""The shipped weights on small cases, from the command to the files, with a break in between."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.engine.registry import weights_path
from medsam_planner.errors import ConfigError, StudyError, WeightsError
from medsam_planner.lab.evaluation.case_choice import EvaluationOptions
from medsam_planner.lab.evaluation.finished import FinishedStructures
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.evaluation.records import StructureRecord
from medsam_planner.lab.evaluation.run import _too_slow, evaluate
from medsam_planner.volumes import BoxedArray
from prompts.masks import mask_box

from .synthetic_cases import SHAPE, write_case


@pytest.fixture(scope="module")
def out(cases, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    arguments = ["evaluate", str(cases), "--protocol", "box", "--out", str(folder), "--corrections", "1"]
    assert run([*arguments, "--most", "1", "--against", str(weights_path("compact"))]) == 0
    return folder


def options(**changed):
    settings = {"protocol": Protocol.BOX, "corrections": 1, "most": 1, "against": str(weights_path("compact"))}
    return EvaluationOptions(**(settings | changed))


def document(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_only_held_out_cases_are_evaluated_and_a_caution_counts_the_others(out):
    told = document(out)
    assert [record["key"] for record in told["structures"]] == ["ct_ball/1", "mr_ball/1"]
    assert told["provenance"]["left_out_as_seen"] == ["mr_hippocampus_102", "mr_of_the_same_patient"]
    assert told["cautions"][0].startswith("2 cases were left out")


def test_a_bright_ellipsoid_is_segmented_and_every_metric_is_there(out):
    for record in document(out)["structures"]:
        figures = record["figures"]
        assert figures["slice_dice"] > 0.85
        assert figures["final_dice"] > 0.7
        assert 0 <= figures["final_surface_dice_1mm"] <= figures["final_surface_dice_5mm"] <= 1
        assert len(record["answer"]["steps"]) == 2
        assert record["failure"] is None
        assert 0.9 < record["ellipse_slice_dice"] <= 1


def test_weights_compared_with_themselves_differ_by_nothing(out):
    whole = document(out)["summary"][0]
    assert (whole["kind"], whole["structures"], whole["patients"]) == ("all", 2, 2)
    for name in ("slice_dice", "first_dice", "final_dice", "final_hd95_mm"):
        assert whole["over_against"][name]["difference"]["mean"] == 0.0


def test_the_rows_are_by_modality_size_anatomy_and_case(out):
    kinds = [(row["kind"], row["name"]) for row in document(out)["summary"]]
    assert [name for kind, name in kinds if kind == "modality"] == ["CT", "MR"]
    assert [name for kind, name in kinds if kind == "anatomy"] == ["CT ball", "MR ball"]
    assert [name for kind, name in kinds if kind == "case"] == ["ct_ball", "mr_ball"]
    assert all(kind != "seen" for kind, _ in kinds)


def test_the_table_has_a_row_for_each_structure_with_the_values_of_the_json(out):
    rows = list(csv.DictReader((out / "evaluation.csv").open()))
    records = document(out)["structures"]
    assert len(rows) == len(records) == 2
    for row, record in zip(rows, records, strict=True):
        assert (row["case"], row["structure"]) == (record["case"], "ball")
        assert float(row["final_dice"]) == record["figures"]["final_dice"]
        assert float(row["against_final_dice"]) == record["figures"]["final_dice"]
        assert row["failure"] == ""


def test_the_page_needs_nothing_else_and_pictures_the_worst(out):
    page = (out / "evaluation.html").read_text()
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert page.count("<figure") == 4  # two structures, two pictures each
    assert "ball · ct_ball" in page and "reference" in page and " mm</text>" in page
    assert "2 cases were left out" in page


def test_a_record_is_read_as_it_was_written(out):
    for structure in document(out)["structures"]:
        record = StructureRecord.from_json(structure)
        assert json.loads(json.dumps(record.as_json())) == structure
        assert record.metrics["final_dice"] == record.interaction.steps[-1].scores.dice
        assert record.against_metrics["slice_dice"] == record.against_interaction.slice_scores.dice
        assert set(structure["first_prompts"][0]) == {"kind", "corner_lps_mm", "opposite_lps_mm", "answer"}
        clicks = [step["click"] for step in structure["answer"]["steps"] if step["click"]]
        assert all(set(click) == {"position_lps_mm", "positive", "answer"} for click in clicks)
    with pytest.raises(ConfigError, match="key"):
        StructureRecord.from_json({name: value for name, value in structure.items() if name != "key"})


def test_a_finished_structure_is_not_evaluated_again(out, cases, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(out, folder)
    marked = folder / "finished" / "mr_ball__1.json"
    record = json.loads(marked.read_text())
    record["figures"]["first_dice"] = 0.125
    marked.write_text(json.dumps(record))
    (folder / "finished" / "ct_ball__1.json").unlink()
    again = evaluate(cases, folder, options())
    assert [one.metrics["first_dice"] == 0.125 for one in again.records] == [False, True]
    before = {one["key"]: one for one in document(out)["structures"]}
    seconds = {"first_answer_s", "volume_s", "correction_s", "total_s"}
    for name, value in again.records[0].metrics.items():
        assert name in seconds or value == before["ct_ball/1"]["figures"][name], name


def test_a_folder_made_with_another_seed_or_protocol_is_refused(out, cases):
    for changed in ({"seed": 1}, {"protocol": Protocol.CLICK}, {"against": None}, {"corrections": 2}):
        with pytest.raises(ConfigError, match="Choose another --out"):
            evaluate(cases, out, options(**changed))


def cut(mask: np.ndarray) -> BoxedArray:
    return BoxedArray.cut(mask, mask_box(mask))


def test_a_case_that_changed_is_evaluated_again(tmp_path):
    finished = FinishedStructures(tmp_path, {"seed": 0})
    mask = np.zeros((4, 5, 6), dtype=bool)
    mask[1:3, 2, 3:5] = True
    finished.keep({"key": "one/1", "files_sha256": "old"}, {"truth": cut(mask), "none": cut(mask & False)})
    assert finished.find("one/1", "old") == {"key": "one/1", "files_sha256": "old"}
    assert finished.find("one/1", "new") is None
    assert finished.find("one/2", "old") is None
    assert np.array_equal(finished.mask("one/1", "truth"), mask)
    assert finished.mask("one/1", "none").shape == mask.shape and not finished.mask("one/1", "none").any()


def test_cases_of_the_training_data_are_refused_alone_and_marked_on_request(cases, tmp_path):
    with pytest.raises(ConfigError, match="--include-seen"):
        evaluate(cases, tmp_path, options(only=("mr_hippocampus_*",)))
    chosen = options(only=("mr_hippocampus_*",), include_trained_on=True, against=None, corrections=0)
    seen = evaluate(cases, tmp_path / "seen", chosen)
    assert [record.is_trained_on for record in seen.records] == [True]
    assert [row.kind for row in seen.rows] == ["seen"]
    assert "TRAINED ON" in (tmp_path / "seen" / "evaluation.html").read_text()


def test_a_vessel_starts_from_nothing_in_the_challenge_and_a_click_finds_it(cases, tmp_path):
    chosen = EvaluationOptions(Protocol.CVPR25, only=("mr_ball",), corrections=2)
    found = {one.structure: one for one in evaluate(cases, tmp_path, chosen).records}
    vein = found["portal vein"]
    assert vein.first_prompts == ()
    assert vein.interaction.slice_scores is None
    dices = [step.scores.dice for step in vein.interaction.steps]
    assert dices[0] == 0.0 < dices[1]
    assert vein.metrics["challenge_dsc_final"] == dices[2]
    assert found["ball"].metrics["first_slices_beyond"] == 0  # the range was given
    assert "Protocol-comparable" in (tmp_path / "evaluation.html").read_text()


def test_a_case_slower_than_the_challenge_allows_is_named_and_keeps_its_scores(out):
    whole = StructureRecord.from_json(document(out)["structures"][0])

    def record(case, seconds):
        return replace(whole, case=case, metrics={"total_s": seconds})

    records = [record("slow", 200.0), record("slow", 10.0), record("just", 90.0)]
    (told,) = _too_slow(records, Protocol.CVPR25)
    assert told.startswith("1 cases took longer") and "slow" in told
    assert _too_slow(records[2:], Protocol.CVPR25) == _too_slow(records, Protocol.BOX) == []


def test_absent_weights_are_named_before_anything_is_evaluated(cases, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDSAM_PLANNER_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match="weights fetch"):
        evaluate(cases, tmp_path / "out", options(against="medsam-vit-b"))
    assert not (tmp_path / "out").exists()


def test_a_single_voxel_is_a_structure_and_a_case_without_any_is_refused(tmp_path):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    empty = write_case(tmp_path / "empty" / "one", labels=labels)
    chosen = EvaluationOptions(Protocol.BOX, corrections=0, worst=0)
    with pytest.raises(StudyError, match=r"labels\.nii\.gz"):
        evaluate(empty, tmp_path / "out", chosen)
    labels[3, 4, 5] = 1
    one = write_case(tmp_path / "cases" / "one", labels=labels)
    (record,) = evaluate(one, tmp_path / "out", chosen).records
    assert record.volume_ml == pytest.approx(0.003)
    assert record.slice_index == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--protocol", "boxes"], "cvpr25"),
        (["--protocol", "box", "--only", "nobody*"], "nobody"),
        (["--protocol", "slices", "--against", "compact"], "--against"),
        (["--protocol", "box", "--corrections", "-1"], "--corrections"),
    ],
)
def test_wrong_calls_end_with_code_2_and_say_why(cases, tmp_path, capsys, arguments, told):
    assert run(["evaluate", str(cases), "--out", str(tmp_path / "out"), *arguments]) == 2
    assert told in capsys.readouterr().err
