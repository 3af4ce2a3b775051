"""The file of an automatic network: its tensors, how a study is prepared for it, and its card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medsam_planner.engine.compact_weights import read_metadata, write_tensors
from medsam_planner.errors import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["AUTOMATIC_FORMAT", "AutomaticCard", "is_automatic", "read_automatic", "write_automatic"]

AUTOMATIC_FORMAT = "medsam-planner-automatic-1"


@dataclass(frozen=True, slots=True)
class AutomaticCard:
    """What a file of an automatic network says of itself."""

    label: str
    """The structure that it segments."""
    modality: str
    """``"CT"`` or ``"MR"``, of all cases."""
    spacing_mm: tuple[float, float, float]
    """Of the network's grid, along right, anterior, superior."""
    spacing_range_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    """Smallest and largest spacing of the cases, along the same axes."""
    patch: tuple[int, int, int]
    """Voxels that the network sees at once."""
    intensity: tuple[float, float, float, float]
    """CT: 0.5 and 99.5 percentile, mean and standard deviation of the structure's HU. MR: zeros, as each image is
    normalised by itself."""
    is_one_part: bool
    """Whether the structure was one connected part in every case; then only the largest part of an answer counts."""
    cases_sha256: tuple[str, ...]
    """Hash of image and labels of each case that was trained on. Names are not kept, as a folder's name can be a
    patient's."""
    held_back_sha256: tuple[str, ...]
    steps: int
    """After which the held-back cases were segmented best."""
    date: str
    """ISO 8601."""
    text: str
    """The card, Markdown."""


def write_automatic(path: Path, tensors: dict[str, torch.Tensor], card: AutomaticCard) -> str:
    """Write an automatic network, whole or not at all; return the SHA-256 of the file."""
    stored = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    return write_tensors(path, stored, {"format": AUTOMATIC_FORMAT, "card": json.dumps(asdict(card), sort_keys=True)})


def is_automatic(path: Path) -> bool:
    """Whether a safetensors file holds an automatic network.

    Raises
    ------
    WeightsError
        If the file is absent or damaged.
    """
    return read_metadata(path).get("format") == AUTOMATIC_FORMAT


def read_automatic(path: Path) -> tuple[dict[str, torch.Tensor], AutomaticCard]:
    """Tensors and card of an automatic network.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or of another format.
    """
    from safetensors.torch import load_file

    metadata = read_metadata(path)
    if metadata.get("format") != AUTOMATIC_FORMAT:
        raise WeightsError(
            f"Expected an automatic network ({AUTOMATIC_FORMAT}) in {path}, got {metadata.get('format')!r}. Make one "
            "with `medsam-planner train-auto`; promptable weights go to --model of `segment`."
        )
    try:
        entries: dict[str, Any] = json.loads(metadata["card"])
        card = AutomaticCard(**{field.name: _tuples(entries[field.name]) for field in fields(AutomaticCard)})
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: the entry {error} of its card is missing or wrong. Train again.") from error
    return load_file(path), card


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
