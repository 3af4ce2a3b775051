"""The audit log of a data folder: who opened, changed, exported, decided and deleted what. Append-only.

``audit.jsonl`` holds one JSON line an event: the time, who, the event, identifiers, and what. It names no patient:
studies and sessions are told by identifier alone, structures and titles not at all. A line is flushed to the disk
before what it tells is done, and what cannot be told is not done. So the log may hold an action that failed afterwards,
never the reverse, except where the retention frees a full disk (see ``retention.py``). Each line opens the file anew:
it can be moved away while the server runs.
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

from medsam_planner.errors import OutputError
from medsam_planner.service.core.journal import write_flushed

__all__ = ["AUDIT_FILE", "Audit"]

AUDIT_FILE = "audit.jsonl"
_REMEMBERED = 10_000


class Audit:
    """The log in one file.

    Parameters
    ----------
    path : Path
        An absent one is begun with the first event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._told: dict[tuple[str, ...], None] = {}

    def tell(
        self,
        event: str,
        actor: str,
        *,
        study: str | None = None,
        session: str | None = None,
        what: str | None = None,
    ) -> None:
        """Append an event and flush it to the disk.

        Parameters
        ----------
        event : str
            ``opened``, ``changed``, ``exported``, ``decided``, ``login``, ``login failed``, ``logout``,
            ``rights changed``, ``asked a PACS`` or ``deleted``.
        actor : str
            Name of who did it.
        study, session : str, optional
            Identifiers.
        what : str, optional
            No name that could be a patient's.

        Raises
        ------
        OutputError
            If it cannot be written. Nothing of the line is left.
        """
        entry = {"at": _now(), "actor": actor, "event": event, "study": study, "session": session, "what": what}
        line = json.dumps({key: value for key, value in entry.items() if value is not None}).encode("ascii") + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                raise OutputError(
                    f"The audit log cannot be written: {error.strerror or error}. Nothing was done. Free some space on "
                    "the server, then try again."
                ) from error

    def tell_once_a_day(self, event: str, actor: str, *, study: str | None = None, session: str | None = None) -> None:
        """As :meth:`tell`, for what clients do every few seconds."""
        key = (_now()[:10], event, actor, study or "", session or "")
        if key in self._told:
            return
        self.tell(event, actor, study=study, session=session)
        with self._lock:
            self._told[key] = None
            while len(self._told) > _REMEMBERED:
                del self._told[next(iter(self._told))]

    def _append(self, line: bytes) -> None:
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _lock(handle)
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":  # a line that a sudden end has torn
                line = b"\n" + line
            try:
                write_flushed(handle, line)
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)


def _lock(handle: int) -> None:
    """Until the file is closed: ``medsam-planner users`` appends, too."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    fcntl.flock(handle, fcntl.LOCK_EX)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
