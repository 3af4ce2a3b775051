"""Faults of the program itself: one line for the user, and a log file."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from medsam_planner.errors import MedsamPlannerError, OperationCancelledError, OutputError
from medsam_planner.io.files import write_whole
from medsam_planner.provenance import versions

__all__ = ["attempted", "in_one_line", "log_fault"]

T = TypeVar("T")
_HIDDEN = "<path>"


def log_fault(error: BaseException) -> Path | None:
    """Write the traceback with platform, command and versions; None where no folder is writable.

    Paths that the command was given are left out, because a folder's name can be a patient's.

    Logs go to ``$MEDSAM_PLANNER_LOGS``, else to the user's folder for logs, else to the temporary folder.
    """
    moment = datetime.datetime.now()
    lines = (
        f"{moment.isoformat(timespec='seconds')} on {platform.platform()}, Python {platform.python_version()}",
        f"Command: {' '.join(_HIDDEN if _names_file(one) else one for one in sys.argv)}",
        f"Versions: {', '.join(f'{name} {number}' for name, number in versions().items())}",
        "",
        _without_arguments("".join(traceback.format_exception(error))),
    )
    name = f"{moment:%Y%m%d-%H%M%S}-{os.getpid()}-{os.urandom(2).hex()}.log"
    for folder in _log_folders():
        try:
            return write_whole(folder / name, "\n".join(lines).encode("utf-8", "backslashreplace"))
        except OSError:  # a full or read-only disk may be the very fault
            continue
    return None


def in_one_line(error: BaseException) -> str:
    """Kind and message of an error."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def attempted(notes: list[str], what: str, make: Callable[[], T]) -> T | None:
    """Produce an optional result; if that fails, add the reason to `notes` and return None.

    Raises
    ------
    OutputError
        If it cannot be written, because later results could not be written either.
    OperationCancelledError
        When a cancellation was requested.
    """
    try:
        return make()
    except (OutputError, OperationCancelledError):
        raise
    except MedsamPlannerError as error:
        notes.append(f"{what} could not be made: {_without_arguments(in_one_line(error)).partition(': ')[2]}")
    except Exception as error:  # noqa: BLE001  (other people's writers raise what they like)
        log = log_fault(error)
        where = "" if log is None else f" (log: {log})"
        notes.append(f"{what} could not be made: {_without_arguments(in_one_line(error))}{where}")
    return None


def _log_folders() -> tuple[Path, ...]:
    stated = os.environ.get("MEDSAM_PLANNER_LOGS")
    if stated:
        return (Path(stated), _temporary())
    try:
        Path.home()
    except RuntimeError:  # a process whose user has no home: there is no folder of theirs
        return (_temporary(),)
    return (platformdirs.user_log_path("medsam-planner", appauthor=False), _temporary())


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"medsam-planner-logs-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _names_file(argument: str) -> bool:
    value = argument.partition("=")[2] or argument
    return "/" in value or "\\" in value or os.path.lexists(value)


def _without_arguments(text: str) -> str:
    """`text` without the places that the command's arguments name, and what follows them in a path."""
    places: set[str] = set()
    for argument in filter(_names_file, sys.argv[1:]):
        value = argument.partition("=")[2] or argument
        places |= {os.path.abspath(value), os.path.realpath(value)}
        places |= {value} if "/" in value or "\\" in value else set()
    for place in sorted(places, key=len, reverse=True):
        text = re.sub(re.escape(place) + r"[^'\"\n:;,]*", _HIDDEN, text)
    return text
