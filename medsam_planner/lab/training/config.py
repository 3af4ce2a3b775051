"""The training file: TOML, every value checked; relative paths count from the file's folder."""

from __future__ import annotations

import re
import tomllib
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.dataclasses import dataclass

from medsam_planner.errors import ConfigError
from prompts.text_file import read_text_file

__all__ = ["CHECKPOINT", "DataConfig", "EvaluationConfig", "ProtocolName", "TrainingConfig", "read_config"]

CHECKPOINT = "checkpoint.pt"
"""Name of the checkpoint in the output folder."""
ProtocolName = Literal["box", "click", "cvpr25", "survey", "slices"]
"""As ``medsam-planner evaluate`` names its protocols."""
_STRIDE = 16


def _placed(value: object, info: ValidationInfo) -> object:
    """A path; relative to the folder of the file that is being read, where there is one."""
    if not isinstance(value, str | Path) or value == "":
        raise ValueError("expected a path as text")
    folder = (info.context or {}).get("folder")
    return Path(value) if folder is None else folder / Path(value).expanduser()


def _halvable(size: int) -> int:
    if size % _STRIDE:
        raise ValueError(f"expected a size that halves four times, a multiple of {_STRIDE}")
    return size


def _four(widths: tuple[int, ...]) -> tuple[int, ...]:
    if len(widths) != 4:
        raise ValueError("expected four widths")
    return widths


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("expected each protocol once")
    return names


def _none_or_several(passes: int) -> int:
    if passes == 1:
        raise ValueError("expected 0 or at least 2 (a variance needs two)")
    return passes


_Path = Annotated[Path, BeforeValidator(_placed)]
# Strict: `steps = true` is not one step.
_Bool = Annotated[bool, Field(strict=True)]
_Int = Annotated[int, Field(strict=True)]
_Float = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Count = Annotated[_Int, Field(ge=0)]
_PositiveInt = Annotated[_Int, Field(gt=0)]
_PositiveFloat = Annotated[_Float, Field(gt=0)]
_NonNegative = Annotated[_Float, Field(ge=0)]
_Share = Annotated[_Float, Field(ge=0, le=1)]
_BelowOne = Annotated[_Float, Field(ge=0, lt=1)]
_Size = Annotated[_PositiveInt, AfterValidator(_halvable)]
_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, config=_CONFIG)
class DataConfig:
    """Table ``[data]``: where samples come from. A share whose folder is absent falls to the procedural anatomy."""

    root: _Path | None = None
    """Folder with ``cases/`` and ``label_maps/``; without it training uses procedural anatomy alone."""
    procedural_share: _NonNegative = 0.2
    label_map_share: _NonNegative = 0.65
    case_share: _NonNegative = 0.15
    click_share: _Share = 0.5
    """Share of samples that begin with a click; the others begin with a box."""
    rule_based_weight: _Float = 0.1
    """Sampling weight of structures cut out of a real image by rules, relative to 1 for its annotated ones."""
    held_out: tuple[str, ...] = ()
    """Patterns of names of cases and label maps that training never opens."""
    procedural_side: Annotated[_Int, Field(ge=32)] = 88
    """Side of a procedural volume in voxels of 1 mm."""
    procedural_pool: _PositiveInt = 40
    """Procedural volumes held at a time; one is replaced every `procedural_refresh` batches."""
    procedural_refresh: _PositiveInt = 6
    workers: _Count = 1

    @model_validator(mode="after")
    def _some_share(self) -> DataConfig:
        if self.procedural_share + self.label_map_share + self.case_share <= 0:
            raise ValueError("expected procedural_share, label_map_share and case_share not to be all zero")
        return self


@dataclass(frozen=True, slots=True, config=_CONFIG)
class EvaluationConfig:
    """Table ``[evaluation]``: what is measured after training, on the cases of the data folder that were held out.

    Where there are none, procedural volumes with seeds of their own take their place.
    """

    protocols: Annotated[tuple[ProtocolName, ...], AfterValidator(_without_repeats)] = ("box", "slices")
    """An empty list measures nothing."""
    most: _PositiveInt | None = None
    """Structures of each case; None for all."""
    per_group: _PositiveInt | None = None
    """Structures of each modality and anatomy, spread over its cases; None for all."""
    corrections: _Count = 5
    seed: _Count = 0
    """Of boxes, clicks, procedural cases, and of the half of the patients on which the temperature is fitted."""
    dropout_runs: Annotated[_Count, AfterValidator(_none_or_several)] = 16
    """Stochastic passes per structure; 0 leaves out the metrics of MC dropout and its temperature."""
    procedural_cases: Annotated[_Int, Field(ge=2)] = 8


@dataclass(frozen=True, slots=True, config=_CONFIG)
class TrainingConfig:
    """Everything that decides the weights, and how they are measured."""

    out: _Path
    """Folder of checkpoints, TensorBoard logs, the resulting weights, their evaluation and their card."""
    seed: _Int = 0
    steps: _PositiveInt = 60000
    start_from: _Path | None = None
    """Weights to fine-tune; None starts afresh."""
    encoder_from: _Path | None = None
    """A PyTorch file of EfficientNet-Lite0 trained on ImageNet, with which a fresh encoder is initialised."""
    batch: _PositiveInt = 8
    """Structures per step, each an interaction of six predictions."""
    learning_rate: _PositiveFloat = 1e-3
    encoder_rate: _Share = 0.3
    """Learning rate of the encoder, relative to the decoder's."""
    weight_decay: _Float = 0.02
    warmup_steps: _Int = 200
    decay_share: _Share = 0.2
    """Last share of the steps, over which the learning rate falls. Before that it is constant, so that a training can
    be shortened or prolonged."""
    ema_decay: _BelowOne = 0.999
    norm_steps: _Count = 1000
    """Steps after which the statistics of batch normalisation are frozen. The prompts within an interaction differ so
    much that normalising each by its own batch statistics would train another network than the one that is used."""
    checkpoint_minutes: _PositiveFloat = 10.0
    threads: _PositiveInt = 1
    device: str = "cpu"
    bfloat16: _Bool = False
    decoder_widths: Annotated[tuple[_PositiveInt, ...], AfterValidator(_four)] = (16, 48, 96, 160)
    size: _Size = 96
    coarse_size: _Size = 64
    coarse_steps: _Count = 0
    """First steps, taken at `coarse_size` pixels: shapes are learnt there at half the cost."""
    dropout: _BelowOne = 0.15
    data: DataConfig = field(default_factory=DataConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def size_at(self, step: int) -> int:
        """Side of the crops of a step, in pixels."""
        return self.coarse_size if step < self.coarse_steps else self.size


_TABLES: dict[str, type] = {"data": DataConfig, "evaluation": EvaluationConfig}


def read_config(path: Path) -> TrainingConfig:
    """Read a training file.

    Parameters
    ----------
    path : Path
        TOML. Relative paths in it count from its folder.

    Raises
    ------
    ConfigError
        If the file is absent, is not TOML, or holds an unknown, missing or impossible entry; names every one.
    """
    if not path.is_file():
        raise ConfigError(f"Expected a training configuration at {path}, found no file there.")
    try:
        values = tomllib.loads(read_text_file(path, "a training configuration", ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    try:
        return TypeAdapter(TrainingConfig).validate_python(values, context={"folder": path.parent})
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_in_words(dict(one)) for one in error.errors()) + ".") from error


def _in_words(mistake: dict[str, Any]) -> str:
    """One mistake: the entry, what was expected, what came."""
    *table, last = (str(part) for part in mistake["loc"]) if mistake["loc"] else ("file",)
    entry = ".".join([*table, last])
    if mistake["type"] == "unexpected_keyword_argument":
        known = fields(_TABLES[table[0]] if table else TrainingConfig)
        return f"unknown entry {entry!r}; known are {', '.join(sorted(one.name for one in known))}"
    if mistake["type"] == "missing":
        return f"the entry {entry!r} is missing"
    if mistake["type"] in ("dataclass_type", "dataclass_exact_type"):
        return f"expected a table [{entry}], got {mistake['input']!r}"
    message = str(mistake["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    message = re.sub("^Input should be (?=greater|less)", "expected a value ", message)
    return f"{entry}: {message.replace('Input should be', 'expected')}, got {mistake['input']!r}"
