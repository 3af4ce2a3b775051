"""Which paths results may state: a folder named after a patient must not leak through a file that is passed on.

By default none outside the run's folder. On request, relative to it, so that `replay` finds the study on its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import highdicom

from medsam_planner.volumes import source_of

__all__ = ["place_of_study", "without_folders"]

_FILES = frozenset({"mask", "spread", "calibration"})
"""Entries of a plan file that name files."""


def place_of_study(study: highdicom.Volume, run: Path, *, with_paths: bool) -> str | None:
    """Where the files of a study lie, relative to the folder of a run.

    Parameters
    ----------
    study : Volume
    run : Path
    with_paths : bool
        State it also where the study lies outside the run's folder.

    Returns
    -------
    str or None
        With ``/``; None where nothing is to be stated, or the volume was not read from files.
    """
    source = source_of(study)
    if source is None:
        return None
    place, folder = source.path.resolve(), run.resolve()
    if folder not in place.parents and not with_paths:
        return None
    try:
        return Path(os.path.relpath(place, folder)).as_posix()
    except ValueError:  # another drive
        return place.as_posix()


def without_folders(plan_file: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a plan file without the study's path, and with files by their names alone."""
    return {key: _without(key, value) for key, value in plan_file.items()}


def _without(key: str, value: Any) -> Any:
    if key == "study" and isinstance(value, Mapping):
        return {name: one for name, one in value.items() if name != "path"}
    if key in _FILES and isinstance(value, str):
        return value.replace("\\", "/").rpartition("/")[2]
    if isinstance(value, Mapping):
        return without_folders(value)
    if isinstance(value, list):
        return [_without("", one) for one in value]
    return value
