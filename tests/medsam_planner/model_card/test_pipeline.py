"""The command on procedural anatomy: a tiny network is trained, measured and described, with a break in between."""

from __future__ import annotations

import json
import tomllib

import pytest

from medsam_planner.cli.app import run
from medsam_planner.engine.compact_weights import save_weights
from medsam_planner.engine.memory_model import open_compact
from medsam_planner.errors import OperationCancelledError
from medsam_planner.lab.model_card import train_and_describe

FILE = """\
out = "run"
seed = 1
steps = 3
batch = 2
size = 32
decoder_widths = [8, 8, 16, 16]

[data]
root = "absent"
procedural_pool = 1
procedural_side = 36
workers = 0

[evaluation]
most = 1
corrections = 1
dropout_runs = 2
procedural_cases = 2
"""


class _StopInEvaluation:
    """A watcher that asks to stop after the first structure."""

    is_cancelled = False

    def update(self, stage: str, done: int, total: int) -> None:
        self.is_cancelled = stage == "structures" and done == 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run that was stopped in its evaluation and then resumed."""
    place = tmp_path_factory.mktemp("made")
    (place / "tiny.toml").write_text(FILE)
    with pytest.raises(OperationCancelledError, match="structures"):
        train_and_describe(place / "tiny.toml", progress=_StopInEvaluation())
    assert not (place / "run" / "compact.md").exists()
    (kept,) = (place / "run" / "evaluation").glob("box-*/finished/procedural_000__*.json")
    before = kept.stat().st_mtime_ns
    assert run(["train", str(place / "tiny.toml"), "--resume"]) == 0
    assert kept.stat().st_mtime_ns == before
    return place / "run"


@pytest.fixture(scope="module")
def card(folder):
    return (folder / "compact.md").read_text()


def metrics(folder, name):
    (path,) = (folder / "evaluation").glob(f"{name}-*/*.json")
    return json.loads(path.read_text())


def test_the_metrics_are_of_the_weights_in_the_folder(folder, card):
    digest = open_compact(folder / "compact.safetensors").weights_sha256
    assert metrics(folder, "box")["settings"]["weights_sha256"] == digest
    assert metrics(folder, "slices")["provenance"]["weights_sha256"] == digest
    assert digest in card


def test_every_table_of_the_evaluation_is_on_the_card(folder, card):
    whole = metrics(folder, "box")["summary"][0]
    assert f"| **{whole['name']}** | {whole['structures']} ({whole['patients']}) |" in card
    for name in ("slice_dice", "first_dice", "final_dice", "final_surface_dice_2mm"):
        metric = whole["figures"][name]
        assert f"{metric['mean']:.3f} [{metric['low']:.2f}, {metric['high']:.2f}]" in card
    for row in metrics(folder, "box")["summary"]:
        assert (f"| {row['name']} |" in card) == (row["kind"] in ("modality", "size", "anatomy"))
    assert "| loose box + 1 click |" in card and "| one click |" in card
    assert "procedural anatomy only" in card.lower()
    assert "| procedural anatomy, random contrast | synthetic | Apache-2.0 (this repository) |" in card


def test_the_dropout_is_measured_and_its_temperature_is_in_the_weights(folder, card):
    document = metrics(folder, "dropout")
    row = document["summary"][0]["figures"]
    assert -1 <= row["variance_rank"]["mean"] <= 1
    assert f"{row['variance_ause']['mean']:.3f}" in card and f"{row['unranked_ause']['mean']:.3f}" in card
    fitted = document["temperature"]
    assert open_compact(folder / "compact.safetensors").temperature == fitted["temperature"] != 1.0
    assert fitted["fitted_on"] == fitted["measured_on"] == 1
    assert f"{fitted['ece_before']:.3f} before and {fitted['ece_after']:.3f} after" in card


def test_failures_are_pictured_beside_the_card(folder, card):
    for name in ("compact_failures.png", "compact_worst.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert (folder / name).stat().st_size < 300_000
    assert "](compact_failures.png)" in card
    assert "](compact_worst.png)" not in card  # it may show patients
    assert "| thin shell |" in card


def test_the_card_states_how_to_repeat_it_and_no_path_of_this_machine(folder, card):
    block = card.split("```toml\n")[1].split("```")[0]
    assert tomllib.loads(block) == tomllib.loads(FILE)
    assert "torch " in card and str(folder) not in card


def test_a_finished_run_is_left_as_it_is(folder):
    before = {path: path.read_bytes() for path in folder.glob("compact*")}
    finished = {path: path.stat().st_mtime_ns for path in folder.rglob("finished/*.json")}
    assert run(["train", str(folder.parent / "tiny.toml"), "--resume"]) == 0
    assert {path: path.read_bytes() for path in folder.glob("compact*")} == before
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("finished/*__*.json")}.items() <= finished.items()
    assert run(["train", str(folder.parent / "tiny.toml")]) == 2


def test_a_file_without_protocols_gives_weights_and_a_card_that_says_so(tmp_path):
    (tmp_path / "tiny.toml").write_text(FILE.split("[evaluation]")[0] + "[evaluation]\nprotocols = []\n")
    made = train_and_describe(tmp_path / "tiny.toml")
    assert open_compact(made.weights).temperature == 1.0
    assert "Nothing was measured" in made.card.read_text()
    assert not (tmp_path / "run" / "evaluation").exists()


def test_a_wrong_table_is_refused_before_anything_is_trained(tmp_path, capsys):
    (tmp_path / "tiny.toml").write_text(FILE.replace("most = 1", 'protocols = ["boxes"]'))
    assert run(["train", str(tmp_path / "tiny.toml")]) == 2
    assert "evaluation.protocols" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_weights_that_exist_are_described_without_training(folder, tmp_path):
    (tmp_path / "known.toml").write_text(FILE.replace("most = 1", "protocols = []"))
    assert run(["train", str(tmp_path / "known.toml"), "--describe", str(folder / "compact.safetensors")]) == 0
    assert (tmp_path / "run" / "compact.safetensors").read_bytes() == (folder / "compact.safetensors").read_bytes()
    assert "Nothing was measured" in (tmp_path / "run" / "compact.md").read_text()


def test_weights_without_training_metadata_are_described_too(folder, tmp_path):
    silent = tmp_path / "silent.safetensors"
    save_weights(open_compact(folder / "compact.safetensors").network, silent, trained_on=["a case"])
    (tmp_path / "known.toml").write_text(FILE.replace("most = 1", "protocols = []"))
    assert run(["train", str(tmp_path / "known.toml"), "--describe", str(silent)]) == 0
    assert "An unknown number of steps" in (tmp_path / "run" / "compact.md").read_text()


def test_describing_never_overwrites_a_training_run(folder, tmp_path, capsys):
    (tmp_path / "known.toml").write_text(FILE.replace('out = "run"', f'out = "{folder}"'))
    assert run(["train", str(tmp_path / "known.toml"), "--describe", str(folder / "compact.safetensors")]) == 2
    assert "holds a training run" in capsys.readouterr().err
