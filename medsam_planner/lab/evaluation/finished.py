"""The folder of finished structures, from which an evaluation that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.engine_name import REFERENCE
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import whole_file, write_json
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.propagation.methods import propagation_version
from medsam_planner.volumes import BoxedArray

__all__ = ["FinishedStructures", "scoring_version"]

SCORING_VERSION = 1
"""Raised whenever a change of protocols or scores makes finished results invalid."""


def scoring_version(model: PromptableModel) -> str:
    """What scores depend on beside weights and settings: versions of propagation and scoring, and another engine."""
    engine = "" if model.engine == str(REFERENCE) else f", engine {model.engine}"
    return f"propagation {propagation_version(model)}, scoring {SCORING_VERSION}{engine}"


class FinishedStructures:
    """The folder ``finished/`` of an evaluation: one JSON file and one file of masks per structure.

    Parameters
    ----------
    folder : Path
        The evaluation's; created when absent.
    settings : mapping
        Everything that decides a score, as JSON values.

    Raises
    ------
    ConfigError
        If the folder holds an evaluation with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._place = open_run_folder(open_run_folder(folder) / "finished")
        stated, path = json.loads(json.dumps(settings)), self._place / "settings.json"
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            differing = sorted(key for key in {*found, *stated} if found.get(key) != stated.get(key))
            if differing:
                changes = "; ".join(f"{key}: {found.get(key)!r} there, {stated.get(key)!r} now" for key in differing)
                raise ConfigError(
                    f"{folder} holds an evaluation with other settings ({changes}). Choose another --out folder."
                )
        write_json(path, stated)

    def find(self, key: str, files_sha256: str) -> dict[str, Any] | None:
        """The record of a structure; None where it is not finished, or the files of its case have changed since."""
        path = self._path(key, ".json")
        if not path.is_file():
            return None
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record if record["files_sha256"] == files_sha256 else None

    def keep(self, record: Mapping[str, Any], masks: Mapping[str, BoxedArray]) -> None:
        """Write the masks of a structure, then its record: a structure with a record is finished."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, stored in masks.items():
            parts = {"low_index": stored.low_index, "mask": stored.part, "shape": stored.shape}
            arrays |= {f"{name}.{part}": np.asarray(value) for part, value in parts.items()}
        self.keep_arrays(record, arrays)

    def keep_arrays(self, record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """As :meth:`keep`, with any arrays instead of masks; :meth:`arrays` reads them."""
        with whole_file(self._path(record["key"], ".npz")) as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        write_json(self._path(record["key"], ".json"), dict(record))

    def arrays(self, key: str) -> dict[str, NDArray[Any]]:
        """All arrays of a structure."""
        with np.load(self._path(key, ".npz"), allow_pickle=False) as stored:
            return dict(stored)

    def mask(self, key: str, name: str) -> NDArray[np.bool_]:
        """A mask of a structure on its whole grid."""
        stored = self.arrays(key)
        low, mask, shape = (stored[f"{name}.{part}"] for part in ("low_index", "mask", "shape"))
        return BoxedArray(tuple(low.tolist()), mask, tuple(shape.tolist())).whole()

    def _path(self, key: str, suffix: str) -> Path:
        return self._place / (key.replace("/", "__") + suffix)
