"""A training file is read as written, or refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

import medsam_planner.lab.training
from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.protocols import Protocol
from medsam_planner.lab.training.config import read_config
from medsam_planner.lab.training.evaluation_config import PROTOCOLS, EvaluationConfig


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


def test_the_readme_tells_the_defaults(tmp_path):
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    (table,) = [block.split("```")[0] for block in readme.split("```toml\n")[1:] if block.startswith("[evaluation]")]
    assert read_config(_written(tmp_path, 'out = "run"\n' + table)).evaluation == EvaluationConfig()


def test_the_protocols_are_those_of_the_evaluation():
    assert set(PROTOCOLS) == {protocol.value for protocol in Protocol}


def test_the_configuration_of_the_shipped_weights_is_valid_and_keeps_the_acceptance_case_out():
    config = read_config(Path(medsam_planner.lab.training.__file__).with_name("compact.toml"))
    assert "ct_trunk_totalseg_siemens" in config.data.held_out
    assert "ct_skull_invesalius" in config.data.held_out


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("steps = 3", "'out' is missing"),
        ('out = "x"\nstep = 3', "unknown entry 'step'"),
        ('out = "x"\nsteps = "many"', "steps: expected a value of type int"),
        ('out = "x"\nsteps = true', "steps: expected a value of type int"),
        ('out = "x"\nsteps = 0', "expected steps > 0"),
        ("out = 3", "expected a path"),
        ('out = "x"\nsize = 50', "does not halve"),
        ('out = "x"\ndropout = 1.0', "dropout"),
        ('out = "x"\ndecoder_widths = [8, 16]', "four decoder_widths"),
        ('out = "x"\ndecay_share = 2.0', "decay_share in"),
        ('out = "x"\ndata = 3', r"table \[data\]"),
        ('out = "x"\n[data]\nshare = 1', "unknown entry data.'share'"),
        ('out = "x"\n[data]\nprocedural_share = -1.0', "shares must not be negative"),
        ('out = "x"\n[data]\nworkers = -1', "data.workers"),
        ('out = "x"\nevaluation = true', r"table \[evaluation\]"),
        ('out = "x"\n[evaluation]\nprotocol = "box"', "unknown entry evaluation.'protocol'"),
        ('out = "x"\n[evaluation]\nprotocols = "box"', "evaluation.protocols: expected a value of type"),
        ('out = "x"\n[evaluation]\nprotocols = ["boxes"]', "box, click, cvpr25, slices"),
        ('out = "x"\n[evaluation]\nprotocols = ["box", "box"]', "each once"),
        ('out = "x"\n[evaluation]\nmost = 0', "evaluation.most"),
        ('out = "x"\n[evaluation]\nmost = "all"', "evaluation.most: expected a value of type int"),
        ('out = "x"\n[evaluation]\ncorrections = -1', "evaluation.corrections"),
        ('out = "x"\n[evaluation]\ndropout_runs = 1', "a variance needs two"),
        ('out = "x', "not valid TOML"),
    ],
)
def test_a_wrong_entry_is_refused_by_name(tmp_path, text, named):
    with pytest.raises(ConfigError, match=named):
        read_config(_written(tmp_path, text))


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no file there"):
        read_config(tmp_path / "none.toml")
