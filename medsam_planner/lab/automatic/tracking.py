"""Records of a training for others to look at: TensorBoard, MLflow, Weights & Biases; all on this machine alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from medsam_planner.errors import require_extra

__all__ = ["Record", "Tracker", "require_trackers", "tracking"]

Record = Callable[[int, Mapping[str, float]], None]
"""Told the step and values by name."""
_NAME = "medsam-planner train-auto"


class Tracker(StrEnum):
    """Programs that show a training."""

    TENSORBOARD = "tensorboard"
    MLFLOW = "mlflow"
    WANDB = "wandb"


def require_trackers(trackers: Sequence[Tracker]) -> None:
    """Check that the programs are installed.

    Raises
    ------
    MissingDependencyError
        Says how to install the one that is absent.
    """
    for tracker in trackers:
        require_extra("train" if tracker is Tracker.TENSORBOARD else tracker.value, f"--track {tracker.value}")


@contextmanager
def tracking(trackers: Sequence[Tracker], folder: Path, settings: Mapping[str, Any]) -> Iterator[Record]:
    """Open the records, each in a folder of its name below `folder`.

    Parameters
    ----------
    trackers : sequence of Tracker
    folder : Path
    settings : mapping
        What decided the training, by name; neither cases nor patients.

    Raises
    ------
    MissingDependencyError
        As :func:`require_trackers`.
    """
    require_trackers(trackers)
    with ExitStack() as stack:
        records = [
            stack.enter_context(_OPEN[tracker](folder / tracker.value, settings)) for tracker in dict.fromkeys(trackers)
        ]

        def record(step: int, values: Mapping[str, float]) -> None:
            for one in records:
                one(step, values)

        yield record


@contextmanager
def _tensorboard(folder: Path, settings: Mapping[str, Any]) -> Iterator[Record]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        writer.add_text("settings", "\n\n".join(f"{name}: {value}" for name, value in settings.items()))

        def record(step: int, values: Mapping[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield record


@contextmanager
def _mlflow(folder: Path, settings: Mapping[str, Any]) -> Iterator[Record]:
    # Otherwise the package reports its use to its makers; and its store of plain files needs no further package.
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ALLOW_FILE_STORE="true")
    from mlflow import MlflowClient

    folder.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=folder.resolve().as_uri())
    known = client.get_experiment_by_name(_NAME)
    run = client.create_run(known.experiment_id if known else client.create_experiment(_NAME)).info.run_id
    for name, value in settings.items():
        client.log_param(run, name, value)

    def record(step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            client.log_metric(run, name, value, step=step)

    status = "FAILED"
    try:
        yield record
        status = "FINISHED"
    finally:
        client.set_terminated(run, status)


@contextmanager
def _wandb(folder: Path, settings: Mapping[str, Any]) -> Iterator[Record]:
    os.environ["WANDB_ERROR_REPORTING"] = "false"  # reports faults to its makers otherwise, offline too
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        project=_NAME.replace(" ", "-"), dir=str(folder), mode="offline", config=dict(settings),
        settings=wandb.Settings(silent=True),
    )  # fmt: skip
    status = 1
    try:
        yield lambda step, values: run.log(dict(values), step=step)
        status = 0
    finally:
        run.finish(exit_code=status)


_OPEN = {Tracker.TENSORBOARD: _tensorboard, Tracker.MLFLOW: _mlflow, Tracker.WANDB: _wandb}
