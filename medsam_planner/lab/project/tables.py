"""What is read from and written to the tables of a project, within a transaction of ``database.py``."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from typing import Any

from medsam_planner.errors import ConfigError, StaleError
from medsam_planner.lab.project.records import Event, State

__all__ = ["add_prompts", "events_of", "masks_of", "move", "prompts_of", "require_included", "require_seen", "tell"]


def require_included(connection: sqlite3.Connection, study: str) -> State:
    """State of a study that exists and is not excluded.

    Raises
    ------
    ConfigError
        If it is excluded.
    """
    state = State(connection.execute("SELECT state FROM studies WHERE name = ?", (study,)).fetchone()["state"])
    if state is State.EXCLUDED:
        raise ConfigError(f"{study} is excluded. Reopen it first: `medsam-planner project reopen`.")
    return state


def move(connection: sqlite3.Connection, study: str, state: State) -> None:
    """Give a study another state."""
    connection.execute("UPDATE studies SET state = ? WHERE name = ?", (state, study))


def tell(
    connection: sqlite3.Connection,
    study: str,
    who: str,
    kind: str,
    *,
    structure: str | None = None,
    content: dict[str, Any] | None = None,
) -> int:
    """Add an event, and return its number."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    cursor = connection.execute(
        "INSERT INTO events (study, at, who, kind, structure, content) VALUES (?, ?, ?, ?, ?, ?)",
        (study, at, who, kind, structure, json.dumps(content or {})),
    )
    return int(cursor.lastrowid or 0)


def events_of(connection: sqlite3.Connection, study: str | None) -> list[Event]:
    """Events of one study or of all, in order."""
    rows = connection.execute("SELECT * FROM events WHERE ? IS NULL OR study = ? ORDER BY number", (study, study))
    return [
        Event(
            number=row["number"],
            study=row["study"],
            at=row["at"],
            who=row["who"],
            kind=row["kind"],
            structure=row["structure"],
            content=json.loads(row["content"]),
        )
        for row in rows
    ]


def require_seen(connection: sqlite3.Connection, study: str, seen: int | None) -> None:
    """Refuse a change by somebody who has not seen the last event.

    Raises
    ------
    StaleError
        Names who did that.
    """
    query = "SELECT number, who FROM events WHERE study = ? ORDER BY number DESC"
    row = connection.execute(query, (study,)).fetchone()
    if seen is not None and row["number"] > seen:
        raise StaleError(f"{row['who']} changed {study} meanwhile. Look at it again, and record after that.")


def masks_of(connection: sqlite3.Connection, study: str) -> dict[str, str]:
    """Hash of the last mask of each structure."""
    rows = connection.execute(
        "SELECT structure, content FROM events WHERE study = ? AND kind = 'recorded' ORDER BY number", (study,)
    )
    return {row["structure"]: json.loads(row["content"])["mask_sha256"] for row in rows}


def prompts_of(connection: sqlite3.Connection, study: str, structure: str) -> list[tuple[str, str, int, str]]:
    """Who, when, position in the log, and entry as JSON, in the order of recording."""
    rows = connection.execute(
        "SELECT who, at, position, entry FROM prompts JOIN events ON number = event "
        "WHERE study = ? AND structure = ? ORDER BY event, position",
        (study, structure),
    )
    return [(row["who"], row["at"], row["position"], row["entry"]) for row in rows]


def add_prompts(connection: sqlite3.Connection, event: int, study: str, structure: str, entries: list[Any]) -> None:
    """Record the entries of a log from the first that is not recorded yet at its position."""
    known = {position: entry for _, _, position, entry in prompts_of(connection, study, structure)}
    texts = [json.dumps(entry, sort_keys=True) for entry in entries]
    first = next((at for at, text in enumerate(texts) if known.get(at) != text), len(texts))
    for position in range(first, len(texts)):
        connection.execute("INSERT INTO prompts VALUES (?, ?, ?)", (event, position, texts[position]))
