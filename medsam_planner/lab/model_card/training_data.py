"""What weights were trained on, with the licences that the data states."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medsam_planner.errors import ConfigError

__all__ = ["TrainedOn", "sources_of"]

_UNKNOWN = "not stated"


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """Data of one kind and one licence."""

    what: str
    licence: str
    items: int
    """Cases, label maps, or 0 for what is drawn."""
    patients: int


def sources_of(names: Sequence[str], root: Path | None) -> list[TrainedOn]:
    """Group the names in the weights' metadata by what their ``meta.json`` says.

    Parameters
    ----------
    names : sequence of str
        As :func:`medsam_planner.lab.training.data_folder.trained_on` gives them.
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
        TrainedOn(what, licence, 0 if known == [""] else len(known), len(set(known) - {""}))
        for (what, licence), known in patients.items()
    ]


def _kind(name: str, root: Path | None) -> tuple[str, str]:
    if name == "procedural anatomy":
        return "procedural anatomy, contrast drawn at random", "Apache-2.0 (this repository)"
    meta = _meta(name, root)
    # What follows a semicolon tells one case from the next.
    anatomy = str(meta.get("anatomy") or "unnamed anatomy").split(";")[0].strip()
    drawn = ", contrast drawn at random" if name.startswith(("label_maps/", "readers/")) else ""
    return f"{meta.get('modality', 'unknown modality')}: {anatomy}{drawn}", str(meta.get("licence") or _UNKNOWN)


def _patient(name: str, root: Path | None) -> str:
    return "" if name == "procedural anatomy" else str(_meta(name, root).get("subject") or name)


def _meta(name: str, root: Path | None) -> dict[str, Any]:
    if root is None:
        return {}
    place = root / name if name.startswith("readers/") else root / "cases" / name
    path = (root / "label_maps" if name.startswith("label_maps/") else place) / "meta.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"Expected {path} to be a JSON object, got {error}.") from error
