"""What readers did, in one SQLite file: rows are added, never changed, and on the disk before they are acknowledged.

SQLite and not a journal, because an export or a second server may read while readers are at work, and because
"one reading of a slot" is a constraint that the file itself keeps.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from medsam_planner.errors import ConfigError, ForbiddenError, NotThereError, OutputError
from medsam_planner.reading.design import Slot, design_digest, reading_order
from medsam_planner.reading.study_file import ReadingTable

__all__ = ["MOST_CHANGES", "Answer", "Progress", "Reading", "ReadingRecords"]

_Event = tuple[datetime, str, dict[str, Any]]
"""When, its kind, its content."""

_TABLES = """
CREATE TABLE IF NOT EXISTS study (one INTEGER PRIMARY KEY CHECK (one = 1), digest TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    n INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, reader TEXT NOT NULL, slot INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('shown', 'changed', 'read')), content TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS once ON events (reader, slot) WHERE kind = 'read';
CREATE TRIGGER IF NOT EXISTS kept BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are kept'); END;
CREATE TRIGGER IF NOT EXISTS stays BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are kept'); END;
"""
MOST_CHANGES = 500
"""Of one case."""
_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader says of one slot."""

    rating: int
    """Number of the answer, from 1, the worst."""
    is_accepted: bool
    confidence: int | None
    """0 to 100, where the study asks for it."""
    comment: str
    active_s: float
    """Time with the page in view, as the browser counted."""

    @property
    def score(self) -> int:
        """The confidence where it was asked for, else the rating."""
        return self.rating if self.confidence is None else self.confidence


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading that was given."""

    reader: str
    slot: Slot
    answer: Answer
    at: str
    seconds: float
    """From when the case was last shown until the answer, by the server's clock."""
    interruptions: int
    """How often the case was shown again."""
    changes: tuple[Mapping[str, Any], ...]
    """Ends of the plan that were moved and places that were marked, as they stood at the answer."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a reader is."""

    done: int
    total: int
    current: Slot | None
    """What is read next; None while the wash-out lasts, and at the end."""
    opens_at: str | None
    """When the next occasion begins; None unless one is waited for."""


class ReadingRecords:
    """The records of a study.

    Parameters
    ----------
    path : Path
        The file; an absent one is begun.
    table : ReadingTable

    Raises
    ------
    ConfigError
        If the file belongs to another design: what readers see may not change while they read.
    OutputError
        If the file cannot be opened.
    """

    def __init__(self, path: Path, table: ReadingTable) -> None:
        self.path, self.table = path, table
        self._slots = {reader: reading_order(table, reader) for reader in table.readers}
        self.design_sha256 = design_digest(table)
        with self._open() as file:
            file.executescript(_TABLES)
            file.execute("INSERT OR IGNORE INTO study VALUES (1, ?, ?)", (self.design_sha256, _now().isoformat()))
            known = file.execute("SELECT digest FROM study").fetchone()[0]
        if known != self.design_sha256:
            raise ConfigError(
                f"{path} holds readings of another design: cases, files, readers, modes or questions of the study were "
                "changed since. Restore them, or begin the records of a new study in another file."
            )

    def progress(self, reader: str, *, now: datetime | None = None) -> Progress:
        """Where a reader stands.

        Raises
        ------
        ForbiddenError
            If the study has no such reader.
        """
        slots = self._of(reader)
        given = self._times(reader)
        following = next((slot for slot in slots if slot.number not in given), None)
        if following is None:
            return Progress(len(given), len(slots), None, None)
        before = [given[slot.number] for slot in slots if slot.occasion < following.occasion]
        if before:
            opens = max(before) + timedelta(days=self.table.washout_days)
            if (now or _now()) < opens:
                return Progress(len(given), len(slots), None, opens.isoformat(timespec="minutes"))
        return Progress(len(given), len(slots), following, None)

    def current(self, reader: str, number: int) -> Slot:
        """The reader's next slot, which `number` must name: neither back, nor ahead, nor into the wash-out.

        Raises
        ------
        ForbiddenError
            If the slot is not the next one, or the study has no such reader.
        """
        slot = self.progress(reader).current
        if slot is None or slot.number != number:
            raise ForbiddenError("That case is not your next one. Reload the page.")
        return slot

    def show(self, reader: str, number: int) -> None:
        """Note that a slot is shown; its time runs from now."""
        self.current(reader, number)
        self._add(reader, number, "shown", {})

    def change(self, reader: str, number: int, changes: Sequence[Mapping[str, Any]]) -> None:
        """Note the changes to a slot as they stand now; the last ones before the answer count.

        Raises
        ------
        ConfigError
            If there are too many.
        """
        self.current(reader, number)
        if len(changes) > MOST_CHANGES:
            raise ConfigError(f"Expected {MOST_CHANGES} changes of a case at most, got {len(changes)}.")
        self._add(reader, number, "changed", {"changes": list(changes)})

    def changes(self, reader: str, number: int) -> list[Mapping[str, Any]]:
        """The changes to a slot as they stand."""
        return _net_changes(self._events(reader, number))

    def answer(self, reader: str, number: int, answer: Answer) -> None:
        """Keep the reading of a slot, once and for all.

        Raises
        ------
        ConfigError
            If the answer does not fit the questions, or the slot was not shown.
        ForbiddenError
            If the slot is not the reader's next one.
        OutputError
            If it cannot be kept; nothing of it is then.
        """
        self.current(reader, number)
        scale = len(self.table.scale)
        if not 1 <= answer.rating <= scale:
            raise ConfigError(f"Expected a rating from 1 to {scale}, got {answer.rating}.")
        if (answer.confidence is None) != (self.table.confidence is None):
            told = "no confidence" if self.table.confidence is None else "a confidence"
            raise ConfigError(f"This study asks for {told}; got {answer.confidence}.")
        if answer.confidence is not None and not 0 <= answer.confidence <= 100:
            raise ConfigError(f"Expected a confidence from 0 to 100, got {answer.confidence}.")
        if not any(kind == "shown" for _, kind, _ in self._events(reader, number)):
            raise ConfigError("This case has not been shown yet. Load it first.")
        self._add(reader, number, "read", asdict(answer))

    def readings(self) -> list[Reading]:
        """All readings that were given, by reader and slot."""
        with self._open() as file:
            rows = file.execute("SELECT reader, slot, at, kind, content FROM events ORDER BY n").fetchall()
        events_by_slot: dict[tuple[str, int], list[_Event]] = defaultdict(list)
        for reader, number, *event in rows:
            events_by_slot[reader, number].append(_event(*event))
        found = []
        for reader, slots in self._slots.items():
            for slot in slots:
                events = events_by_slot[reader, slot.number]
                last = next((event for event in events if event[1] == "read"), None)
                if last is None:
                    continue
                shown = [at for at, kind, _ in events if kind == "shown" and at <= last[0]]
                seconds = (last[0] - shown[-1]).total_seconds()
                at = last[0].isoformat(timespec="seconds")
                changes = tuple(_net_changes(events))
                found.append(Reading(reader, slot, Answer(**last[2]), at, seconds, len(shown) - 1, changes))
        return found

    def _of(self, reader: str) -> tuple[Slot, ...]:
        if reader not in self._slots:
            raise ForbiddenError("You are no reader of this study. Ask whoever runs it to add your user name.")
        return self._slots[reader]

    def _times(self, reader: str) -> dict[int, datetime]:
        with self._open() as file:
            rows = file.execute("SELECT slot, at FROM events WHERE reader = ? AND kind = 'read'", (reader,)).fetchall()
        return {slot: datetime.fromisoformat(at) for slot, at in rows}

    def _events(self, reader: str, number: int) -> list[_Event]:
        with self._open() as file:
            rows = file.execute(
                "SELECT at, kind, content FROM events WHERE reader = ? AND slot = ? ORDER BY n", (reader, number)
            ).fetchall()
        return [_event(*row) for row in rows]

    def _add(self, reader: str, number: int, kind: str, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, allow_nan=False)
        try:
            with self._open() as file:
                file.execute(
                    "INSERT INTO events (at, reader, slot, kind, content) VALUES (?, ?, ?, ?, ?)",
                    (_now().isoformat(), reader, number, kind, text),
                )
        except sqlite3.IntegrityError as error:
            raise NotThereError("That reading was given already. Reload the page.") from error

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when the block ends."""
        try:
            file = sqlite3.connect(self.path, timeout=_WAIT_S)
            try:
                file.execute("PRAGMA synchronous = FULL")
                with file:
                    yield file
            finally:
                file.close()
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise OutputError(
                f"The readings in {self.path.name} cannot be kept or read: {error}. Free some space, or see to the "
                "rights of the file, then try again."
            ) from error


def _event(at: str, kind: str, content: str) -> _Event:
    return datetime.fromisoformat(at), kind, json.loads(content)


def _net_changes(events: Iterable[_Event]) -> list[Mapping[str, Any]]:
    """The changes as they stand after all events of a slot."""
    found: list[Mapping[str, Any]] = []
    for _, kind, content in events:
        if kind == "changed":
            found = content["changes"]
    return found


def _now() -> datetime:
    return datetime.now(UTC)
