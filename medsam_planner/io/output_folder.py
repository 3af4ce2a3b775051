"""A results folder in which files that this program did not write are never replaced or removed.

``files.json`` in it names every file a command wrote, with its SHA-256. A later command may replace those and no
others: neither its inputs nor files that were added or changed since. One command at a time writes into a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType

from medsam_planner.errors import OutputError
from medsam_planner.io.file_lock import NotLockedError, locked
from medsam_planner.io.files import write_json
from prompts.names import name_key
from prompts.whole_file import is_partial

__all__ = ["RECORD", "OutputFolder", "alone_in", "open_run_folder", "require_apart"]

RECORD = "files.json"
_KIND = "medsam-planner files"
_MOST_NAMED = 4


def open_run_folder(path: Path) -> Path:
    """Create the folder if it does not exist, and check that it can be written.

    Raises
    ------
    OutputError
        If the place is a file or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        trial = path / f".{os.urandom(16).hex()}.partial"
        trial.touch(exist_ok=False)  # permission bits alone say nothing about root, read-only disks and shares
        trial.unlink()
    except OSError as error:
        reason = "it is no folder" if path.exists() and not path.is_dir() else (error.strerror or str(error))
        raise OutputError(
            f"Results cannot be written to {path}: {reason}. Name a folder that can be written."
        ) from error
    return path


def require_apart(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse a folder for results that is one of the input folders or lies in it: results would become part of it.

    Raises
    ------
    OutputError
    """
    place = out.resolve()
    for path in inputs:
        folder = path.resolve()
        if folder.is_dir() and (place == folder or folder in place.parents):
            raise OutputError(
                f"Expected a folder for the results outside {path}, got {out}: the next reading of {path} would find "
                "them among its files. Name a folder beside it."
            )


class OutputFolder:
    """Results of one command. ``folder / name`` is the path of one; the first use removes results of earlier commands.

    Parameters
    ----------
    path : Path
        Created when absent.
    names : iterable of str
        Every file that may be written, as relative paths with ``/``; optional ones too.
    inputs : iterable of Path
        Files and folders that the command reads.
    replaces_all : bool
        Whether all that earlier commands left is taken away, or only what has one of `names`.

    Raises
    ------
    OutputError
        If the folder cannot be written, another command is writing into it, it is or lies in an input folder, a file to
        be replaced or taken away is an input, or was not written by this program or changed since.
    """

    def __init__(
        self, path: Path, names: Iterable[str], *, inputs: Iterable[Path] = (), replaces_all: bool = True
    ) -> None:
        self.path = path
        self._names = dict.fromkeys((*names, RECORD))
        self._inputs = tuple(inputs)
        self._replaces_all = replaces_all
        self._is_begun = False
        self._kept: dict[str, str | None] = {}
        self._lock: int | None = None
        require_apart(path, self._inputs)
        self._made = _absent_parents(path)
        open_run_folder(path)
        self._lock = _locked(path)
        try:
            self._going = self._look()
        except BaseException:
            self._release()
            raise

    def __truediv__(self, name: str) -> Path:
        """Path of a result, which may be written from now on."""
        self._begin()
        return self.path / name

    def __enter__(self) -> OutputFolder:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record what was written, and release the folder."""
        try:
            if self._is_begun:
                with contextlib.suppress(OSError) if kind is not None else contextlib.nullcontext():
                    self._note({name: _sha256(self.path / name) for name in self._written()})
        finally:
            self._release()

    def _begin(self) -> None:
        if self._is_begun:
            return
        # The record comes first, without hashes: even if this process is killed, its files are known.
        self._note(dict.fromkeys(name for name in self._names if name != RECORD))
        for name in self._going:
            (self.path / name).unlink(missing_ok=True)
        for folder in {(self.path / name).parent for name in (*self._going, *self._names)}:
            _sweep(folder, self.path)
        self._is_begun = True

    def _note(self, written: Mapping[str, str | None]) -> None:
        write_json(self.path / RECORD, {"kind": _KIND, "files": {**self._kept, **written}})

    def _written(self) -> Iterator[str]:
        return (name for name in self._names if name != RECORD and (self.path / name).is_file())

    def _look(self) -> list[str]:
        """Names of the files to remove; refuses where a file must not be replaced."""
        recorded = _recorded(self.path)
        asked = {name_key(name) for name in self._names}
        going = [name for name in recorded if self._replaces_all or name_key(name) in asked]
        self._kept = {name: digest for name, digest in recorded.items() if name not in going}
        foreign = [name for name in going if _is_changed(self.path / name, recorded[name])]
        ours = {name_key(name) for name in going} | {name_key(RECORD)}
        foreign += [name for name in _in_the_way(self.path, self._names) if name_key(name) not in ours]
        if foreign:
            raise OutputError(
                f"{self.path} already contains files with the names of results ({_listed(foreign)}) that this program "
                "did not write, or that were changed since. Name another folder, or move them away."
            )
        read = {path.resolve() for path in self._inputs}
        lost = []
        for name in dict.fromkeys((*going, *self._names)):
            place = (self.path / name).resolve()
            if place in read or any(folder.is_dir() and folder in place.parents for folder in read):
                lost.append(name)
        if lost:
            raise OutputError(
                f"The results would replace inputs: {self.path} contains {_listed(lost)}. Name another folder."
            )
        return going

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if not self._is_begun:
            with contextlib.suppress(OSError):  # in use by another process
                for folder in self._made:
                    folder.rmdir()


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other commands from writing into a folder for as long as the context lasts.

    Raises
    ------
    OutputError
        If another one is writing into it.
    """
    handle = _locked(folder)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _absent_parents(folder: Path) -> list[Path]:
    """The folder and those above it that do not exist yet, the deepest first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def _recorded(folder: Path) -> dict[str, str | None]:
    """Files that earlier commands recorded and that still exist."""
    try:
        document = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if document["kind"] != _KIND:
            raise KeyError("kind")
        files = dict(document["files"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{folder / RECORD} is not a list of results as this program writes it. Name another folder, or move that "
            "file away."
        ) from error
    root = folder.resolve()
    for name in files:
        if not isinstance(name, str) or root not in (folder / name).parent.resolve().joinpath("x").parents:
            raise OutputError(f"{folder / RECORD} names a file outside its folder: {name!r}. Name another folder.")
    return {name: digest for name, digest in files.items() if os.path.lexists(folder / name)}


def _is_changed(path: Path, digest: str | None) -> bool:
    """Whether a noted file is another one by now; a process that was killed noted no digest."""
    if path.is_symlink() or not path.is_file():
        return True
    return digest is not None and _sha256(path) != digest


def _in_the_way(folder: Path, names: Iterable[str]) -> list[str]:
    """Files under the names of results, in any capitals, and files where a folder must be."""
    found: list[str] = []
    present: dict[str, dict[str, str]] = {}
    for name in names:
        *parents, last = name.split("/")
        place = folder
        for part in parents:
            here = _present(place, present).get(name_key(part))
            if here is None:
                break
            place /= here
            if place.is_symlink() or not place.is_dir():
                found.append(place.relative_to(folder).as_posix())
                break
        else:
            here = _present(place, present).get(name_key(last))
            if here is not None:
                found.append((place / here).relative_to(folder).as_posix())
    return list(dict.fromkeys(found))


def _present(folder: Path, known: dict[str, dict[str, str]]) -> dict[str, str]:
    """Names in a folder, by the key under which file systems may treat them as equal."""
    if str(folder) not in known:
        known[str(folder)] = {name_key(name): name for name in (os.listdir(folder) if folder.is_dir() else ())}
    return known[str(folder)]


def _sweep(folder: Path, top: Path) -> None:
    """Remove half-written files of a process that was killed, and the folder if nothing is left in it."""
    if not folder.is_dir():
        return
    for name in os.listdir(folder):
        if is_partial(name):
            (folder / name).unlink(missing_ok=True)
    while folder != top and top in folder.parents:
        with contextlib.suppress(OSError):  # not empty
            folder.rmdir()
        folder = folder.parent


def _locked(folder: Path) -> int | None:
    """Lock the folder until this process ends; None where the system has no locks."""
    try:
        return locked(folder)
    except NotLockedError as error:
        if error.is_held:
            raise OutputError(
                f"Another run is writing into {folder}. Wait until it has ended, or name another folder."
            ) from error
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
