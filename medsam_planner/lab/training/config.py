"""The training configuration: one TOML file, every value checked, relative paths taken from the file's folder."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from medsam_planner.errors import ConfigError
from medsam_planner.lab.training.evaluation_config import EvaluationConfig
from prompts.text_file import read_text_file

__all__ = ["CHECKPOINT", "DataConfig", "TrainingConfig", "read_config"]

CHECKPOINT = "checkpoint.pt"
"""In the output folder, once a run has begun."""


@dataclass(frozen=True, slots=True)
class DataConfig:
    """Where samples come from. A share whose folder is absent falls to the procedural anatomy."""

    root: Path | None = None
    """Folder with ``cases/`` and ``label_maps/``; without it training is on procedural anatomy alone."""
    procedural_share: float = 0.2
    label_map_share: float = 0.65
    case_share: float = 0.15
    rule_based_weight: float = 0.1
    """Weight of rule-cut structures of a real image against 1 for its annotated ones."""
    held_out: tuple[str, ...] = ()
    """Patterns of names of cases and label maps that training never opens."""
    procedural_side: int = 88
    """Side of a procedural volume in voxels of 1 mm."""
    procedural_pool: int = 40
    """Procedural volumes alive at a time; one is replaced every `procedural_refresh` batches."""
    procedural_refresh: int = 6
    workers: int = 1


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """All that decides the weights, and how they are measured."""

    out: Path
    """Folder of checkpoints, TensorBoard logs, the resulting weights, their evaluation and their card."""
    seed: int = 0
    steps: int = 60000
    start_from: Path | None = None
    """Weights to go on from, for fine-tuning; None starts afresh."""
    encoder_from: Path | None = None
    """A PyTorch file of EfficientNet-Lite0 trained on ImageNet, for the encoder of a fresh start."""
    batch: int = 8
    """Structures per step, each an interaction of six answers."""
    learning_rate: float = 1e-3
    encoder_rate: float = 0.3
    """Learning rate of the encoder, as a share of the decoder's."""
    weight_decay: float = 0.02
    warmup_steps: int = 200
    decay_share: float = 0.2
    """Last share of the steps, over which the learning rate falls; before it is constant, so that a run can be
    shortened or prolonged."""
    ema_decay: float = 0.999
    norm_steps: int = 1000
    """First steps, whose batches make the statistics of the batch normalisation; then these are held still. The answers
    of an interaction are asked so differently that a network normalised by each of them is another one than when it is
    normalised by their mean, as in use."""
    checkpoint_minutes: float = 10.0
    threads: int = 1
    device: str = "cpu"
    bfloat16: bool = False
    decoder_widths: tuple[int, ...] = (16, 48, 96, 160)
    size: int = 96
    coarse_size: int = 64
    coarse_steps: int = 0
    """First steps are taken at `coarse_size` pixels: shapes are learnt there at half the cost."""
    dropout: float = 0.15
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


_TABLES = {"data": DataConfig, "evaluation": EvaluationConfig}


def read_config(path: Path) -> TrainingConfig:
    """Read a training configuration.

    Raises
    ------
    ConfigError
        If the file is absent, is not TOML, or holds an unknown, missing or impossible entry.
    """
    if not path.is_file():
        raise ConfigError(f"Expected a training configuration at {path}, found no file there.")
    try:
        values = tomllib.loads(read_text_file(path, "a training configuration", ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    tables = {name: values.pop(name, {}) for name in _TABLES}
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: expected a table [{name}], got {table!r}.")
    made = {name: kind(**_entries(tables[name], kind, path, f"{name}.")) for name, kind in _TABLES.items()}
    config = TrainingConfig(**_entries(values, TrainingConfig, path, ""), **made)
    _check(config, path)
    config.evaluation.check(str(path))
    return config


def _entries(values: dict[str, Any], kind: type, path: Path, prefix: str) -> dict[str, Any]:
    known = {entry.name: entry for entry in fields(kind) if entry.name not in _TABLES}
    for name in values:
        if name not in known:
            raise ConfigError(f"{path}: unknown entry {prefix}{name!r}; known are {', '.join(sorted(known))}.")
    for name, entry in known.items():
        if entry.default is MISSING and entry.default_factory is MISSING and name not in values:
            raise ConfigError(f"{path}: the entry {prefix}{name!r} is missing.")
    return {
        name: _converted(value, str(known[name].type), f"{path}: {prefix}{name}", path.parent)
        for name, value in values.items()
    }


def _converted(value: Any, kind: str, where: str, folder: Path) -> Any:
    kind = kind.removesuffix(" | None")
    if kind == "Path":
        if isinstance(value, str) and value:
            return folder / Path(value).expanduser()
        raise ConfigError(f"{where}: expected a path as text, got {value!r}.")
    if kind == "bool":
        accepted = isinstance(value, bool)
    elif kind == "int":
        accepted = isinstance(value, int) and not isinstance(value, bool)
    elif kind == "float":
        accepted = isinstance(value, int | float) and not isinstance(value, bool)
    elif kind == "str":
        accepted = isinstance(value, str)
    else:
        item = int if kind.startswith("tuple[int") else str
        accepted = isinstance(value, list) and all(
            isinstance(part, item) and not isinstance(part, bool) for part in value
        )
        value = tuple(value) if accepted else value
    if not accepted:
        raise ConfigError(f"{where}: expected a value of type {kind}, got {value!r}.")
    return float(value) if kind == "float" else value


def _check(config: TrainingConfig, path: Path) -> None:
    positive = ("steps", "batch", "learning_rate", "checkpoint_minutes", "threads", "size", "coarse_size")
    for name in positive:
        if not getattr(config, name) > 0:
            raise ConfigError(f"{path}: expected {name} > 0, got {getattr(config, name)}.")
    if config.coarse_steps < 0 or config.norm_steps < 0:
        raise ConfigError(
            f"{path}: expected coarse_steps and norm_steps of at least 0, got {config.coarse_steps} and "
            f"{config.norm_steps}."
        )
    if not 0 <= config.dropout < 1 or not 0 <= config.ema_decay < 1:
        raise ConfigError(
            f"{path}: expected dropout and ema_decay in [0, 1), got {config.dropout} and {config.ema_decay}."
        )
    for name in ("encoder_rate", "decay_share"):
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{path}: expected {name} in [0, 1], got {getattr(config, name)}.")
    if len(config.decoder_widths) != 4:
        raise ConfigError(f"{path}: expected four decoder_widths, got {config.decoder_widths}.")
    for size in (config.size, config.coarse_size):
        if size % 16:
            raise ConfigError(f"{path}: size {size} does not halve four times.")
    shares = (config.data.procedural_share, config.data.label_map_share, config.data.case_share)
    if min(shares) < 0 or sum(shares) <= 0 or config.data.procedural_pool < 1 or config.data.procedural_refresh < 1:
        raise ConfigError(f"{path}: data shares must not be negative and not all zero, pool and refresh at least 1.")
    if config.data.workers < 0 or config.data.procedural_side < 32:
        raise ConfigError(f"{path}: expected data.workers >= 0 and data.procedural_side >= 32, got {config.data}.")
