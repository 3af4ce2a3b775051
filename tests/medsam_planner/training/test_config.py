"""A training file is read as written, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import medsam_planner.lab.training
from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.training.config import EvaluationConfig, ProtocolName, read_config


def _written(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_are_taken_and_paths_count_from_the_file(tmp_path):
    config = read_config(
        _written(tmp_path, 'out = "run"\nsteps = 12\nlearning_rate = 1\n[data]\nroot = "../cases"\nheld_out = ["a*"]\n')
    )
    assert config.out == tmp_path / "run"
    assert config.steps == 12
    assert config.learning_rate == 1.0
    assert config.data.root == tmp_path / "../cases"
    assert config.data.held_out == ("a*",)


def test_without_a_table_boxes_and_slices_are_measured_and_an_empty_list_measures_nothing(tmp_path):
    assert read_config(_written(tmp_path, 'out = "run"')).evaluation.protocols == ("box", "slices")
    chosen = read_config(
        _written(tmp_path, 'out = "run"\n[evaluation]\nprotocols = []\nmost = 3\ncorrections = 2\nseed = 7\n')
    ).evaluation
    assert (chosen.protocols, chosen.most, chosen.corrections, chosen.seed) == ((), 3, 2, 7)


def test_the_documentation_states_the_defaults(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    (table,) = [block.split("```")[0] for block in page.split("```toml\n")[1:] if block.startswith("[evaluation]")]
    assert read_config(_written(tmp_path, 'out = "run"\n' + table)).evaluation == EvaluationConfig()


def test_the_protocols_are_those_of_the_evaluation():
    assert set(get_args(ProtocolName)) == {protocol.value for protocol in Protocol}


def test_both_stages_of_the_shipped_weights_keep_the_same_cases_out_and_the_second_begins_from_the_first():
    folder = Path(medsam_planner.lab.training.__file__).parent
    first, second = read_config(folder / "compact_64.toml"), read_config(folder / "compact.toml")
    assert second.start_from == first.out / "compact.safetensors"
    assert first.data.held_out == second.data.held_out
    assert {"ct_trunk_totalseg_siemens", "ct_skull_invesalius"} <= set(second.data.held_out)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("steps = 3", "'out' is missing"),
        ('out = "x"\nstep = 3', "unknown entry 'step'"),
        ('out = "x"\nsteps = "many"', "steps: expected a valid integer, got"),
        ('out = "x"\nsteps = true', "steps: expected a valid integer, got"),
        ('out = "x"\nsteps = 0', "steps: expected a value greater than 0, got 0"),
        ("out = 3", "out: expected a path as text, got 3"),
        ('out = "x"\nsize = 50', "size: expected a size that halves four times"),
        ('out = "x"\ndropout = 1.0', "dropout: expected a value less than 1"),
        ('out = "x"\ndecoder_widths = [8, 16]', "decoder_widths: expected four widths"),
        ('out = "x"\ndecay_share = 2.0', "decay_share: expected a value less than or equal to 1"),
        ('out = "x"\ndata = 3', r"table \[data\]"),
        ('out = "x"\n[data]\nshare = 1', "unknown entry 'data.share'; known are case_share, click_share, held_out"),
        (
            'out = "x"\n[data]\nprocedural_share = -1.0',
            "data.procedural_share: expected a value greater than or equal to 0",
        ),
        ('out = ""', "out: expected a path as text"),
        ('out = "x"\nlearning_rate = true', "learning_rate: expected a valid number, got True"),
        (
            'out = "x"\n[data]\nprocedural_share = 0\nlabel_map_share = 0\ncase_share = 0',
            "data: expected procedural_share, label_map_share and case_share not to be all zero",
        ),
        ('out = "x"\n[data]\nworkers = -1', "data.workers"),
        ('out = "x"\nevaluation = true', r"table \[evaluation\]"),
        ('out = "x"\n[evaluation]\nprotocol = "box"', "unknown entry 'evaluation.protocol'"),
        ('out = "x"\n[evaluation]\nprotocols = "box"', "evaluation.protocols: expected a list"),
        ('out = "x"\n[evaluation]\nprotocols = ["boxes"]', "expected 'box', 'click', 'cvpr25', 'survey' or 'slices'"),
        ('out = "x"\n[evaluation]\nprotocols = ["box", "box"]', "expected each protocol once"),
        ('out = "x"\n[evaluation]\nmost = 0', "evaluation.most"),
        ('out = "x"\n[evaluation]\nmost = "all"', "evaluation.most: expected a valid integer"),
        ('out = "x"\n[evaluation]\ncorrections = -1', "evaluation.corrections"),
        ('out = "x"\n[evaluation]\ndropout_runs = 1', "a variance needs two"),
        ('out = "x', "not valid TOML"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path, text, named):
    with pytest.raises(ConfigError, match=named):
        read_config(_written(tmp_path, text))


def test_every_wrong_entry_is_named_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.toml: the entry 'out' is missing; steps: expected .*, got 0"):
        read_config(_written(tmp_path, "steps = 0"))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no file there"):
        read_config(tmp_path / "none.toml")
