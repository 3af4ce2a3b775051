"""A lock on a file or folder that a process keeps for as long as it holds it open."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["NotLockedError", "locked"]


class NotLockedError(Exception):
    """A lock that was not given.

    Parameters
    ----------
    is_held : bool
        Whether another process has it; otherwise the file system has no locks, as some network shares.
    """

    def __init__(self, *, is_held: bool) -> None:
        super().__init__()
        self.is_held = is_held


def locked(place: Path, flags: int = os.O_RDONLY, *, waits: bool = False) -> int | None:
    """Open a file or folder with `flags` and lock it; closing what is returned unlocks it.

    Parameters
    ----------
    place : Path
    flags : int
        Of :func:`os.open`.
    waits : bool
        Wait while another process has locked it.

    Returns
    -------
    int or None
        The open file; None on Windows, where nothing is opened.

    Raises
    ------
    NotLockedError
        If another process has locked it, or the file system has no locks.
    OSError
        If it cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = os.open(place, flags, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise NotLockedError(is_held=isinstance(error, BlockingIOError)) from error
    return handle
