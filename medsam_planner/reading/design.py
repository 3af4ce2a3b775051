"""Who reads which case when, and in which mode: counterbalanced, in random order, blinded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.io.files import file_sha256
from medsam_planner.reading.study_file import Mode, ReadingCase, ReadingTable

__all__ = ["Slot", "design_digest", "reading_order"]


@dataclass(frozen=True, slots=True)
class Slot:
    """One reading of one reader."""

    number: int
    """From 1, over all occasions: what a reader sees instead of the name of the case."""
    occasion: int
    """From 0; between two occasions lies the wash-out."""
    case: ReadingCase
    mode: Mode


def reading_order(table: ReadingTable, reader: str) -> tuple[Slot, ...]:
    """All readings of one reader, in their order.

    Each reader reads every case once in every mode, on as many occasions as there are modes. On one occasion each
    mode has its share of the cases, and no case comes twice; over the occasions a case goes through all modes, and over
    the readers each mode comes first equally often (a Latin square). Within an occasion the order is random.

    Parameters
    ----------
    table : ReadingTable
        The same table gives the same order.
    reader : str

    Raises
    ------
    ConfigError
        If the study has no such reader.
    """
    if reader not in table.readers:
        raise ConfigError(f"{reader} is no reader of this study. Its readers are {', '.join(table.readers)}.")
    grouping = np.random.default_rng([table.seed]).permutation(len(table.cases))
    group_of = {int(case): place % len(table.modes) for place, case in enumerate(grouping)}
    key = int.from_bytes(hashlib.sha256(reader.encode()).digest()[:8], "big")
    random = np.random.default_rng([table.seed, key])
    shift = table.readers.index(reader)
    slots: list[Slot] = []
    for occasion in range(len(table.modes)):
        for index in random.permutation(len(table.cases)):
            mode = table.modes[(group_of[int(index)] + occasion + shift) % len(table.modes)]
            slots.append(Slot(len(slots) + 1, occasion, table.cases[int(index)], mode))
    return tuple(slots)


def design_digest(table: ReadingTable) -> str:
    """SHA-256 of what decides what readers see and are asked, files included; where these lie does not count."""
    document = table.model_dump(mode="json", exclude={"cases"})
    document["cases"] = [
        {
            "name": case.name,
            "positive": case.positive,
            "image": _content(case.image),
            "masks": {name: _content(path) for name, path in case.masks.items()},
            "plan": None if case.plan is None else _content(case.plan / "plan.json"),
            "uncertainty": None if case.uncertainty is None else _content(case.uncertainty),
        }
        for case in table.cases
    ]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _content(path: Path) -> str:
    """Hash of a file, or of the files of a folder by their names."""
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    try:
        return hashlib.sha256("".join(f"{file.name} {file_sha256(file)}\n" for file in files).encode()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Correct its path in the study file.") from error
