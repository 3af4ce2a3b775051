"""Atomic writing of files: under a temporary name in the same folder, then renamed.

All outputs of the four packages are written with :func:`whole_file`; it is here because this is the lowest package.
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
"""Error numbers of a full disk, a full quota and a file that may not grow."""
_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing; it gets its name when the block ends without an error, and is deleted otherwise.

    Parameters
    ----------
    path : path
        Path of the file. An existing file is replaced in one step; an absent folder is created.

    Raises
    ------
    OutputError
        If there is no space or no permission, or the path is not an ordinary file or is write-protected. An existing
        file is then unchanged.
    """
    target = Path(path)
    # Not derived from the file's own name, which may already have the largest possible length.
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        _require_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # some file systems report only now that they are full
        partial.replace(target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(_told(target, error)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write bytes, or text as UTF-8 with unchanged line ends, atomically, and return the path.

    Raises
    ------
    OutputError
        As :func:`whole_file`.
    """
    with whole_file(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(path)


def is_partial(name: str) -> bool:
    """Whether a file of this name is the temporary file of a process that was killed."""
    return _PARTIAL.fullmatch(name) is not None


def _require_replaceable(target: Path) -> None:
    if not target.exists():
        return
    if not target.is_file():
        what = "a folder" if target.is_dir() else "no ordinary file"
        raise OutputError(f"{target} cannot be written: it is {what}. Choose another path.")
    if target.stat().st_mode & 0o222 == 0:  # the rename would ignore the protection
        raise OutputError(
            f"{target} cannot be replaced: it is write-protected. Choose another path, or remove the protection."
        )


def _told(target: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        return (
            f"{target} cannot be written: {reason}. Files written before it are complete. "
            "Free some space, or name a folder on another disk."
        )
    if error.errno in _NOT_ALLOWED:
        return (
            f"{target} cannot be written: {reason}. "
            "Name a folder of your own, or close the program that holds the file."
        )
    return f"{target} cannot be written: {reason}. Choose another path."
