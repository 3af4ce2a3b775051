"""Fetch series from a PACS into a folder that ``inspect`` and ``segment`` read: FOLDER/<series>/<instance>.dcm.

``pull.jsonl`` in the folder has one line for each instance that arrived, with the SHA-256 of its file. A repeated call
fetches only what is not there, or no longer has that digest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.errors import OperationCancelledError, OutputError, PeerError
from medsam_planner.io.files import file_sha256, write_whole
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.network.node import Instance, Level, Node, instances_of, is_uid
from medsam_planner.network.retries import retried, retried_while_it_advances
from medsam_planner.progress import Progress

__all__ = ["MANIFEST", "Pulled", "pull", "studies_with"]

MANIFEST = "pull.jsonl"


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a call fetched."""

    folders: tuple[Path, ...]
    """One for each series."""
    fetched: int
    """Instances that arrived now."""
    already_there: int


def studies_with(node: Node, accession_number: str) -> list[str]:
    """UIDs of the studies of an accession number."""
    found = retried(lambda: node.find(Level.STUDY, {"AccessionNumber": accession_number}))
    return [str(one.get("StudyInstanceUID") or "") for one in found]


def pull(
    node: Node, study_uid: str, out: Path, *, series_uids: Sequence[str] = (), progress: Progress | None = None
) -> Pulled:
    """Fetch the series of a study.

    Parameters
    ----------
    node : Node
    study_uid : str
    out : Path
        Folder, new or of an earlier call.
    series_uids : sequence of str, optional
        Which series; all by default.
    progress : Progress, optional

    Raises
    ------
    PeerError
        If the PACS has no such study or series, refuses, or stays away after several attempts. What arrived stays.
    OutputError
        If the folder cannot be written.
    """
    for uid in (study_uid, *series_uids):
        if not is_uid(uid):
            raise PeerError(f"Expected a UID of digits and dots, got {uid[:80]!r}. `pacs query` lists UIDs.")
    wanted = [
        one
        for series in (series_uids or _series_of(node, study_uid))
        for one in retried(lambda: instances_of(node, study_uid, series))  # noqa: B023 - called at once
    ]
    if not wanted:
        raise PeerError(f"Expected a study with instances, the PACS has none of {series_uids or study_uid}.")
    open_run_folder(out)
    arrivals = _Arrivals(out)
    left = {one.uid: one for one in wanted if not arrivals.is_whole(one)}
    already = len(wanted) - len(left)

    def keep(one: Instance, content: bytes) -> None:
        if progress is not None and progress.is_cancelled:
            raise OperationCancelledError(f"Stopped on request after {len(wanted) - len(left)} instances.")
        arrivals.keep(one, content)
        left.pop(one.uid, None)
        if progress is not None:
            progress.update("Fetching", len(wanted) - len(left), len(wanted))

    if progress is not None:
        progress.update("Fetching", already, len(wanted))
    retried_while_it_advances(lambda: node.fetch(list(left.values()), keep), lambda: len(left))
    folders = dict.fromkeys(out / one.series_uid for one in wanted)
    return Pulled(tuple(folders), len(wanted) - already, already)


def _series_of(node: Node, study_uid: str) -> list[str]:
    found = retried(lambda: node.find(Level.SERIES, {"StudyInstanceUID": study_uid}))
    uids = [str(one.get("SeriesInstanceUID") or "") for one in found]
    if bad := [uid for uid in uids if not is_uid(uid)]:
        raise PeerError(f"Expected series with a SeriesInstanceUID, the PACS answered {bad[0][:80]!r}.")
    return uids


class _Arrivals:
    """The files of a folder and their digests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = folder / MANIFEST
        self._sha256_by_name = dict(_read_manifest(self._manifest))

    def is_whole(self, one: Instance) -> bool:
        """Whether the instance is there as it arrived."""
        digest = self._sha256_by_name.get(_name(one))
        path = self._folder / _name(one)
        return digest is not None and path.is_file() and file_sha256(path) == digest

    def keep(self, one: Instance, content: bytes) -> None:
        """Write the instance whole, read it back, and note its digest."""
        path = write_whole(self._folder / _name(one), content)
        digest = hashlib.sha256(content).hexdigest()
        if file_sha256(path) != digest:
            raise OutputError(f"{path} does not hold what was written to it. Check the disk; the call can be repeated.")
        line = json.dumps({"file": _name(one), "sha256": digest, "bytes": len(content)}) + "\n"
        try:
            handle = os.open(self._manifest, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, line.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise OutputError(f"{self._manifest} cannot be written: {error.strerror}. Free some space.") from error
        self._sha256_by_name[_name(one)] = digest


def _name(one: Instance) -> str:
    return f"{one.series_uid}/{one.uid}.dcm"


def _read_manifest(path: Path) -> Iterator[tuple[str, str]]:
    """Names and digests; a line that a killed process left unfinished is skipped, and its file fetched again."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            yield str(entry["file"]), str(entry["sha256"])
        except (ValueError, KeyError, TypeError):
            continue
