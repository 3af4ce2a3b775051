"""Strict reading and canonical writing of JSON: no NaN, no duplicate keys, and equal values give equal bytes."""

from __future__ import annotations

import json
import math
from typing import Any

from prompts.errors import PromptError

__all__ = ["key_path", "parse_json", "plain_json", "render_json"]

_LINE_LENGTH = 110
"""Objects and lists up to this many characters are written on one line: one line per prompt gives readable diffs."""


class _Object(dict[str, Any]):
    """A JSON object that records a duplicate key, of which plain ``json`` silently keeps the last value."""

    repeated: str | None = None


def parse_json(text: str, source: str) -> Any:
    """Parse `text`, refusing what JSON does not define.

    Parameters
    ----------
    text : str
        The file's content.
    source : str
        What to call the file in a message.

    Raises
    ------
    PromptError
        If it is empty or not JSON (with line and column), nested beyond reason, or holds NaN, an infinity, a number of
        more than 64 bits or a key twice (with the place).
    """
    if not text.strip():
        raise PromptError(f"{source}: expected a JSON object, got an empty file.")
    try:
        return plain_json(json.loads(text, object_pairs_hook=_object), source)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"{source}: expected JSON, got something else at line {error.lineno}, column {error.colno}: {error.msg}."
        ) from error
    except RecursionError as error:
        raise PromptError(f"{source}: expected a prompt file, got JSON nested too deeply to be one.") from error
    except PromptError:
        raise
    except ValueError as error:  # an integer of thousands of digits, which Python refuses to convert
        raise PromptError(
            f"{source}: expected numbers of ordinary size, got one too long to read ({error})."
        ) from error


def plain_json(value: Any, source: str, path: str = "") -> Any:
    """Return a copy of `value` made of plain JSON types, tuples as lists.

    Raises
    ------
    PromptError
        If something in it cannot be written as JSON and read back the same; the message names the place.
    """
    where = f"{source}: {path}" if path else source
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) >= 2**64:
            raise PromptError(
                f"{where}: expected a whole number of at most 64 bits, got one of {value.bit_length()} bits."
            )
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PromptError(f"{where}: expected a finite number, got {value}.")
        return float(value)
    if isinstance(value, str):
        if not _is_encodable(value):
            raise PromptError(f"{where}: expected text, got half a surrogate pair, which no file can hold: {value!r}.")
        return str(value)
    if isinstance(value, list | tuple):
        return [plain_json(item, source, f"{path}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, dict):
        if isinstance(value, _Object) and value.repeated is not None:
            raise PromptError(f"{where}: expected each key once, got {value.repeated!r} twice. Keep one of them.")
        if unusable := [key for key in value if not isinstance(key, str) or not _is_encodable(key)]:
            raise PromptError(f"{where}: expected text as keys, got {unusable[0]!r}.")
        return {key: plain_json(item, source, key_path(path, key)) for key, item in value.items()}
    raise PromptError(f"{where}: expected numbers, text, lists and objects, got a {type(value).__name__}.")


def key_path(path: str, key: str) -> str:
    """Name the entry `key` of the object at `path`: ``unit``, ``structures["left kidney"]``."""
    if not key.isidentifier():
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def render_json(value: Any, indent: int = 0) -> str:
    """Write plain JSON types as text, floats with the fewest digits that read back the same."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or indent + len(line) <= _LINE_LENGTH:
        return line
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        items = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {render_json(item, indent + 2)}"
            for key, item in value.items()
        ]
        opening, closing = "{", "}"
    else:
        items = [inner + render_json(item, indent + 2) for item in value]
        opening, closing = "[", "]"
    return f"{opening}\n" + ",\n".join(items) + f"\n{' ' * indent}{closing}"


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    result = _Object()
    for key, value in pairs:
        if key in result:
            result.repeated = key
        result[key] = value
    return result


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
