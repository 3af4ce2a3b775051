"""TOML files whose tables are pydantic models; every mistake is named with its place."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medsam_planner.errors import ConfigError
from prompts.text_file import read_text_file

__all__ = ["read_tables"]

Tables = TypeVar("Tables", bound=BaseModel)

_LONGEST_SHOWN = 60
_EXPECTED_BY_TYPE = {
    "string_type": "expected text in quotes",
    "path_type": "expected a path in quotes",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a table",
    "model_type": "expected a table",
    "model_attributes_type": "expected a table",
}


def read_tables(path: Path, kind: type[Tables], what: str, *, may_hold_secrets: bool = False) -> Tables:
    """Read a TOML file and check it. A value of another type is refused: neither true nor "1" stands for 1.

    Parameters
    ----------
    path : Path
    kind : type
        Model of the whole file.
    what : str
        Kind of file, for messages: ``"plan file"``.
    may_hold_secrets : bool
        Somebody may have written a password into it, wherever: no text of it is then repeated in a message.

    Raises
    ------
    ConfigError
        If it cannot be read, is empty, or an entry is missing, unknown or wrong; the message names every one.
    """
    try:
        document = tomllib.loads(read_text_file(path, f"a {what}", ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Expected TOML in {path}: {error}.") from error
    if not document:
        raise ConfigError(f"{path}: expected a {what}, got no entry at all. Is the file empty, or in another encoding?")
    if dates := list(_dates(document, ())):
        raise ConfigError(f"{path}: {'; '.join(f'{place}: expected no date, got one' for place in dates)}")
    try:
        # As JSON, whose strict mode knows lists and texts for what tables hold as tuples and paths.
        return kind.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        told = (_description(mistake, what, may_hold_secrets) for mistake in error.errors())
        raise ConfigError(f"{path}: {'; '.join(told)}") from error


def _dates(value: object, place: tuple[str, ...]) -> Iterator[str]:
    """Places of dates and times, which no table has."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _dates(one, (*place, key))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _dates(one, (*place, str(number)))
    elif not isinstance(value, str | int | float):
        yield ".".join(place)


def _description(mistake: Mapping[str, Any], what: str, may_hold_secrets: bool) -> str:
    """One mistake: the place in the file, what was expected, and what came."""
    place = ".".join(str(part) for part in mistake["loc"]) or what
    kind = mistake["type"]
    if kind in ("missing", "extra_forbidden"):
        return f"{place}: {'is missing' if kind == 'missing' else f'is no entry of a {what}'}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        given = mistake["input"].get("kind") if isinstance(mistake["input"], dict) else None
        known = mistake.get("ctx", {}).get("expected_tags")
        return f"{place}.kind: expected {known or 'the kind of table'}, got {_shown(given, may_hold_secrets)}"
    if "auth" in mistake["loc"]:
        return (
            f"{place}: {_EXPECTED_BY_TYPE.get(kind, 'expected another value')}"
            if kind != "value_error"
            else (f"{place}: {str(mistake['msg']).removeprefix('Value error, ')}")
        )
    came = mistake.get("input")
    message = _EXPECTED_BY_TYPE.get(kind) or str(mistake["msg"]).removeprefix("Value error, ")
    message = f"{message[:1].lower()}{message[1:]}"
    is_whole_table = isinstance(came, dict) and kind not in _EXPECTED_BY_TYPE
    return f"{place}: {message}" if is_whole_table else f"{place}: {message}, got {_shown(came, may_hold_secrets)}"


def _shown(value: object, may_hold_secrets: bool) -> str:
    """A value as TOML writes it; of what may hold a secret its type alone."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list) and (may_hold_secrets or "{" in str(value) or len(str(value)) >= _LONGEST_SHOWN):
        return "a list"
    if isinstance(value, str) and may_hold_secrets:
        return "a text"
    return repr(value)
