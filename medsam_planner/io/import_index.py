"""The state of a check of an archive, on disk: it may be larger than memory, and may be interrupted at any time."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from medsam_planner.errors import OutputError

__all__ = ["CheckedRow", "ImportIndex", "IndexedFile", "Unit"]

_PROBED = 1000
"""Known files of which one must be there still."""

_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    name BLOB PRIMARY KEY, size INTEGER, changed INTEGER, unit TEXT, walk INTEGER
);
CREATE INDEX IF NOT EXISTS files_by_unit ON files (unit, name);
CREATE TABLE IF NOT EXISTS units (unit TEXT PRIMARY KEY, digest TEXT, rows TEXT, walk INTEGER);
CREATE TABLE IF NOT EXISTS walks (number INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT);
CREATE TABLE IF NOT EXISTS archive (place BLOB);
"""


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file by its name relative to the archive, and whether it changed since it was looked at."""

    name: str
    size: int
    changed: int
    """Time of its last change, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Files that are checked together: those of one series, or one file that is no DICOM image."""

    key: str
    names: tuple[str, ...]
    digest: str
    """Of names, sizes and times of change."""


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row of the table: one series, one NIfTI file, or files of one kind that are no image."""

    status: str
    """``"readable"``, ``"several volumes"``, ``"refused"``, ``"damaged"`` or ``"no image"``."""
    where: str
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    modality: str = ""
    description: str = ""
    files: int = 1
    shape: str = ""
    spacing_mm: str = ""
    encoding: str = ""
    volumes: int = 1
    reason: str = ""
    notes: str = ""


class ImportIndex:
    """An SQLite file with what was found in one archive. Every method leaves it complete on disk.

    Parameters
    ----------
    path : Path
    archive : Path
        The folder that is checked.
    version : str
        Of this program.

    Raises
    ------
    OutputError
        If the file cannot be opened, is something else, or is of another archive.
    """

    def __init__(self, path: Path, archive: Path, version: str) -> None:
        try:
            self._base = sqlite3.connect(path)
            self._base.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
            self._base.executescript(_TABLES)
            self._require_of(archive)
            with self._base:
                last = self._base.execute("SELECT version FROM walks ORDER BY number DESC LIMIT 1").fetchone()
                if last is not None and last[0] != version:  # another version may judge otherwise
                    self._base.execute("DELETE FROM units")
                self._walk = self._base.execute("INSERT INTO walks (version) VALUES (?)", (version,)).lastrowid
        except sqlite3.Error as error:
            raise OutputError(f"{path} is no index of this program ({error}). Name a new folder.") from error

    def _require_of(self, archive: Path) -> None:
        """Refuse the index of another archive: its rows would be dropped, and its table replaced."""
        place = os.fsencode(archive.resolve())
        names = [name for (name,) in self._base.execute("SELECT name FROM files LIMIT ?", (_PROBED,))]
        of = self._base.execute("SELECT place FROM archive").fetchone()
        if names and (of is None or of[0] != place):
            told = "another folder" if of is None else f"the archive {os.fsdecode(of[0])}"
            raise self._of_another(told)
        if names and not any(os.path.lexists(archive / os.fsdecode(name)) for name in names):
            raise self._of_another("other files at the same place")
        with self._base:
            self._base.execute("DELETE FROM archive")
            self._base.execute("INSERT INTO archive VALUES (?)", (place,))

    def _of_another(self, told: str) -> OutputError:
        self._base.close()
        return OutputError(
            "Expected a new folder for the results, or that of an earlier check of this archive; it holds the check of "
            f"{told}, which would be replaced. Name another folder with --out, or delete that check first."
        )

    def __enter__(self) -> ImportIndex:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._base.close()

    def unknown(self, files: Sequence[IndexedFile]) -> list[IndexedFile]:
        """Those of `files` that are new or have changed; the others are marked as still there."""
        new = []
        with self._base:
            for file in files:
                found = self._base.execute(
                    "UPDATE files SET walk = ? WHERE name = ? AND size = ? AND changed = ?",
                    (self._walk, os.fsencode(file.name), file.size, file.changed),
                )
                if not found.rowcount:
                    new.append(file)
        return new

    def add(self, files: Iterable[tuple[IndexedFile, str]]) -> None:
        """Record which unit each file belongs to."""
        with self._base:
            self._base.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
                ((os.fsencode(file.name), file.size, file.changed, _text(unit), self._walk) for file, unit in files),
            )

    def forget_absent(self) -> None:
        """Drop files that this walk did not meet."""
        with self._base:
            self._base.execute("DELETE FROM files WHERE walk <> ?", (self._walk,))
            self._base.execute("DELETE FROM units WHERE unit NOT IN (SELECT unit FROM files)")

    def open_count(self) -> int:
        """Number of units without a result of their present files."""
        return sum(1 for _ in self.open_units())

    def open_units(self) -> Iterator[Unit]:
        """Units that have no result yet, or one of other files."""
        with closing(self._base.cursor()) as cursor:
            keys = cursor.execute("SELECT DISTINCT unit FROM files ORDER BY unit").fetchall()
        for (key,) in keys:
            files = self._base.execute(
                "SELECT name, size, changed FROM files WHERE unit = ? ORDER BY name", (key,)
            ).fetchall()
            digest = _digest(files)
            done = self._base.execute("SELECT digest FROM units WHERE unit = ?", (key,)).fetchone()
            if done is None or done[0] != digest:
                yield Unit(key, tuple(os.fsdecode(name) for name, _, _ in files), digest)

    def keep(self, unit: Unit, rows: Sequence[CheckedRow]) -> None:
        """Record the result of a unit."""
        text = json.dumps([asdict(row) for row in rows])
        with self._base:
            self._base.execute(
                "INSERT OR REPLACE INTO units VALUES (?, ?, ?, ?)", (unit.key, unit.digest, text, self._walk)
            )

    def rows(self) -> Iterator[CheckedRow]:
        """All results."""
        for (text,) in self._base.execute("SELECT rows FROM units ORDER BY unit"):
            yield from (CheckedRow(**row) for row in json.loads(text))


def _digest(files: Sequence[tuple[bytes, int, int]]) -> str:
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _text(name: str) -> str:
    """A name that may hold bytes of no encoding, as text that can be stored."""
    return name.encode("utf-8", "backslashreplace").decode()
