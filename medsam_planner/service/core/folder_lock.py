"""One server for each data folder."""

from __future__ import annotations

import os
from pathlib import Path

from medsam_planner.errors import OutputError
from medsam_planner.io import file_lock

__all__ = ["locked"]


def locked(path: Path) -> int | None:
    """Lock a data folder by a file in it for the life of the process; gives what :func:`file_lock.locked` gives.

    Raises
    ------
    OutputError
        If another server holds it.
    """
    try:
        return file_lock.locked(path, os.O_RDWR | os.O_CREAT)
    except file_lock.NotLockedError as error:
        raise OutputError(
            f"Another server uses the data folder {path.parent}. Stop it, or name another folder with --data."
        ) from error
