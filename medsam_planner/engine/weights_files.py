"""Where fetched weights lie, and hashes of files that are computed once a process."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import platformdirs

from medsam_planner.io.files import file_sha256

__all__ = ["FOLDER_VARIABLE", "hash_of", "user_folder"]

FOLDER_VARIABLE = "MEDSAM_PLANNER_WEIGHTS"


def user_folder() -> Path:
    """Folder of fetched weights: ``$MEDSAM_PLANNER_WEIGHTS``, else ``medsam-planner/weights`` in the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path() / "medsam-planner" / "weights"


def hash_of(path: Path) -> str:
    """SHA-256 of a file, computed again only where the file was replaced or changed."""
    state = path.stat()
    return _hashed(path.resolve(), state.st_ino, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=16)
def _hashed(path: Path, *_state: int) -> str:
    return file_sha256(path)
