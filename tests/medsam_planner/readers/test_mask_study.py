"""Masks of readers compared: known answers, the files written, and input that would mean nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medsam_planner.cli.app import run
from medsam_planner.errors import ConfigError
from medsam_planner.lab.readers.consensus import Consensus, consensus
from medsam_planner.lab.readers.crossed_bootstrap import crossed_mean
from medsam_planner.lab.readers.mask_comparison import compare
from medsam_planner.lab.readers.mask_statistics import ALL, hypothesis_test, summaries
from medsam_planner.lab.readers.mask_study import compare_readers
from medsam_planner.reading.study_file import Hypothesis, MasksTable, read_study_file

from .conftest import WriteCase, ball


def slab(first: int, last: int) -> np.ndarray:
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[first:last, 2:8, 2:8] = True
    return mask


def test_scores_of_a_slab_one_voxel_thicker_are_those_of_arithmetic() -> None:
    found = compare(slab(2, 6), slab(2, 7), (1.0, 1.0, 1.0))
    assert found.dice == pytest.approx(2 * 4 / 9)
    assert found.volume_error_ml == pytest.approx(36 / 1000) and found.volume_error_percent == pytest.approx(25)
    assert 0 < found.asd_mm < 1 and found.hd95_mm == pytest.approx(1)


def test_distances_to_an_empty_mask_are_the_diagonal_of_the_whole_grid() -> None:
    found = compare(slab(2, 6), np.zeros_like(slab(2, 6)), (1.0, 1.0, 2.0), grid=(30, 40, 0))
    assert found.hd95_mm == found.asd_mm == 50 and found.dice == 0 and found.volume_error_percent == -100


def test_the_majority_of_three_is_what_two_drew_and_staple_trusts_the_two_who_agree() -> None:
    same, other = slab(2, 6), slab(4, 9)
    for rule in Consensus:
        assert np.array_equal(consensus([same, same, other], rule), same)
    assert np.array_equal(consensus([same, other], Consensus.MAJORITY), same & other)


def test_readers_are_compared_with_the_others_and_the_model_with_the_same_reference(write_case: WriteCase) -> None:
    for number in range(3):
        labels = {"a": ball(10, 5), "b": ball(10, 6), "m": ball(10, 5.5 + 0.01 * number)}
        labels["a"][0, 0, number] = 1  # no two cases are the same file
        folder = write_case(f"p{number}", labels)
    study = compare_readers(MasksTable(cases=folder, model="m"))
    others = [row for row in study.rows if row.reference == "others"]
    assert {(row.mask_of, row.left_out) for row in others} == {("a", "a"), ("b", "b"), ("m", "a"), ("m", "b")}
    between = {row.scores.dice for row in others if row.mask_of != "m"}
    of_model = [row.scores.dice for row in others if row.mask_of == "m"]
    assert max(between) < min(of_model)  # the middle mask is nearer to each than they are to each other
    means = {(row.compared, row.metric): row.mean for row in summaries(study) if row.structure == ALL}
    assert means["model", "dice"].patients == 3 and means["model", "dice"].readers == 2
    tested = hypothesis_test(study, Hypothesis(margin=0.05, spread=0.05))
    assert tested["result"]["is_shown"] and tested["patients_needed"] == 10
    assert "10 patients were planned, and 3 are there" in tested["why"]


def test_a_second_reading_is_compared_with_the_first(write_case: WriteCase) -> None:
    folder = write_case("p", {"a": ball(10, 5), "a@2": ball(10, 4), "b": ball(11, 5)})
    rows = [row for row in compare_readers(MasksTable(cases=folder)).rows if row.reference == "itself"]
    assert [row.mask_of for row in rows] == ["a"] and rows[0].scores.volume_error_percent < 0


def test_without_a_hypothesis_no_test_is_made_up_afterwards(write_case: WriteCase) -> None:
    study = compare_readers(MasksTable(cases=write_case("p", {"a": ball(10, 5), "b": ball(11, 5)})))
    assert hypothesis_test(study, None)["result"] is None
    assert "no model" in hypothesis_test(study, Hypothesis(margin=0.1))["why"]


def test_the_interval_of_one_patient_is_unknown_and_a_missing_reading_is_no_zero() -> None:
    assert crossed_mean([[0.5, 0.7]]).low is None
    found = crossed_mean([[0.5, np.nan], [0.7, 0.9], [0.6, 0.8]])
    assert found.mean == pytest.approx(0.7) and found.values == 5
    assert found.low is not None and found.low < 0.7 < found.high
    with pytest.raises(ConfigError, match="one value or more"):
        crossed_mean([[np.nan]])


def test_two_readers_of_real_patients_have_the_dice_that_their_source_states(shared_data: Path) -> None:
    organs = ("Cochlea-Lt", "Submandibular-Rt")
    study = compare_readers(MasksTable(cases=shared_data / "readers", structures=organs))
    assert study.readers == ("oncologist", "radiographer")
    others = [row for row in study.rows if row.reference == "others"]
    assert len(others) == len(study.patients) * len(organs) * 2
    for row in others:
        stated = json.loads((shared_data / "readers" / row.case / "meta.json").read_text(encoding="utf-8"))["dice"]
        assert row.scores.dice == pytest.approx(stated[row.structure]["dice"], abs=0.0006)


@pytest.mark.parametrize(
    ("labels", "table", "said"),
    [
        ({"a": ball(10, 5), "b": ball(9, 5)}, {"readers": ("a", "c")}, "c has no case"),
        ({"a": ball(10, 5), "b": ball(10, 5)}, {}, "a and b have the same file, so one reader would count twice"),
        ({"a": ball(10, 5), "b": 7 * ball(9, 5)}, {}, "b uses the labels 7, which meta.json does not name"),
        ({"a": ball(10, 5), "b": ball(10, 5, 22)}, {}, "expected all labels on one grid"),
        ({"a": ball(10, 5)}, {}, "Expected two or more readers, got a"),
        ({"a": ball(10, 5), "b": ball(9, 5)}, {"structures": ("spleen",)}, "No reader drew spleen"),
        ({"a": ball(10, 5), "b": ball(9, 5)}, {"only": ("q",)}, "has no case q"),
    ],
)
def test_masks_that_cannot_be_compared_are_refused(
    labels: dict[str, np.ndarray], table: dict[str, object], said: str, write_case: WriteCase
) -> None:
    with pytest.raises(ConfigError, match=said):
        compare_readers(MasksTable(cases=write_case("p", labels), **table))


def test_a_reader_who_skipped_a_case_and_grids_of_other_spacing_are_refused(write_case: WriteCase) -> None:
    write_case("p", {"a": ball(10, 5), "b": ball(9, 5)})
    folder = write_case("q", {"a": ball(10, 4)})
    with pytest.raises(ConfigError, match="b has not read q"):
        compare_readers(MasksTable(cases=folder))
    folder = write_case("r", {"a": ball(10, 5), "b": ball(9, 5)}, steps={"b": 1.1})
    with pytest.raises(ConfigError, match="their affines differ"):
        compare_readers(MasksTable(cases=folder, only=("r",)))


def test_a_label_that_means_another_thing_in_another_case_is_refused(write_case: WriteCase) -> None:
    write_case("p", {"a": ball(10, 5), "b": ball(9, 5)})
    folder = write_case("q", {"a": ball(10, 4), "b": ball(9, 4)}, names={"1": "spleen"})
    with pytest.raises(ConfigError, match=r"labels disagree: in q 1 is spleen, in p 1 is liver"):
        compare_readers(MasksTable(cases=folder))


def test_the_same_reader_twice_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text('[masks]\ncases = "cases"\nreaders = ["a", "b", "a"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="a stands twice among the readers; name each once"):
        read_study_file(file)


def test_the_command_writes_tables_figures_and_a_check_list(
    write_case: WriteCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        labels = {"a": ball(10, 5 + number / 4), "b": ball(10.6, 5 + number / 4), "m": ball(10.3, 5 + number / 4)}
        write_case(f"p{number}", labels)
    file = tmp_path / "study.toml"
    file.write_text(
        'title = "Livers"\n[masks]\ncases = "cases"\nmodel = "m"\n[hypothesis]\nmargin = 0.1\nspread = 0.05\n'
        '[statements]\n"CLAIM 42" = "None."\n',
        encoding="utf-8",
    )
    assert run(["study", "analyse", str(file), "--out", str(tmp_path / "out")]) == 0
    assert "the model is not inferior" in capsys.readouterr().out
    document = json.loads((tmp_path / "out/study.json").read_text(encoding="utf-8"))
    answered = {item["item"]: item for item in document["checklist"]}
    assert answered["CLAIM 42"]["source"] == "statement" and answered["CLAIM 19"]["source"] == "records"
    assert answered["CLAIM 40"]["answer"] == "" and len(document["checklist"]) == 42 + 14
    with (tmp_path / "out/scores.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["mask_of"] for row in rows} == {"a", "b", "m"}
    svg = (tmp_path / "out/figures/dice_by_structure.svg").read_text(encoding="utf-8")
    assert "n = 3" in svg and "95 % BCa interval" in svg
    assert (tmp_path / "out/figures/volumes.pdf").read_bytes().startswith(b"%PDF")
    file.write_text('[masks]\ncases = "cases"\n[statements]\n"CLAIM 99" = "x"\n', encoding="utf-8")
    assert run(["study", "analyse", str(file), "--out", str(tmp_path / "other")]) == 2
    assert "names no item of a check-list: CLAIM 99" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("patients", "readers", "least"), [(20, 1, 0.91), (20, 5, 0.90), (40, 10, 0.915)])
def test_the_interval_over_patients_and_readers_holds_nearly_as_often_as_it_says(
    patients: int, readers: int, least: float
) -> None:
    random = np.random.default_rng(0)
    held, draws = 0, 2000
    for _ in range(draws):
        table = random.normal(0, 1, (patients, 1)) + random.normal(0, 0.7, (patients, readers))
        table += random.normal(0, 0.5, (1, readers)) * (readers > 1)
        found = crossed_mean(table, resamples=999)
        assert found.low is not None and found.high is not None
        held += found.low <= 0 <= found.high
    assert least <= held / draws <= 0.97
