"""The pipeline from a training file to weights and their model card."""

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

__all__ = ["DescribedWeights", "describe", "train_and_describe"]


@dataclass(frozen=True, slots=True)
class DescribedWeights:
    """The results in the output folder."""

    weights: Path
    """``compact.safetensors``"""
    card: Path
    """``compact.md``, beside its pictures."""


def train_and_describe(path: Path, *, resume: bool = False, progress: Progress | None = None) -> DescribedWeights:
    """Train as a TOML file says, measure the weights on held-out cases, and write their model card.

    Parameters
    ----------
    path : Path
        TOML file with the entries of :class:`~medsam_planner.lab.training.config.TrainingConfig`.
    resume : bool
        Continue where an earlier call with the same file stopped, in training or in evaluation.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Raises
    ------
    ConfigError
        If the file is wrong, its folder holds a training run and `resume` is not set, or there is no case to
        measure on.
    OperationCancelledError
        If cancellation was requested; finished work is kept.
    """
    from medsam_planner.lab.training.loop import train

    config = read_config(path)
    weights = train(config, resume=resume, progress=progress)
    return _measure_and_describe(weights, config, path, progress)


def describe(path: Path, weights: Path, *, progress: Progress | None = None) -> DescribedWeights:
    """Measure existing weights and write their model card, without training.

    Parameters
    ----------
    path : Path
        The TOML file they were trained with; the card prints it, and what it says of the training data.
    weights : Path
        Copied to the output folder, where the fitted temperature is written into the copy.
    progress : Progress, optional
        Is told of the progress, and may ask to stop.

    Raises
    ------
    ConfigError
        If the file is wrong, or its output folder holds a training run.
    WeightsError
        If the weights are absent or damaged.
    OperationCancelledError
        If cancellation was requested; finished work is kept.
    """
    config = read_config(path)
    read_weights(weights)
    if (config.out / CHECKPOINT).exists():
        raise ConfigError(
            f"{config.out} holds a training run, whose weights would be overwritten. Name another `out` folder."
        )
    copy = config.out / "compact.safetensors"
    write_whole(copy, weights.read_bytes())
    return _measure_and_describe(copy, config, path, progress)


def _measure_and_describe(
    weights: Path, config: TrainingConfig, path: Path, progress: Progress | None
) -> DescribedWeights:
    measured = measure(weights, config, progress=progress)
    return DescribedWeights(weights, write_card(weights, config, path.read_text(encoding="utf-8"), measured))
