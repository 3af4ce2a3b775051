"""Reading of text files from any editor, in the encoding of their byte order mark, else in UTF-8."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from prompts.errors import MedsamPlannerError

__all__ = ["read_text_file"]

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LARGEST_BYTES = 64 * 2**20
"""Largest file that is read into memory; a larger file is not a prompt, plan or calibration file."""


def read_text_file(path: str | os.PathLike[str], what: str, error: type[MedsamPlannerError]) -> str:
    """Read a text file.

    Parameters
    ----------
    path : path
        The file.
    what : str
        Expected kind of file, for messages: ``"a plan file"``.
    error : type
        Class of the error to raise.

    Raises
    ------
    MedsamPlannerError
        Of the class `error`, if it is not a regular file (a pipe would block), is too large, or is not in UTF-8 and
        has no byte order mark.
    """
    file = Path(path)
    try:
        if file.is_dir():
            raise error(f"{file}: expected {what}, got a folder. Name the file in it.")
        if not file.exists():
            raise error(f"{file}: expected {what}, got no such file.")
        if not file.is_file():
            raise error(f"{file}: expected {what}, got a pipe, socket or device. Save what comes from it to a file.")
        size = file.stat().st_size
        if size > _LARGEST_BYTES:
            raise error(f"{file}: expected {what}, got {size / 2**20:.0f} MiB. Is this the right file?")
        content = file.read_bytes()
    except OSError as failure:
        raise error(f"{file}: expected {what} that can be read, got: {failure.strerror or failure}.") from failure
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as failure:
        line = content.count(b"\n", 0, failure.start) + 1
        raise error(
            f"{file}: expected {what} in UTF-8, got other bytes in line {line} (position {failure.start}). Save it as "
            "UTF-8, or is it the wrong file?"
        ) from failure
    if "\0" in text:
        raise error(
            f"{file}: expected {what} in UTF-8, got bytes of 0 (UTF-16 without a mark, or no text). Save it as UTF-8."
        )
    return text.replace("\r\n", "\n")
