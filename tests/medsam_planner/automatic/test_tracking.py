"""Records of a training stay on this machine, and are read back by the programs' own readers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from medsam_planner.errors import MissingDependencyError
from medsam_planner.lab.automatic.tracking import Tracker, require_trackers, tracking


def record(folder: Path, tracker: Tracker) -> Path:
    with tracking([tracker], folder, {"seed": 3}) as record:
        for step in (10, 20):
            record(step, {"loss": 1 / step})
    return folder / tracker.value


def test_tensorboard_reads_the_values_back(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(record(tmp_path, Tracker.TENSORBOARD)))
    read.Reload()
    assert [(one.step, round(one.value, 3)) for one in read.Scalars("loss")] == [(10, 0.1), (20, 0.05)]


def test_mlflow_reads_the_values_back_from_a_folder(tmp_path):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed, so this was not run")
    from mlflow import MlflowClient

    folder = record(tmp_path, Tracker.MLFLOW)
    client = MlflowClient(tracking_uri=folder.resolve().as_uri())
    (experiment,) = [one for one in client.search_experiments() if one.name == "medsam-planner train-auto"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED" and run.data.params == {"seed": "3"}
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "loss")] == [
        (10, 0.1),
        (20, 0.05),
    ]


def test_weights_and_biases_writes_an_offline_run(tmp_path):
    pytest.importorskip("wandb", reason="the extra wandb is not installed, so this was not run")
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = record(tmp_path, Tracker.WANDB).glob("wandb/offline-run-*/*.wandb")
    losses = []
    for data in log_records(file.read_bytes()):
        for item in Record.FromString(data).history.item:
            if "loss" in (item.key, *item.nested_key):
                losses.append(json.loads(item.value_json))
    assert losses == [0.1, 0.05]


def log_records(content: bytes) -> Iterator[bytes]:
    """Records of a LevelDB log, each whole in the first block: checksum (4), length (2), kind (1), data."""
    at = 7  # behind the head of the file
    while at + 7 <= min(len(content), 2**15):
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if kind != 1:
            break
        yield content[at + 7 : at + 7 + length]
        at += 7 + length


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr("medsam_planner.errors.find_spec", lambda module: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'medsam-planner\[wandb\]'"):
        require_trackers([Tracker.WANDB])
