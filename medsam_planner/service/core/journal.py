"""The append-only journal of one session: what was acknowledged is on the disk, whatever happens to the process.

One JSON line for each record, with its number and a checksum. A line is written by one ``write`` and flushed to the
disk before the caller goes on. A file and not a database: one process writes it, it is read whole when the server
starts and deleted whole with its session, a person can read it, and a flushed append costs what a commit of SQLite
costs.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medsam_planner.errors import NotThereError, OutputError, ReadOnlyError
from medsam_planner.io.files import sync_folder
from prompts.whole_file import NO_ROOM

__all__ = ["Journal", "Record", "write_flushed"]

Record = dict[str, Any]
"""``n``, ``at``, ``kind`` and the entries of that kind; ``crc`` is only in the file."""


class Journal:
    """The journal in one file. It has no lock of its own: one thread at a time may append.

    Parameters
    ----------
    path : Path
        The file; an absent one is begun. Its folder must exist. A last line that was not written to its end is cut
        off: it was never acknowledged.

    Raises
    ------
    OutputError
        If the file cannot be read, or not be begun.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: str | None = None
        """Why nothing can be appended any more, as a sentence; None while all is well."""
        self._count = 0
        self._size = 0
        try:
            if not path.exists():
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                _flush_folder(path.parent)
            self.records_at_start = self._read(path.read_bytes())
        except OSError as error:
            raise OutputError(f"The journal {path.name} cannot be opened: {error.strerror or error}.") from error

    def append(self, kind: str, **entries: Any) -> Record:
        """Append a record and flush it to the disk.

        Parameters
        ----------
        kind : str
        **entries
            Plain JSON values.

        Returns
        -------
        dict
            The record with its number ``n`` and the time ``at``, which is for people only: `n` orders.

        Raises
        ------
        NotThereError
            If the file was deleted.
        OutputError
            If there is no room. Nothing of the record is left, and it may be tried again.
        ReadOnlyError
            If the journal is damaged.
        """
        if self.damage is not None:
            raise ReadOnlyError(f"{self.damage} The session can be read; begin a new one on the study to go on.")
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record: Record = {"n": self._count + 1, "at": at, "kind": kind, **entries}
        line = _line({**record, "crc": _checksum(record)})
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except FileNotFoundError:
            raise NotThereError("The session has been deleted.") from None
        except OSError as error:
            raise _not_written(error) from error
        try:
            write_flushed(file, line)
        except OSError as error:
            self._cut_back(file, error)
            raise _not_written(error) from error
        finally:
            os.close(file)
        self._size += len(line)
        self._count += 1
        return record

    def _cut_back(self, file: int, error: OSError) -> None:
        """Remove what a failed write has left; where that fails, or the disk is at fault, nothing may follow it."""
        try:
            os.ftruncate(file, self._size)
            os.fdatasync(file)
        except OSError:
            self.damage = "The disk refuses to keep the journal of this session."
        if error.errno not in NO_ROOM:
            self.damage = f"The disk failed to keep the journal of this session: {error.strerror or error}."

    def _read(self, content: bytes) -> tuple[Record, ...]:
        found: list[Record] = []
        *lines, torn = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            record = _record(line, number)
            if record is None:
                self.damage = f"Line {number} of the journal of this session is damaged."
                break
            found.append(record)
            self._size += len(line) + 1
        self._count = len(found)
        if torn and self.damage is None:
            file = os.open(self.path, os.O_WRONLY)
            try:
                os.ftruncate(file, self._size)
                os.fdatasync(file)
            finally:
                os.close(file)
        return tuple(found)


def write_flushed(file: int, line: bytes) -> None:
    """Write a line by one ``write`` and flush it to the disk.

    Raises
    ------
    OSError
        Also if there was room for a part of it only, which is then in the file.
    """
    if os.write(file, line) < len(line):
        raise OSError(errno.ENOSPC, "no space is left on the disk")
    os.fdatasync(file)


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder, and its own, to the disk."""
    for one in (folder, folder.parent):
        sync_folder(one)


def _not_written(error: OSError) -> OutputError:
    return OutputError(
        f"The journal of the session cannot be written: {error.strerror or error}. Nothing was changed. Free some "
        "space on the server, then try again."
    )


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _checksum(record: Mapping[str, Any]) -> int:
    return zlib.crc32(_line(record))


def _record(line: bytes, number: int) -> Record | None:
    """The record in a line; None if it is damaged or not the one with that number."""
    try:
        record = json.loads(line)
        is_whole = record.pop("crc") == _checksum(record) and record["n"] == number and isinstance(record["kind"], str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if is_whole else None
