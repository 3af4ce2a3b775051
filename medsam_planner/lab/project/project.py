"""An annotation project in a folder.

::

    DIR/project.toml      what is annotated, by whom, with which model
    DIR/project.sqlite    studies, states, every prompt and edit with who and when
    DIR/studies/NAME/     image.nii.gz (or a DICOM folder image), labels.nii.gz, meta.json: a case for `evaluate`
    DIR/masks/            every mask that was recorded, by the hash of its content
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError, GeometryError
from medsam_planner.io import load_volume
from medsam_planner.io.conservative_resampling import is_on_grid
from medsam_planner.io.intensity import volume_modality
from medsam_planner.lab.project.database import create_database, writing
from medsam_planner.lab.project.image_files import place_image
from medsam_planner.lab.project.masks import keep_mask, write_labels
from medsam_planner.lab.project.reading import ProjectRecords
from medsam_planner.lab.project.records import State, Study
from medsam_planner.lab.project.settings import ProjectSettings, coded, write_settings
from medsam_planner.lab.project.tables import add_prompts, masks_of, move, require_included, require_seen, tell
from medsam_planner.volumes import volume_like, volume_sha256
from medsam_planner.workflow.training_folders import CASE_NAME
from prompts import PromptFile
from prompts.schema import prompt_file_document

__all__ = ["Project"]


class Project(ProjectRecords):
    """An existing project.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    ConfigError
        If the folder holds no project, or its ``project.toml`` is wrong.
    """

    @classmethod
    def init(
        cls,
        folder: Path,
        name: str,
        structures: Sequence[str],
        *,
        annotators: Sequence[str] = (),
        model: str = "compact",
    ) -> Project:
        """Make a project in a new or empty folder.

        Parameters
        ----------
        folder : Path
        name : str
        structures : sequence of str
            Names; codes are taken from the table of structures where it knows them.
        annotators : sequence of str
            Who may change the project; anybody if empty.
        model : str
            Weights that propose masks and order the studies.

        Raises
        ------
        ConfigError
            If the folder is taken, or there is no structure.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"Expected a new or empty folder for the project, {folder} is taken. Name another one.")
        if not structures:
            raise ConfigError("Expected at least one structure to annotate, got none.")
        settings = ProjectSettings(
            name=name, model=model, annotators=list(annotators), structures=[coded(one) for one in structures]
        )
        (folder / "studies").mkdir(parents=True)
        (folder / "masks").mkdir()
        create_database(folder / "project.sqlite")
        write_settings(folder / "project.toml", settings)
        return cls(folder)

    def add(
        self, image: Path, *, who: str, patient: str | None = None, name: str | None = None, copied: bool = True,
        modality: str | None = None,
    ) -> Study:  # fmt: skip
        """Add a study.

        Parameters
        ----------
        image : Path
            NIfTI file or DICOM folder.
        who : str
        patient : str, optional
            Pseudonym; the study is a patient of its own if None.
        name : str, optional
            By default the file's or folder's name.
        copied : bool
            Copy the image into the project; else the project refers to it, and refuses it when its voxels change.
        modality : {"CT", "MR"}, optional

        Raises
        ------
        StudyError
            If the image is not one regular volume.
        ConfigError
            If its name or its voxels are in the project already, or `who` may not change it.
        """
        image = Path(image).resolve()
        name = name or image.name.removesuffix(".gz").removesuffix(".nii")
        if not CASE_NAME.fullmatch(name):
            raise ConfigError(f"Expected letters, digits, '.', '_' and '-' for the name of a study, got {name!r}.")
        volume = load_volume(image, modality=modality)
        modality = volume_modality(volume) or "MR"
        sha256, folder = volume_sha256(volume), self.folder / "studies" / name
        with self._writing(who) as connection:
            for row in connection.execute(
                "SELECT name FROM studies WHERE name = ? OR image_sha256 = ?", (name, sha256)
            ):
                same = "its name" if row["name"] == name else "the same voxels"
                raise ConfigError(f"{image}: a study with {same} is in the project already, as {row['name']}.")
            connection.execute(
                "INSERT INTO studies VALUES (?, ?, ?, ?, ?, ?)",
                (name, patient or name, modality, sha256, int(copied), State.NEW),
            )
            tell(connection, name, who, "added", content={"copied": copied})
            place_image(image, folder, copied=copied)
        return self.study(name)

    def record(
        self, name: str, structure: str, mask: highdicom.Volume, *, who: str, prompts: PromptFile | None = None,
        seconds: float | None = None, seen: int | None = None, source: Mapping[str, str] | None = None,
    ) -> Study:  # fmt: skip
        """Record the mask of a structure, and the prompts and edits that led to it.

        Parameters
        ----------
        name, structure : str
        mask : (K, J, I) Volume
            On the grid of the study; voxels above 0 belong to the structure.
        who : str
        prompts : PromptFile, optional
            With a log of the structure. Entries that an earlier record has are not recorded again, so that every entry
            keeps who made it and when.
        seconds : float, optional
            Time that the annotator took.
        seen : int, optional
            Number of the last event that the annotator knew of this study.
        source : mapping, optional
            Where the mask comes from, if nobody drew it here; the record keeps it.

        Raises
        ------
        ConfigError
            If there is no such study or structure, the study is excluded, or `who` may not change the project.
        GeometryError
            If the mask is not on the grid of the study, or empty.
        StaleError
            If somebody recorded after `seen`.
        """
        study = self.study(name)
        self._require_structure(structure)
        image = self.image(study)
        if not is_on_grid(mask, image):
            raise GeometryError(f"Expected a mask on the voxels of {name}, got another grid {mask.spatial_shape}.")
        if not np.any(np.asarray(mask.array) > 0):
            raise GeometryError(f"The mask of {structure} is empty. Exclude the study if the structure is not there.")
        # On the study's own affine: what files round of it would be another hash.
        sha256 = keep_mask(self.folder / "masks", volume_like(image, np.asarray(mask.array)))
        with self._writing(who) as connection:
            state = require_included(connection, name)
            require_seen(connection, name, seen)
            content: dict[str, Any] = {"mask_sha256": sha256, "seconds": seconds}
            if source is not None:
                content["source"] = dict(source)
            number = tell(connection, name, who, "recorded", structure=structure, content=content)
            if prompts is not None:
                entries = prompt_file_document(prompts)["structures"].get(structure, [])
                add_prompts(connection, number, name, structure, entries)
            move(connection, name, State.PROMPTED if state is State.NEW else State.CORRECTED)
            write_labels(self.folder, study, self.settings, masks_of(connection, name))
        return self.study(name)

    def review(self, name: str, *, who: str, slices: Sequence[int] | None = None, seen: int | None = None) -> Study:
        """Accept the masks of a study, on all slices or on some.

        Parameters
        ----------
        name : str
        who : str
        slices : sequence of int, optional
            Across the axis of acquisition; the others are ``ignore`` in exports. All if None.
        seen : int, optional
            As :meth:`record`.

        Raises
        ------
        ConfigError
            If a structure has no mask, or the study is excluded.
        StaleError
            As :meth:`record`.
        """
        with self._writing(who) as connection:
            self.study(name)
            require_seen(connection, name, seen)
            known = masks_of(connection, name)
            missing = [one for one in self.settings.names if one not in known]
            if missing:
                raise ConfigError(f"{name} has no mask of {', '.join(missing)} yet. Record it, or exclude the study.")
            require_included(connection, name)
            content = {"slices": None if slices is None else sorted({int(one) for one in slices})}
            tell(connection, name, who, "reviewed", content=content)
            move(connection, name, State.REVIEWED)
        return self.study(name)

    def exclude(self, name: str, reason: str, *, who: str) -> Study:
        """Exclude a study, with a reason; its masks stay.

        Raises
        ------
        ConfigError
            If there is no such study or no reason.
        """
        if not reason.strip():
            raise ConfigError(f"Expected a reason to exclude {name}, got none.")
        self.study(name)
        with self._writing(who) as connection:
            tell(connection, name, who, "excluded", content={"reason": reason})
            move(connection, name, State.EXCLUDED)
        return self.study(name)

    def reopen(self, name: str, *, who: str) -> Study:
        """Take back a review or an exclusion.

        Raises
        ------
        ConfigError
            If the study is neither reviewed nor excluded.
        """
        with self._writing(who) as connection:
            if self.study(name).state not in (State.REVIEWED, State.EXCLUDED):
                raise ConfigError(f"Expected a reviewed or excluded study to reopen, {name} is neither.")
            tell(connection, name, who, "reopened")
            move(connection, name, State.CORRECTED if masks_of(connection, name) else State.NEW)
        return self.study(name)

    def require_annotator(self, who: str) -> None:
        """Refuse who may not change the project.

        Raises
        ------
        ConfigError
        """
        if not who.strip():
            raise ConfigError("Expected the name of who does this, got none.")
        if self.settings.annotators and who not in self.settings.annotators:
            raise ConfigError(
                f"Expected one of the annotators in project.toml ({', '.join(self.settings.annotators)}), got {who!r}."
            )

    def _writing(self, who: str) -> AbstractContextManager[sqlite3.Connection]:
        self.require_annotator(who)
        return writing(self.folder / "project.sqlite")

    def _require_structure(self, structure: str) -> None:
        if structure not in self.settings.names:
            raise ConfigError(
                f"Expected a structure of the project ({', '.join(self.settings.names)}), got {structure!r}."
            )
