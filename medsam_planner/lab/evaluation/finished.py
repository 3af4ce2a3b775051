"""What is kept of every structure that was asked for, and the folder that lets a broken-off evaluation go on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import whole_file, write_json
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.propagation.methods import propagation_version
from medsam_planner.volumes import BoxedArray

__all__ = ["FinishedStructures", "scoring_version"]

SCORING_VERSION = 1
"""Raised whenever protocols or scores come to mean something else, so that finished work is asked for again."""


def scoring_version(model: PromptableModel) -> str:
    """What, beside weights and settings, decides a score: the way from slice to slice, and the protocols."""
    return f"propagation {propagation_version(model)}, scoring {SCORING_VERSION}"


class FinishedStructures:
    """The folder ``finished/`` of an evaluation: a JSON file and the masks of each structure, written whole.

    Parameters
    ----------
    folder : Path
        Of the evaluation; created when absent.
    settings : mapping
        All that decides a score, as JSON values. A folder made with others is refused.

    Raises
    ------
    ConfigError
        If the folder holds an evaluation made with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._place = open_run_folder(open_run_folder(folder) / "finished")
        stated, path = json.loads(json.dumps(settings)), self._place / "settings.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = sorted(key for key in {*found, *stated} if found.get(key) != stated.get(key))
            if differing:
                told = "; ".join(f"{key}: {found.get(key)!r} there, {stated.get(key)!r} now" for key in differing)
                raise ConfigError(f"{folder} holds an evaluation made otherwise ({told}). Choose another --out folder.")
        write_json(path, stated)

    def find(self, key: str, files_sha256: str) -> dict[str, Any] | None:
        """The record of a structure, or None where it was not asked for or its case has changed since."""
        path = self._path(key, ".json")
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record if record["files_sha256"] == files_sha256 else None

    def keep(self, record: Mapping[str, Any], masks: Mapping[str, BoxedArray]) -> None:
        """Write a structure's masks, then its record: what has a record is finished."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, stored in masks.items():
            parts = {"low_index": stored.low_index, "mask": stored.part, "shape": stored.shape}
            arrays |= {f"{name}.{part}": np.asarray(value) for part, value in parts.items()}
        self.keep_arrays(record, arrays)

    def keep_arrays(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """The same with any arrays; see :meth:`arrays`."""
        with whole_file(self._path(record["key"], ".npz")) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        write_json(self._path(record["key"], ".json"), dict(record))

    def arrays(self, key: str) -> dict[str, NDArray[Any]]:
        """All arrays kept of a structure."""
        with np.load(self._path(key, ".npz"), allow_pickle=False) as stored:
            return dict(stored)

    def mask(self, key: str, name: str) -> NDArray[np.bool_]:
        """A kept mask on its grid."""
        stored = self.arrays(key)
        low, mask, shape = (stored[f"{name}.{part}"] for part in ("low_index", "mask", "shape"))
        return BoxedArray(tuple(low.tolist()), mask, tuple(shape.tolist())).whole()

    def _path(self, key: str, suffix: str) -> Path:
        return self._place / (key.replace("/", "__") + suffix)
