"""Uploaded files: kept in a private folder per client, within limits, deleted with the client's work or after hours.

The folder of a client lies in a folder of the server that only the server's user may enter, under a name that cannot be
guessed. The client learns only the file's name; a typed path never leads here (:meth:`Settings.allowed`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import threading
import time
import unicodedata
import weakref
from collections.abc import AsyncIterator, Iterator
from enum import Enum
from functools import cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from medsam_planner.errors import MedsamPlannerError

__all__ = [
    "FOLDER_PREFIX",
    "SHOWN_AS",
    "PageUploads",
    "UploadKind",
    "UploadRefusedError",
    "checked_length",
    "expire_uploads",
    "is_upload",
    "require_free",
    "safe_name",
]

FOLDER_PREFIX = "medsam-planner-uploads-"
SHOWN_AS = "uploaded/"
"""Prefix of an uploaded study's name where a path is shown or typed."""
EXPIRY_S = 12 * 3600.0
"""Seconds. A study is in memory once it is open; its file is needed again only to choose another series."""
FREE_BYTES = 1 << 30
"""Left free on the disk for results."""
PATIENCE_S = 60.0
"""Longest wait between two pieces of an upload."""
_LONGEST_NAME_BYTES = 120


class UploadKind(Enum):
    """What a file is for. A client keeps one of each kind: a new one replaces the last."""

    STUDY = "study"
    PROMPTS = "prompts"
    CALIBRATION = "calibration"
    MASK = "mask"

    @property
    def most_bytes(self) -> int:
        """Size of the largest file that is accepted."""
        return {UploadKind.STUDY: 4 << 30, UploadKind.MASK: 1 << 30}.get(self, 32 << 20)


class UploadRefusedError(MedsamPlannerError, ValueError):
    """A file that is refused, with the HTTP status of the refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PageUploads:
    """The uploaded files of one page."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._path_by_kind: dict[UploadKind, Path] = {}
        self._under_way: set[UploadKind] = set()
        self._lock = threading.Lock()
        self._is_closed = False

    async def receive(
        self, kind: UploadKind, name: str, pieces: AsyncIterator[bytes], *, declared_bytes: int | None
    ) -> str:
        """Write an upload to the client's folder and return the name it is stored under.

        Parameters
        ----------
        kind : UploadKind
        name : str
            As the client states it; only its last part counts.
        pieces : async iterator of bytes
        declared_bytes : int or None
            Content-Length; checked before anything is read, and compared with what arrives.

        Raises
        ------
        UploadRefusedError
            If the upload is too large, of unknown length, stalls or ends early, the disk is nearly full, or another of
            its kind is in progress. Nothing of it is stored.
        """
        declared_bytes = checked_length(kind, declared_bytes)
        with self._alone(kind):
            folder = self._own_folder()
            require_free(folder, declared_bytes)
            place = Path(tempfile.mkdtemp(dir=folder))
            path = place / safe_name(name)
            try:
                with path.open("xb") as out:
                    await _write(out, pieces, declared_bytes)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise
            self._keep(kind, path)
        return path.name

    def find(self, kind: UploadKind) -> Path | None:
        """The file of that kind, or None."""
        path = self._path_by_kind.get(kind)
        return path if path is not None and path.exists() else None

    def study(self, text: str) -> Path | None:
        """The uploaded study that a displayed path names, or None if it names none.

        Raises
        ------
        UploadRefusedError
            If that upload has expired or was replaced.
        """
        if not text.startswith(SHOWN_AS):
            return None
        path = self.find(UploadKind.STUDY)
        if path is None or path.name != text.removeprefix(SHOWN_AS):
            hours = EXPIRY_S / 3600
            raise UploadRefusedError(
                404,
                f"That upload was deleted (after {hours:g} hours, or by a newer one). Upload the study again.",
            )
        return path

    def remove(self, kind: UploadKind) -> None:
        """Delete the file of that kind, if there is one."""
        path = self._path_by_kind.pop(kind, None)
        if path is not None:
            shutil.rmtree(path.parent, ignore_errors=True)

    def close(self) -> None:
        """Delete all uploads and accept no more."""
        with self._lock:
            self._is_closed = True
            self._path_by_kind.clear()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self, kind: UploadKind) -> Iterator[None]:
        with self._lock:
            if self._is_closed:
                raise UploadRefusedError(410, "The work of this page was closed on the server. Reload the page.")
            if kind in self._under_way:
                raise UploadRefusedError(409, "Another upload is in progress. Wait until it is done.")
            self._under_way.add(kind)
        try:
            yield
        finally:
            self._under_way.discard(kind)

    def _own_folder(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(dir=_server_folder()))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            return self._folder

    def _keep(self, kind: UploadKind, path: Path) -> None:
        with self._lock:
            is_closed = self._is_closed
            old = None if is_closed else self._path_by_kind.get(kind)
            if not is_closed:
                self._path_by_kind[kind] = path
        if is_closed:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise UploadRefusedError(410, "The work of this page was closed on the server. Reload the page.")
        if old is not None:
            shutil.rmtree(old.parent, ignore_errors=True)


def checked_length(kind: UploadKind, declared_bytes: int | None, *, form_bytes: int = 0) -> int:
    """The declared length of an upload, where it is stated and not too large; `form_bytes` may come beside the file.

    Raises
    ------
    UploadRefusedError
    """
    if declared_bytes is None:
        raise UploadRefusedError(411, "Expected the length of the upload in its Content-Length.")
    if declared_bytes > kind.most_bytes + form_bytes:
        raise UploadRefusedError(413, _too_large(kind, declared_bytes))
    return declared_bytes


def require_free(folder: Path, size_bytes: int) -> None:
    """Refuse what would fill the disk of a folder.

    Raises
    ------
    UploadRefusedError
    """
    if shutil.disk_usage(folder).free - size_bytes < FREE_BYTES:
        raise UploadRefusedError(507, "The server's disk is nearly full. Ask its administrator to free space.")


def safe_name(name: str) -> str:
    """The last part of a file name, without characters that a shell, a terminal or a file system may misread."""
    last = PurePosixPath(unicodedata.normalize("NFC", name).replace("\\", "/")).name
    plain = "".join(letter for letter in last if letter.isprintable() and letter not in '<>:"|?*').strip(" .")
    while len(plain.encode()) > _LONGEST_NAME_BYTES:
        plain = plain[1:]  # cut at the front: the ending states the format
    return plain or "upload"


def is_upload(path: Path) -> bool:
    """Whether a resolved path lies in a folder of uploads: of this server, of another, or left by a crash."""
    return any(part.startswith(FOLDER_PREFIX) for part in path.parts)


def expire_uploads(*, now: float | None = None) -> None:
    """Delete uploads of this server that are older than `EXPIRY_S`."""
    oldest = (time.time() if now is None else now) - EXPIRY_S
    for place in _server_folder().glob("*/*"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if place.stat().st_mtime < oldest:
                shutil.rmtree(place, ignore_errors=True)


@cache
def _server_folder() -> Path:
    """Created once per process and deleted at its end; folders left by a crashed server are deleted first."""
    _delete_left_behind(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    _lock_folder(folder)
    weakref.finalize(_lock_folder, shutil.rmtree, folder, ignore_errors=True)  # runs at exit
    return folder


def _delete_left_behind(parent: Path) -> None:
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        with contextlib.suppress(OSError):  # another person's
            handle = _lock_folder(folder)
            if handle is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(handle)


def _lock_folder(folder: Path) -> int | None:
    """Lock the folder for the life of the process; None if another process has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows: left to its own clean-up
        return None
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


async def _write(out: BinaryIO, pieces: AsyncIterator[bytes], declared_bytes: int) -> None:
    written = 0
    while True:
        try:
            async with asyncio.timeout(PATIENCE_S):
                piece = await anext(pieces, None)
        except TimeoutError as error:
            raise UploadRefusedError(408, "The upload stalled. Try again.") from error
        if piece is None:
            break
        written += len(piece)
        if written > declared_bytes:
            raise UploadRefusedError(413, "The upload is longer than its Content-Length says.")
        await asyncio.to_thread(out.write, piece)
    if written < declared_bytes:
        raise UploadRefusedError(400, "The upload ended early. Try again.")


def _too_large(kind: UploadKind, size: int) -> str:
    return f"That file has {_size_text(size)}; at most {_size_text(kind.most_bytes)} can be uploaded. " + (
        "Open it by path, or upload the one series."
        if kind is UploadKind.STUDY
        else "This program writes no files of that size."
    )


def _size_text(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:.0f} MiB"
