"""The studies of a data folder: where each was read from, and the grid that its prompts must lie in."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError, NotThereError, OutputError
from medsam_planner.io.files import write_json
from medsam_planner.io.patient_identity import NAMELESS
from medsam_planner.progress import Progress
from medsam_planner.service.core.mapped_study import FILES, read_copy, write_copy
from medsam_planner.volumes import StudyVolume, volume_sha256
from medsam_planner.workflow.study_reading import ReadingOptions, read_study

__all__ = ["NO_STUDY", "StoredStudy", "StudyStore", "delete_folder", "new_identifier"]

NO_STUDY = "There is no such study. List the studies, or open one."
"""Said alike of what is not there and of what an actor must not know of."""
_IDENTIFIER = re.compile(r"[0-9a-f]{32}")


def new_identifier() -> str:
    """128 random bits as text. No secret: rights decide who may use what it names."""
    return secrets.token_hex(16)


@dataclass(frozen=True, slots=True)
class StoredStudy:
    """A study that the server can read."""

    identifier: str
    name: str
    """Of its file or folder."""
    place: str
    """Absolute path on the server."""
    reading: ReadingOptions
    modality: str | None
    sha256: str
    """Of voxels and affine."""
    grid: tuple[tuple[float, float, float, float], ...]
    """(4, 4) affine, index → LPS mm."""
    shape: tuple[int, int, int]
    """(K, J, I)."""
    owner: str = ""
    """Name of the actor who opened it."""

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), index → LPS mm."""
        return np.array(self.grid, dtype=np.float64)


class StudyStore:
    """The studies by identifier.

    Parameters
    ----------
    folder : Path
        Holds a folder for each study.
    is_identified : bool, optional
        Whether reports and pages name the patient; None leaves it to each study's files. If not, studies are not called
        by the names of their files either.
    """

    def __init__(self, folder: Path, *, is_identified: bool | None = None) -> None:
        self._folder = folder
        self.is_identified = is_identified
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._by_identifier: dict[str, StoredStudy] = {}
        self._delete_left_behind()
        for path in sorted(folder.glob("*/study.json"), key=lambda path: path.stat().st_mtime):
            study = _read(path)
            if study is not None:
                self._by_identifier[study.identifier] = self._called(study)

    def folder_of(self, identifier: str) -> Path:
        """Folder for the files of one study."""
        return self._folder / identifier

    def add(
        self,
        path: Path,
        identifier: str,
        *,
        owner: str,
        reading: ReadingOptions,
        progress: Progress | None = None,
    ) -> StoredStudy:
        """Read a study and keep a copy of it; the one that is kept where its owner has opened the very same before.

        Parameters
        ----------
        path : Path
        identifier : str
            From :func:`new_identifier`.
        owner : str
            Name of the actor who opens it.
        reading : ReadingOptions
            Which of several series and volumes, and how it is corrected.
        progress : Progress, optional

        Raises
        ------
        StudyError
            If it cannot be read as one volume.
        OutputError
            If it cannot be kept.
        """
        volume = read_study(path, reading, progress=progress)
        k, j, i = (int(size) for size in volume.spatial_shape)
        study = StoredStudy(
            identifier=identifier,
            name=path.name,
            place=str(path.absolute()),
            reading=reading,
            modality=volume.source.modality if volume.source is not None else None,
            sha256=volume_sha256(volume),
            grid=tuple(tuple(float(value) for value in row) for row in volume.affine),  # type: ignore[misc]
            shape=(k, j, i),
            owner=owner,
        )
        for known in self.all():
            if replace(known, identifier=identifier) == self._called(study):
                return known
        folder = self.folder_of(identifier)
        try:
            write_copy(folder, volume)
            write_json(folder / "study.json", asdict(study))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self._by_identifier = {**self._by_identifier, identifier: self._called(study)}
        return self._called(study)

    def _called(self, study: StoredStudy) -> StoredStudy:
        return replace(study, name=NAMELESS) if self.is_identified is False else study

    def _delete_left_behind(self) -> None:
        """Delete studies that a killed server had not finished; nothing that anybody else may have put here."""
        for folder in self._folder.iterdir():
            is_ours = _IDENTIFIER.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink()
            if is_ours and {one.name for one in folder.iterdir()} <= {"source", *FILES}:
                shutil.rmtree(folder, ignore_errors=True)

    def find(self, identifier: str) -> StoredStudy:
        """One study.

        Raises
        ------
        NotThereError
        """
        try:
            return self._by_identifier[identifier]
        except KeyError:
            raise NotThereError(NO_STUDY) from None

    def load(self, study: StoredStudy) -> StudyVolume:
        """Map the voxels of a study into memory.

        Raises
        ------
        StudyError
            If the server's copy is gone or damaged.
        """
        return read_copy(self.folder_of(study.identifier), study.sha256, is_identified=self.is_identified)

    def forget(self, identifier: str) -> None:
        """Remove a study and what was uploaded of it; files elsewhere stay as they are.

        Raises
        ------
        OutputError
            If its folder cannot be deleted.
        """
        with self._lock:
            self._by_identifier = {name: one for name, one in self._by_identifier.items() if name != identifier}
        delete_folder(self.folder_of(identifier))

    def all(self) -> tuple[StoredStudy, ...]:
        """Every study, the oldest first."""
        return tuple(self._by_identifier.values())


def delete_folder(folder: Path) -> None:
    """Delete a folder of the data folder; links in it are removed and not followed.

    Raises
    ------
    OutputError
        If something of it stays.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be deleted: {error.strerror or error}.") from error


def _read(path: Path) -> StoredStudy | None:
    """The study of a record, or None if it is damaged: its sessions are then left out as well."""
    try:
        stored: Mapping[str, Any] = json.loads(path.read_bytes())
        grid, shape = tuple(map(tuple, stored["grid"])), tuple(stored["shape"])
        reading = ReadingOptions(**stored["reading"])
        return StoredStudy(**{**stored, "grid": grid, "shape": shape, "reading": reading})
    except (OSError, ValueError, KeyError, TypeError, MedsamPlannerError):
        return None
