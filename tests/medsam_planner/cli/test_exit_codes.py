"""Exit 1 is the answer no and nothing else: a fault ends with 3 and a log, an interruption with 130."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from medsam_planner.cli.app import app, run

CALLS = {
    "demo": ("medsam_planner.demo.seeg.run_seeg", ["demo", "seeg", "--out", "OUT"]),
    "segment": (
        "medsam_planner.workflow.segmentation_job.check_options",
        ["segment", "ct", "prompts.json", "--out", "OUT"],
    ),
    "run": (
        "medsam_planner.workflow.segmentation_job.check_options",
        ["run", "ct", "prompts.json", "plan.toml", "--out", "OUT"],
    ),
    "plan": ("medsam_planner.workflow.written_plan.write_plan_from_file", ["plan", "plan.toml", "--out", "OUT"]),
    "replay": ("prompts.read_prompt_file", ["replay", "prompts.json"]),
    "calibrate": ("medsam_planner.lab.calibration.calibrate", ["calibrate", "cases", "--out", "OUT/file.json"]),
    "import-check": ("medsam_planner.io.import_check.check_archive", ["import-check", "archive", "--out", "OUT"]),
    "deidentify": (
        "medsam_planner.errors.require_extra",
        ["deidentify", "ct", "--out", "OUT", "--key-file", "key"],
    ),
    "listen": ("medsam_planner.network.pacs_file.read_pacs_file", ["listen", "--data", "OUT"]),
    "pacs": ("medsam_planner.network.pacs_file.read_pacs_file", ["pacs", "list"]),
    "fhir": ("medsam_planner.network.fhir.run_objects.read_run_objects", ["fhir", "run", "--out", "bundle.json"]),
    "users": ("medsam_planner.service.core.accounts.Accounts", ["users", "list", "--data", "OUT"]),
    "inspect": ("medsam_planner.io.inspect_study", ["inspect", "ct"]),
    "register": (
        "medsam_planner.workflow.register.write_registration",
        ["register", "fixed", "moving", "--out", "OUT"],
    ),
    "move": ("medsam_planner.workflow.move.move_files", ["move", "transform.json", "mask.nii.gz", "--out", "OUT"]),
    "landmarks": (
        "medsam_planner.landmarks.landmark_file.read_landmarks",
        ["landmarks", "angles", "points.json", "--side", "left"],
    ),
    "export": (
        "medsam_planner.workflow.read_run.read_run",
        ["export", "run", "--content", "results", "--out", "OUT/run.zip"],
    ),
    "adapt": (
        "medsam_planner.lab.automatic.reviewed.taken_cases",
        ["adapt", "cases", "--label", "liver", "--out", "OUT/liver.safetensors"],
    ),
    "train-auto": (
        "medsam_planner.lab.automatic.reviewed.examples_in",
        ["train-auto", "cases", "--label", "liver", "--out", "OUT/liver.safetensors"],
    ),
    "auto": (
        "medsam_planner.workflow.automatic.write_automatic_mask",
        ["auto", "scan.nii.gz", "--model", "liver.safetensors", "--out", "OUT/liver.nii.gz"],
    ),
    "project": ("medsam_planner.lab.project.project.Project", ["project", "list", "project"]),
    "study": (
        "medsam_planner.reading.study_file.read_study_file",
        ["study", "analyse", "study.toml", "--out", "OUT"],
    ),
    "train": ("medsam_planner.lab.model_card.train_and_describe", ["train", "train.toml"]),
    "evaluate": (
        "medsam_planner.lab.evaluation.run.evaluate",
        ["evaluate", "cases", "--protocol", "box", "--out", "OUT"],
    ),
    "doctor": ("medsam_planner.cli.health.examine", ["doctor"]),
    "weights": ("medsam_planner.engine.registry.list_weights", ["weights", "list"]),
    "serve": ("medsam_planner.service.http.app.make_app", ["serve", "--data", "OUT", "--port", "0"]),
    "ui": ("ui.app.make_app", ["ui", "--out", "OUT", "--port", "0"]),
}


@pytest.fixture
def plant(monkeypatch, tmp_path):
    """Let what a command calls first raise an error."""
    monkeypatch.setenv("MEDSAM_PLANNER_LOGS", str(tmp_path / "logs"))
    monkeypatch.delenv("MEDSAM_PLANNER_TRACEBACK", raising=False)

    def planted(command, error):
        place, arguments = CALLS[command]
        module, name = place.rsplit(".", 1)

        def fails(*_, **__):
            raise error

        monkeypatch.setattr(import_module(module), name, fails)
        return [argument.replace("OUT", str(tmp_path / "out")) for argument in arguments]

    return planted


def test_every_command_is_tried():
    import medsam_planner.cli.app as module

    module._add_commands_of_upper_layers()
    known = {info.name or info.callback.__name__ for info in app.registered_commands}
    assert set(CALLS) == known | {group.name for group in app.registered_groups}


@pytest.mark.parametrize("command", CALLS)
def test_a_fault_ends_with_3_and_one_line_that_names_the_log(command, plant, capsys, tmp_path):
    assert run(plant(command, KeyError("planted\nfault"))) == 3
    message = capsys.readouterr().err
    assert message.count("\n") == 1 and "Traceback" not in message
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in message and "This is a bug. See the log: " in message
    text = log.read_text()
    assert "Traceback" in text and "planted" in text and "Versions: " in text


@pytest.mark.parametrize("command", CALLS)
def test_an_interruption_ends_with_130_and_one_line(command, plant, capsys):
    assert run(plant(command, KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_fault_without_a_place_for_its_log_is_told_whole(plant, capsys, monkeypatch):
    arguments = plant("doctor", RuntimeError("planted"))
    monkeypatch.setenv("MEDSAM_PLANNER_LOGS", "/dev/null/logs")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/dev/null")
    assert run(arguments) == 3
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(("place", "code"), [("/dev/full", 2), ("pipe", 141)])
def test_output_that_nobody_gets_is_no_answer(place, code):
    command = [sys.executable, "-c", "from medsam_planner.cli import main; main(['--version'])"]
    if place == "pipe":
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            process.stdout.close()
            message = process.stderr.read()
    else:
        with open(place, "w") as full:
            process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
        message = process.stderr
    assert process.returncode == code, message
    assert "Traceback" not in message and "Exception" not in message
