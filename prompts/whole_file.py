"""Files written whole or not at all: under another name in the same folder, then renamed.

Every output of the four packages goes through :func:`whole_file`; it lives here because prompt files are the lowest.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from prompts.errors import OutputError

__all__ = ["NO_ROOM", "is_partial", "whole_file", "write_whole"]

_PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")
NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""What systems call a full disk, a full share and a file that may not grow."""
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written; it takes its name when the block ends well, and leaves nothing when it does not.

    Parameters
    ----------
    path : path
        An existing file is replaced in one step; its folder is made when absent.

    Raises
    ------
    OutputError
        If there is no room, the place may not be written, or what is there is no ordinary file or is write-protected.
        Until then the file that was there stays as it was.
    """
    target = Path(path)
    # Not made from the file's own name, which may be as long as a name can be.
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        _require_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # some file systems tell only now that they are full
        partial.replace(target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(_told(target, error)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8 with its line ends as they are, and return the place.

    Raises
    ------
    OutputError
        As :func:`whole_file`.
    """
    with whole_file(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


def is_partial(name: str) -> bool:
    """Whether a file of this name was left by a process that was killed while it wrote."""
    return _PARTIAL.fullmatch(name) is not None


def _require_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_file():
        what = "a folder" if target.is_dir() else "no ordinary file"
        raise OutputError(f"Expected a place for a file, {target} is {what}. Name another one.")
    if target.stat().st_mode & 0o222 == 0:  # the rename would not ask
        raise OutputError(
            f"Expected a file that may be replaced, {target} is write-protected. Name another place, or lift that."
        )


def _told(target: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return (
            f"Expected room to write {target}, got: {reason}. What was written before it is whole. "
            "Free some space, or name a folder on another disk."
        )
    if error.errno in _NOT_ALLOWED:
        return (
            f"Expected a place that can be written, {target} cannot be: {reason}. "
            "Name a folder of your own, or close the program that holds the file."
        )
    return f"Expected a place to write {target} to, got: {reason}. Name another one."
