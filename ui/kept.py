"""The work on a study as it lies on disk, from the first prompt on: a page that comes back finds it.

::

    STUDY-DIGEST/      readable by the owner alone; DIGEST is of the work's key, so that nobody learns the key from it
        work.json      what was opened, structures with their roles, the ends of the plan and its numbers
        prompts.json   every structure's prompts, with their undone steps
        kept/*.npz     3D results
        run/           what a plan or a download wrote
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.run_folder import open_run_folder, write_json
from medsam_planner.segmentation import SegmentationResult
from ui.kept_result import write_result
from ui.snapshot import Snapshot
from ui.structure import ROLES, Structure
from ui.wishes import PlanWishes

__all__ = ["KeptWork", "Opened", "find_work", "keep_result", "keep_work", "new_key", "open_work_folder", "read_work"]

_FORMAT = 1
_KEY_BYTES = 24
"""192 bits: nobody guesses the key of another person's work."""
_LONGEST_KEY = 64
_RECORD = "work.json"


@dataclass(frozen=True, slots=True)
class Opened:
    """Which study was opened, and how."""

    path: Path
    series: str | None = None
    resample_tilt: bool = False


@dataclass(frozen=True, slots=True)
class KeptWork:
    """What ``work.json`` says."""

    opened: Opened
    image_sha256: str
    active: str
    structures: tuple[Structure, ...]
    """Without prompts and results."""
    result_files: Mapping[str, str]
    """By structure."""
    wishes: PlanWishes
    kept_at: datetime

    @property
    def label(self) -> str:
        """For the person to tell this work from others."""
        names = ", ".join(one.name for one in self.structures)
        return f"{self.opened.path.name}: {names} ({self.kept_at:%d %b %Y, %H:%M})"


def new_key() -> str:
    """A key that nobody can guess."""
    return secrets.token_urlsafe(_KEY_BYTES)


def open_work_folder(out: Path, study_name: str, key: str) -> Path:
    """The folder of one work, made if it is not there; closed to other users of the machine.

    Raises
    ------
    MedsamPlannerError
        If it cannot be written.
    """
    folder = open_run_folder(out / f"{study_name.split('.')[0] or 'study'}-{_digest(key)[:16]}")
    folder.chmod(0o700)
    return folder


def find_work(out: Path, key: str) -> Path | None:
    """The folder of the work of this key; None where nothing was kept."""
    if not _KEY_BYTES <= len(key) <= _LONGEST_KEY:
        return None
    digest = _digest(key)
    for folder in out.glob(f"*-{digest[:16]}"):
        try:
            stored = json.loads((folder / _RECORD).read_text(encoding="utf-8"))["key_sha256"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if hmac.compare_digest(str(stored), digest):
            return folder
    return None


def keep_work(
    folder: Path, snapshot: Snapshot, *, key: str, opened: Opened, image_sha256: str, result_files: Mapping[str, str]
) -> None:
    """Write ``work.json``, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    wishes = asdict(replace(snapshot.wishes, calibration=None))  # an uploaded file, gone when the work is taken up
    document = {
        "format": _FORMAT,
        "key_sha256": _digest(key),
        "study": asdict(opened) | {"path": str(opened.path.absolute()), "image_sha256": image_sha256},
        "active": snapshot.active,
        "structures": [
            {
                "name": one.name,
                "colour": one.colour,
                "role": one.role,
                "is_stale": one.is_stale,
                "result": result_files.get(one.name),
            }
            for one in snapshot.structures.values()
        ],
        "wishes": wishes,
        "kept_at": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    write_json(folder / _RECORD, document)
    (folder / _RECORD).chmod(0o600)


def keep_result(folder: Path, result: SegmentationResult) -> str:
    """Write a 3D result; gives the name of its file.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    place = folder / "kept"
    place.mkdir(mode=0o700, exist_ok=True)
    name = f"{hashlib.sha256(result.structure.encode()).hexdigest()[:16]}.npz"
    write_result(place / name, result)
    return name


def read_work(folder: Path) -> KeptWork:
    """What was kept.

    Raises
    ------
    MedsamPlannerError
        If ``work.json`` is absent or damaged.
    """
    try:
        document = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ValueError(f"its format is {document['format']}, not {_FORMAT}")
        study = document["study"]
        wishes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document["wishes"].items()
        }
        return KeptWork(
            opened=Opened(Path(study["path"]), study["series"], bool(study["resample_tilt"])),
            image_sha256=str(study["image_sha256"]),
            active=str(document["active"]),
            structures=tuple(_structures(document["structures"])),
            result_files={one["name"]: Path(one["result"]).name for one in document["structures"] if one["result"]},
            wishes=PlanWishes(**wishes),
            kept_at=datetime.fromisoformat(document["kept_at"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MedsamPlannerError(
            f"The kept work {folder.name} cannot be read ({error}). Open the study, then “Resume from prompts.json” "
            "with the file in that folder."
        ) from error


def _structures(entries: Iterable[Mapping[str, Any]]) -> Iterable[Structure]:
    for one in entries:
        if one["role"] not in ROLES:
            raise ValueError(f"a role is {one['role']!r}")
        yield Structure(str(one["name"]), str(one["colour"]), one["role"], is_stale=bool(one["is_stale"]))


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
