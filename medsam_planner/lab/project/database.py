"""``project.sqlite``: studies, events and prompts. Write-ahead log, so that one may write while others read.

Events are only ever added. A change is one transaction that takes the write lock first, so that two people who work at
once get one order. The write-ahead log needs a local disk, not a network share.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsam_planner.errors import ConfigError

__all__ = ["SCHEMA_VERSION", "create_database", "reading", "writing"]

SCHEMA_VERSION = 1
_BUSY_MS = 10_000
_SCHEMA = """
CREATE TABLE studies (
    name TEXT PRIMARY KEY, patient TEXT NOT NULL, modality TEXT NOT NULL, image_sha256 TEXT NOT NULL UNIQUE,
    is_copied INTEGER NOT NULL, state TEXT NOT NULL
) STRICT;
CREATE TABLE events (
    number INTEGER PRIMARY KEY, study TEXT NOT NULL REFERENCES studies (name), at TEXT NOT NULL, who TEXT NOT NULL,
    kind TEXT NOT NULL, structure TEXT, content TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_study ON events (study, number);
CREATE TABLE prompts (
    event INTEGER NOT NULL REFERENCES events (number), position INTEGER NOT NULL, entry TEXT NOT NULL,
    PRIMARY KEY (event, position)
) STRICT;
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE (ABORT, 'events are only added'); END;
CREATE TRIGGER events_remain BEFORE DELETE ON events BEGIN SELECT RAISE (ABORT, 'events are only added'); END;
"""


def create_database(path: Path) -> None:
    """Create the file, with the write-ahead log on."""
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"{_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};")
    finally:
        connection.close()


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection on which one state of the file is read.

    Raises
    ------
    ConfigError
        If the file is absent, damaged, of another version, or busy.
    """
    if not path.is_file():
        raise ConfigError(
            f"Expected the database of a project at {path}, found none. Run `medsam-planner project init`."
        )
    try:
        connection = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version != SCHEMA_VERSION:
                raise ConfigError(
                    f"Expected version {SCHEMA_VERSION} of a project in {path}, got {version}. A later version needs a "
                    "later release of this program."
                )
            yield connection
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        raise ConfigError(
            f"{path} cannot be used now ({error}). Is another program writing it, or is the disk full?"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is damaged or was refused: {error}.") from error


@contextmanager
def writing(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection in one transaction, which is taken back as a whole if anything fails."""
    with reading(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
