"""The work on a study on disk, from the first prompt on, so that it can be restored.

::

    STUDY-DIGEST/      closed to other users of the machine; DIGEST is of the work's key and does not reveal it
        prompts.json   every structure's prompts, with their undone steps
        page/          what else is needed to take the work up; deleted `EXPIRY_S` after the last change
            work.json  path of the study, structures with their roles, the plan draft
            *.npz      3D results
        run/ run.zip   results of a plan or a download
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.io.files import write_json
from medsam_planner.io.output_folder import open_run_folder
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.saved_result import write_result
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Role, Structure

__all__ = [
    "EXPIRY_S",
    "Opened",
    "SavedWork",
    "expire_works",
    "find_work",
    "new_key",
    "open_work_folder",
    "prompts_path",
    "read_work",
    "result_path",
    "save_result",
    "save_work",
]

EXPIRY_S = 72 * 3600.0
"""Seconds; long enough to take up Friday's work on Monday."""
_FORMAT = 1
_KEY_BYTES = 24
"""192 bits: a key cannot be guessed."""
_LONGEST_KEY = 64
_PAGE, _RECORD = "page", "work.json"
_WORK_FOLDER = re.compile(r".+-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Opened:
    """Which study was opened, and how."""

    place: str
    """An absolute path, or the displayed name of an upload, as :func:`studies.place_of` reads it."""
    series: str | None = None
    resample_tilt: bool = False

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return Path(self.place).name


@dataclass(frozen=True, slots=True)
class SavedWork:
    """The contents of ``work.json``."""

    opened: Opened
    image_sha256: str
    active: str
    structures: tuple[Structure, ...]
    """Without prompts and results."""
    result_files: Mapping[str, str]
    """Names of the 3D results, by structure."""
    draft: PlanDraft
    saved_at: datetime

    @property
    def label(self) -> str:
        """Text by which a person can tell this work from others."""
        names = ", ".join(one.name for one in self.structures)
        return f"{self.opened.name}: {names} ({self.saved_at:%d %b %Y, %H:%M})"


def new_key() -> str:
    """A key that cannot be guessed."""
    return secrets.token_urlsafe(_KEY_BYTES)


def open_work_folder(out: Path, study_name: str, key: str) -> Path:
    """The folder of one work, created if it does not exist.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    folder = open_run_folder(out) / f"{study_name.split('.')[0] or 'study'}-{_digest(key)[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return open_run_folder(folder)


def prompts_path(folder: Path) -> Path:
    """Path of the prompts, which do not expire."""
    return folder / "prompts.json"


def result_path(folder: Path, name: str) -> Path:
    """Path of a 3D result by the name of its file."""
    return folder / _PAGE / name


def find_work(out: Path, key: str) -> Path | None:
    """The folder of the work with this key; None if nothing was saved, or it has expired."""
    if not _KEY_BYTES <= len(key) <= _LONGEST_KEY:
        return None
    digest = _digest(key)
    for folder in out.glob(f"*-{digest[:16]}"):
        record = folder / _PAGE / _RECORD
        try:
            stored = json.loads(record.read_text(encoding="utf-8"))["key_sha256"]
            is_old = record.stat().st_mtime < time.time() - EXPIRY_S
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if hmac.compare_digest(str(stored).encode(), digest.encode()) and not is_old:
            return folder
    return None


def expire_works(out: Path, *, now: float | None = None) -> None:
    """Delete saved work that was not changed for `EXPIRY_S`; its prompts and results remain."""
    oldest = (time.time() if now is None else now) - EXPIRY_S
    for place in out.glob(f"*/{_PAGE}"):
        if _WORK_FOLDER.fullmatch(place.parent.name) is None:
            continue
        with contextlib.suppress(OSError):  # gone meanwhile
            if max(path.stat().st_mtime for path in (place, *place.iterdir())) < oldest:
                shutil.rmtree(place, ignore_errors=True)


def save_work(
    folder: Path, snapshot: Snapshot, *, key: str, opened: Opened, image_sha256: str, result_files: Mapping[str, str]
) -> None:
    """Write ``work.json`` atomically.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    document = {
        "format": _FORMAT,
        "key_sha256": _digest(key),
        "study": {**asdict(opened), "image_sha256": image_sha256},
        "active": snapshot.active,
        "structures": [
            {
                "name": one.name,
                "colour": one.colour,
                "role": one.role.value,
                "is_stale": one.is_stale,
                "result": result_files.get(one.name),
            }
            for one in snapshot.structures.values()
        ],
        "wishes": asdict(replace(snapshot.draft, calibration=None)),  # an upload, which may have expired by then
        "kept_at": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    record = _page_folder(folder) / _RECORD
    write_json(record, document)
    record.chmod(0o600)


def save_result(folder: Path, result: SegmentationResult) -> str:
    """Write a 3D result and return the name of its file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    name = f"{hashlib.sha256(result.structure.encode()).hexdigest()[:16]}.npz"
    path = _page_folder(folder) / name
    write_result(path, result)
    path.chmod(0o600)
    return name


def read_work(folder: Path) -> SavedWork:
    """Read ``work.json``.

    Raises
    ------
    MedsamPlannerError
        If ``work.json`` is absent or damaged.
    """
    try:
        document = json.loads((folder / _PAGE / _RECORD).read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']}, not {_FORMAT}")
        study = document["study"]
        draft: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document["wishes"].items()
        }
        return SavedWork(
            opened=Opened(str(study["place"]), study["series"], bool(study["resample_tilt"])),
            image_sha256=str(study["image_sha256"]),
            active=str(document["active"]),
            structures=tuple(_structures(document["structures"])),
            result_files={one["name"]: Path(one["result"]).name for one in document["structures"] if one["result"]},
            draft=PlanDraft(**draft),
            saved_at=datetime.fromisoformat(document["kept_at"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedsamPlannerError(
            f"The saved work cannot be read ({error}). Its prompts are in {folder.name} on the server."
        ) from error


def _page_folder(folder: Path) -> Path:
    place = folder / _PAGE
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def _structures(entries: Iterable[Mapping[str, Any]]) -> Iterable[Structure]:
    for one in entries:
        yield Structure(str(one["name"]), str(one["colour"]), Role(one["role"]), is_stale=bool(one["is_stale"]))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
