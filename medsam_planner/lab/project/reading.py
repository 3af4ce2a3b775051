"""What a project knows: its studies, every event, prompt and mask."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import highdicom

from medsam_planner.errors import ConfigError
from medsam_planner.io import load_volume
from medsam_planner.lab.evaluation.cases import Case, find_cases
from medsam_planner.lab.project.database import reading
from medsam_planner.lab.project.masks import read_mask
from medsam_planner.lab.project.records import Event, Reviewed, State, Study
from medsam_planner.lab.project.settings import read_settings
from medsam_planner.lab.project.tables import events_of, masks_of, prompts_of
from medsam_planner.volumes import StudyVolume, volume_sha256

__all__ = ["ProjectRecords", "require_image"]


class ProjectRecords:
    """The records of an existing project.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ConfigError
        If the folder holds no project, or its ``project.toml`` is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.settings = read_settings(self.folder / "project.toml")
        with self._reading():
            pass

    def studies(self, *states: State) -> list[Study]:
        """Studies in these states, or all, by name."""
        with self._reading() as connection:
            return self._studies(connection, states)

    def reviewed(self) -> list[Reviewed]:
        """The reviewed studies with their masks and slices, all of one moment."""
        with self._reading() as connection:
            connection.execute("BEGIN")  # one state of the file for all that is read
            studies, events = self._studies(connection, (State.REVIEWED,)), events_of(connection, None)
            connection.execute("ROLLBACK")
        masks: dict[str, dict[str, str]] = {}
        slices: dict[str, tuple[int, ...] | None] = {}
        for event in events:
            if event.kind == "recorded" and event.structure is not None:
                masks.setdefault(event.study, {})[event.structure] = event.content["mask_sha256"]
            elif event.kind == "reviewed":
                seen = event.content["slices"]
                slices[event.study] = None if seen is None else tuple(seen)
        return [Reviewed(one, masks[one.name], slices[one.name]) for one in studies]

    def _studies(self, connection: sqlite3.Connection, states: tuple[State, ...]) -> list[Study]:
        rows = connection.execute("SELECT * FROM studies ORDER BY name").fetchall()
        found = [
            Study(
                row["name"], row["patient"], row["modality"], row["image_sha256"], bool(row["is_copied"]),
                State(row["state"]), self.folder / "studies" / row["name"],
            )
            for row in rows
        ]  # fmt: skip
        return [one for one in found if not states or one.state in states]

    def study(self, name: str) -> Study:
        """One study.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        found = self.studies()
        for one in found:
            if one.name == name:
                return one
        listed = ", ".join(one.name for one in found[:10]) or "none"
        raise ConfigError(f"Expected a study of the project, got {name[:80]!r}. There are: {listed}.")

    def image_path(self, study: Study) -> Path:
        """File or folder of the image of a study.

        Raises
        ------
        ConfigError
            If it is gone.
        """
        place = next((path for path in sorted(study.folder.glob("image*")) if path.exists()), None)
        if place is None:
            raise ConfigError(f"The image of {study.name} is gone from where the project refers to. Put it back.")
        return place

    def image(self, study: Study) -> StudyVolume:
        """The image of a study, after comparing its voxels with those that were added.

        Raises
        ------
        ConfigError
            If it changed or is gone.
        """
        volume = load_volume(self.image_path(study), modality=study.modality)
        require_image(study, volume_sha256(volume))
        return volume

    def events(self, name: str | None = None) -> list[Event]:
        """Everything that was done, of one study or of all, in order."""
        with self._reading() as connection:
            return events_of(connection, name)

    @property
    def last_event(self) -> int:
        """Number of the last event of the project; 0 before the first."""
        with self._reading() as connection:
            return int(connection.execute("SELECT COALESCE(MAX(number), 0) FROM events").fetchone()[0])

    def prompts(self, name: str, structure: str) -> list[tuple[str, str, dict[str, Any]]]:
        """Who, when and what of every prompt and edit that was ever recorded of a structure."""
        with self._reading() as connection:
            found = prompts_of(connection, name, structure)
        return [(who, at, json.loads(entry)) for who, at, _, entry in found]

    def masks(self, name: str) -> dict[str, highdicom.Volume]:
        """The last mask of each structure of a study, bool."""
        known = self.mask_hashes(name)
        return self.masks_by_hash(known)

    def masks_by_hash(self, sha256: Mapping[str, str]) -> dict[str, highdicom.Volume]:
        """Masks that were recorded, bool, by structure, from their hashes."""
        return {structure: read_mask(self.folder / "masks", one) for structure, one in sha256.items()}

    def mask_hashes(self, name: str) -> dict[str, str]:
        """SHA-256 of the last mask of each structure of a study."""
        with self._reading() as connection:
            return masks_of(connection, name)

    def reviewed_cases(self) -> list[Case]:
        """Reviewed studies as cases, for an adaptation or an evaluation.

        Raises
        ------
        ConfigError
            If no study is reviewed.
        """
        found = self.studies(State.REVIEWED)
        if not found:
            raise ConfigError(f"Expected reviewed studies in {self.folder}, found none. Review some first.")
        for study in found:
            self.image(study)
        return [case for study in found for case in find_cases(study.folder)]

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        return reading(self.folder / "project.sqlite")


def require_image(study: Study, sha256: str) -> None:
    """Refuse an image whose voxels are not those that were added.

    Raises
    ------
    ConfigError
    """
    if sha256 != study.image_sha256:
        raise ConfigError(
            f"The image of {study.name} has other voxels than when it was added. Put the earlier file back, or add "
            "this one as a study of its own."
        )
