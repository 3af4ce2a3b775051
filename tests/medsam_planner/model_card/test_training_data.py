"""The training data on the card follow their meta.json files."""

from __future__ import annotations

import json

import pytest

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.slices import SliceScores
from medsam_planner.lab.model_card.markdown_tables import markdown_table, slices_table
from medsam_planner.lab.model_card.training_data import DataSource, data_sources


def stated(folder, **meta):
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta))


def test_cases_are_grouped_by_what_they_show_and_by_licence_and_patients_counted_once(tmp_path):
    for name, subject in (("a_1", "one"), ("a_2", "one"), ("a_3", "two")):
        stated(
            tmp_path / "cases" / name, subject=subject, modality="CT", anatomy="sarcoma; site thigh", licence="CC BY"
        )
    stated(tmp_path / "label_maps", modality="label maps", anatomy="head", licence="Apache-2.0")
    stated(tmp_path / "readers" / "neck", modality="CT", anatomy="neck", licence="CC BY 4.0")
    names = ["procedural anatomy", "label_maps/x.nii.gz", "label_maps/y.nii.gz", "readers/neck", "a_1", "a_2", "a_3"]
    assert data_sources(names, tmp_path) == [
        DataSource("procedural anatomy, random contrast", "Apache-2.0 (this repository)", 0, 0),
        DataSource("label maps: head, random contrast", "Apache-2.0", 2, 2),
        DataSource("CT: neck, random contrast", "CC BY 4.0", 1, 1),
        DataSource("CT: sarcoma", "CC BY", 3, 2),
    ]


def test_a_label_map_with_a_description_of_its_own_is_credited_by_it(tmp_path):
    stated(tmp_path / "label_maps", modality="label maps", anatomy="head", licence="Apache-2.0")
    (tmp_path / "label_maps" / "spine.json").write_text(json.dumps({"credit": "Spine group", "licence": "CC BY-SA"}))
    assert data_sources(["ImageNet (encoder)", "label_maps/spine.nii.gz", "label_maps/x.nii.gz"], tmp_path)[1:] == [
        DataSource("label map, random contrast: Spine group", "CC BY-SA", 1, 1),
        DataSource("label maps: head, random contrast", "Apache-2.0", 1, 1),
    ]


def test_a_missing_licence_is_named_as_not_stated(tmp_path):
    (source,) = data_sources(["gone"], tmp_path)
    assert source == DataSource("unknown modality: unnamed anatomy", "not stated", 1, 1)
    assert data_sources(["gone"], None) == [source]


def test_a_meta_file_that_is_no_json_is_refused_by_name(tmp_path):
    stated(tmp_path / "cases" / "odd")
    (tmp_path / "cases" / "odd" / "meta.json").write_text("{")
    with pytest.raises(ConfigError, match=r"odd/meta\.json"):
        data_sources(["odd"], tmp_path)


def test_a_table_is_markdown_whatever_its_cells_hold():
    assert markdown_table(["a", "b"], [["1", "x|y"]]) == "| a | b |\n| --- | --- |\n| 1 | x\\|y |"


def test_slices_are_averaged_over_a_group_without_training_cases():
    def row(patient, group, dice, is_trained_on=False):
        return SliceScores("case", patient, group, 1, 0, 5, 50, dice, {}, is_trained_on)

    rows = [
        row("p", "CT trunk", {"box_exact": 0.5}),
        row("p", "CT trunk", {"box_exact": 0.7, "click": 0.1}),
        row("q", "MR head", {"box_exact": 0.9}),
        row("r", "MR head", {"box_exact": 0.0}, is_trained_on=True),
    ]
    lines = slices_table(rows, seed=0).splitlines()
    assert lines[0] == "| group | slices (patients) | exact box | one click |"
    assert lines[2].startswith("| **all** | 3 (2) | 0.700 [") and lines[2].endswith("| 0.100 |")
    assert lines[3] == lines[5].replace("CT trunk", "CT") == "| CT | 2 (1) | 0.600 | 0.100 |"
    assert lines[4] == "| MR | 1 (1) | 0.900 | – |"
