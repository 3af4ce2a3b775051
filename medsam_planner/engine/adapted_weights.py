"""Adapted weights: a small file of changes to known base weights, with a card of its own.

The file holds, for each changed tensor of the base network, the difference (``NAME``) or its two low-rank factors
(``NAME:down`` and ``NAME:up``, whose product is the difference). The base weights stay as they are, and a file is
refused where their SHA-256 is not the one it was made from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medsam_planner.engine.compact_weights import read_metadata, write_tensors
from medsam_planner.errors import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["ADAPTED_FORMAT", "AdaptedCard", "apply_changes", "is_adapted", "read_adapted", "read_card", "write_adapted"]

ADAPTED_FORMAT = "medsam-planner-adapted-1"
_DOWN, _UP = ":down", ":up"


@dataclass(frozen=True, slots=True)
class AdaptedCard:
    """What a file of adapted weights says of itself."""

    kind: Literal["compact", "medsam"]
    """Which of the models the base weights are of."""
    base_name: str
    """Name or file of the base weights; their hash decides."""
    base_sha256: str
    label: str
    """The structure that the cases show."""
    cases_sha256: tuple[str, ...]
    """Hash of the image and labels of each case. Names are not kept, as a folder's name can be a patient's."""
    date: str
    """ISO 8601."""
    trained: str
    """Which tensors were trained, in words."""
    steps: int
    text: str
    """The card, Markdown."""


def write_adapted(path: Path, changes: dict[str, torch.Tensor], card: AdaptedCard, *, trained_on: list[str]) -> str:
    """Write adapted weights, whole or not at all; return the SHA-256 of the file.

    Parameters
    ----------
    path : Path
        Ends in ``.safetensors``.
    changes : dict of str to Tensor
        Differences to the tensors of the base, or their low-rank factors; stored as float16.
    card : AdaptedCard
    trained_on : list of str
        Training data of the base weights; that of the adaptation is added by hash.
    """
    import torch

    metadata = {
        "format": ADAPTED_FORMAT,
        "kind": card.kind,
        "base_name": card.base_name,
        "base_sha256": card.base_sha256,
        "label": card.label,
        "cases_sha256": json.dumps(card.cases_sha256),
        "trained_on": json.dumps([*trained_on, *(f"sha256:{one}" for one in card.cases_sha256)]),
        "date": card.date,
        "trained": card.trained,
        "steps": str(card.steps),
        "card": card.text,
    }
    stored = {name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in changes.items()}
    return write_tensors(path, stored, metadata)


def is_adapted(path: Path) -> bool:
    """Whether a safetensors file holds adapted weights.

    Raises
    ------
    WeightsError
        If the file is absent or damaged.
    """
    return read_metadata(path).get("format") == ADAPTED_FORMAT


def read_adapted(path: Path) -> tuple[dict[str, torch.Tensor], AdaptedCard, dict[str, str]]:
    """Changes in float32, card, and all metadata of a file of adapted weights.

    Raises
    ------
    WeightsError
        As :func:`read_card`.
    """
    from safetensors.torch import load_file

    card, metadata = read_card(path)
    return {name: tensor.float() for name, tensor in load_file(path).items()}, card, metadata


def read_card(path: Path) -> tuple[AdaptedCard, dict[str, str]]:
    """Card and all metadata of a file of adapted weights; its tensors are not read.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or of another format.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != ADAPTED_FORMAT:
        raise WeightsError(f"Expected adapted weights ({ADAPTED_FORMAT}) in {path}, got {metadata.get('format')!r}.")
    try:
        kind: Any = metadata["kind"]
        if kind not in ("compact", "medsam"):
            raise ValueError(f"kind {kind!r}")
        card = AdaptedCard(
            kind=kind,
            base_name=metadata["base_name"],
            base_sha256=metadata["base_sha256"],
            label=metadata["label"],
            cases_sha256=tuple(json.loads(metadata["cases_sha256"])),
            date=metadata["date"],
            trained=metadata["trained"],
            steps=int(metadata["steps"]),
            text=metadata["card"],
        )
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{path}: the entry {error} of its metadata is missing or wrong. Adapt again.") from error
    return card, metadata


def apply_changes(network: torch.nn.Module, changes: dict[str, torch.Tensor], *, source: str) -> None:
    """Add changes to the tensors of a network in place.

    Parameters
    ----------
    network : torch.nn.Module
        With the base weights.
    changes : dict of str to Tensor
        As :func:`read_adapted` gives them.
    source : str
        Where they come from, for the message.

    Raises
    ------
    WeightsError
        If a change is of a tensor that the network does not have, or of another shape; nothing is changed then.
    """
    import torch

    state = network.state_dict()
    full: dict[str, torch.Tensor] = {}
    for name, change in changes.items():
        if name.endswith(_DOWN):
            continue
        target = name.removesuffix(_UP)
        if name.endswith(_UP):
            down = changes.get(target + _DOWN)
            if down is None or change.ndim != 2 or down.ndim != 2 or change.shape[1] != down.shape[0]:
                raise WeightsError(f"{source}: the low-rank factors of {target!r} do not fit together. Adapt again.")
            change = change @ down
        if target not in state or state[target].shape != change.shape:
            raise WeightsError(f"{source} does not fit its base weights, first at {target!r}. Adapt again.")
        if not bool(torch.isfinite(change).all()):
            raise WeightsError(f"{source}: the change of {target!r} is not finite. Adapt again.")
        full[target] = change
    with torch.no_grad():
        for target, change in full.items():
            state[target].add_(change)
