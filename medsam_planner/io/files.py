"""Write JSON files: strict JSON, and atomically; hash files, and make names survive a power failure."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prompts.json_text import key_path
from prompts.whole_file import whole_file, write_whole

__all__ = [
    "NotFiniteError",
    "file_sha256",
    "json_text",
    "sync_folder",
    "whole_file",
    "write_json",
    "write_whole",
]


class NotFiniteError(ValueError):
    """A number that JSON cannot represent, which is a fault of the program and not of the user."""


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write strict JSON atomically.

    Raises
    ------
    NotFiniteError
        If a number is infinite or not a number; the message names its place. What was there stays.
    OutputError
        If the place cannot be written.
    """
    write_whole(path, json_text(document, source=path.name))


def json_text(document: Mapping[str, Any], *, source: str = "document", indent: int | None = 2) -> str:
    """The text of :func:`write_json`; `source` names the document in messages."""
    try:
        return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    except ValueError as error:
        place = _first_not_finite(document)
        if place is None:
            raise
        raise NotFiniteError(f"{source}: {place[0]} is {place[1]}, which no JSON can hold.") from error


def _first_not_finite(value: Any, path: str = "") -> tuple[str, float] | None:
    if isinstance(value, float) and not math.isfinite(value):
        return path, value
    parts: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        parts = [(key_path(path, str(key)), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        parts = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
    for place, item in parts:
        found = _first_not_finite(item, place)
        if found is not None:
            return found
    return None


def file_sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make names in a folder survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
