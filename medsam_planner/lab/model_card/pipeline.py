"""The whole way from a training file to weights and their card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medsam_planner.engine.compact_weights import read_weights
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import write_whole
from medsam_planner.lab.model_card.card import write_card
from medsam_planner.lab.model_card.measurements import measure
from medsam_planner.lab.training.config import CHECKPOINT, TrainingConfig, read_config
from medsam_planner.progress import Progress

__all__ = ["Made", "describe", "train_and_describe"]


@dataclass(frozen=True, slots=True)
class Made:
    """What lies in the output folder in the end."""

    weights: Path
    """``compact.safetensors``"""
    card: Path
    """``compact.md``, beside its pictures."""


def train_and_describe(path: Path, *, resume: bool = False, progress: Progress | None = None) -> Made:
    """Train as a TOML file says, measure the weights on what they never saw, and write their card.

    Parameters
    ----------
    path : Path
        TOML file; :class:`~medsam_planner.lab.training.config.TrainingConfig` says what may stand in it.
    resume : bool
        Go on where the same file was left: in training, or in the evaluation of finished weights.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If the file is wrong, a run lies in its folder and `resume` is not set, or there is nothing to measure on.
    OperationCancelledError
        When the watcher asked to stop; what was done is kept.
    """
    from medsam_planner.lab.training.loop import train

    config = read_config(path)
    weights = train(config, resume=resume, progress=progress)
    return _described(weights, config, path, progress)


def describe(path: Path, weights: Path, *, progress: Progress | None = None) -> Made:
    """Measure weights that exist and write their card, without training.

    Parameters
    ----------
    path : Path
        The TOML file they were trained with.
    weights : Path
        A copy of them goes to the file's output folder, with the temperature that is found.
    progress : Progress, optional

    Raises
    ------
    ConfigError
        If the file is wrong, or a training run lies in its output folder.
    WeightsError
        If the weights are absent or damaged.
    OperationCancelledError
        When the watcher asked to stop; what was finished is kept.
    """
    config = read_config(path)
    read_weights(weights)
    if (config.out / CHECKPOINT).exists():
        raise ConfigError(f"{config.out} holds a training run, whose weights would be lost. Name another `out` folder.")
    copy = config.out / "compact.safetensors"
    write_whole(copy, weights.read_bytes())
    return _described(copy, config, path, progress)


def _described(weights: Path, config: TrainingConfig, path: Path, progress: Progress | None) -> Made:
    measured = measure(weights, config, progress=progress)
    return Made(weights, write_card(weights, config, path.read_text(encoding="utf-8"), measured))
