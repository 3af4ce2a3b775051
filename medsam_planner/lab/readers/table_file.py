"""CSV tables that people fill in."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from medsam_planner.errors import ConfigError
from prompts.text_file import read_text_file

__all__ = ["read_table"]


def read_table(
    path: Path, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV with a heading, each with the number of its line.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        That every row must have.
    optional : sequence of str
        That may be absent, or empty in a row.

    Raises
    ------
    ConfigError
        If a column is missing or unknown, a value is missing, or there is no row.
    """
    reader = csv.DictReader(io.StringIO(read_text_file(path, "a table (CSV)", ConfigError)))
    given = reader.fieldnames or []
    missing = [name for name in columns if name not in given]
    unknown = [name for name in given if name not in (*columns, *optional)]
    if missing or unknown:
        told = [f"{kind}: {', '.join(names)}" for kind, names in (("missing", missing), ("unknown", unknown)) if names]
        raise ConfigError(f"{path}: expected the columns {', '.join((*columns, *optional))}; {'; '.join(told)}.")
    count = 0
    for row in reader:
        empty = [name for name in columns if not (row[name] or "").strip()]
        if empty or None in row:
            wrong = f"{', '.join(empty)}: expected a value" if empty else "too many values"
            raise ConfigError(f"{path}, line {reader.line_num}: {wrong}. Correct the line.")
        count += 1
        yield reader.line_num, {name: (value or "").strip() for name, value in row.items()}
    if not count:
        raise ConfigError(f"{path} has no row below its heading. Fill it in.")
