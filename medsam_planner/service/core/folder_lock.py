"""One server for each data folder."""

from __future__ import annotations

import os
from pathlib import Path

from medsam_planner.errors import OutputError

__all__ = ["locked"]


def locked(path: Path) -> int:
    """Lock a data folder for the life of the process; gives the open file, which holds the lock.

    Raises
    ------
    OutputError
        If another server holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        import fcntl
    except ImportError:  # Windows
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise OutputError(
            f"Another server uses the data folder {path.parent}. Stop it, or name another folder with --data."
        ) from error
    return handle
