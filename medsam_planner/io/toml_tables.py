"""TOML files whose tables are pydantic models; every mistake is named with its place."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from medsam_planner.errors import ConfigError
from prompts.text_file import read_text_file

__all__ = ["read_tables"]

Tables = TypeVar("Tables", bound=BaseModel)


def read_tables(path: Path, kind: type[Tables], what: str) -> Tables:
    """Read a TOML file and check it.

    Parameters
    ----------
    path : Path
    kind : type
        Model of the whole file.
    what : str
        Kind of file, for messages: ``"plan file"``.

    Raises
    ------
    ConfigError
        If it cannot be read, or an entry is missing, unknown or wrong; the message names every one.
    """
    try:
        document = tomllib.loads(read_text_file(path, f"a {what}", ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"Expected TOML in {path}: {error}.") from error
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        mistakes = "; ".join(_description(mistake, what) for mistake in error.errors())
        raise ConfigError(f"{path}: {mistakes}") from error


def _description(mistake: object, what: str) -> str:
    """One mistake: the place in the file, what is wrong, and what came if no login can stand in it."""
    if not isinstance(mistake, dict):
        return str(mistake)
    place = ".".join(str(part) for part in mistake["loc"]) or what
    message = str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] in ("missing", "extra_forbidden"):
        return f"{place}: {'is missing' if mistake['type'] == 'missing' else f'is no entry of a {what}'}"
    came = mistake.get("input")
    may_hold_secret = (
        "auth" in mistake["loc"] or isinstance(came, dict) or (isinstance(came, list) and "{" in str(came))
    )
    got = "" if may_hold_secret or (isinstance(came, list) and len(str(came)) >= 60) else f", got {came!r}"
    return f"{place}: {message[:1].lower()}{message[1:]}{got}"
