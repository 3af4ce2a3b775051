"""Saves one work to disk after each change, and only what changed since it was last saved."""

from __future__ import annotations

from pathlib import Path

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.provenance import versions
from medsam_planner.segmentation.session import Session
from medsam_planner.service import saved_work
from medsam_planner.service.saved_work import Opened
from medsam_planner.service.snapshot import Snapshot
from prompts import PromptFile, Provenance, write_prompt_file

__all__ = ["NOT_SAVED", "Autosave"]

NOT_SAVED = (
    "This could not be saved on the server's disk, so a reload of the page would lose it. Check whether the disk is "
    "full or the results folder is read-only."
)


class Autosave:
    """Saves the work on one opened study.

    Parameters
    ----------
    out : Path
        Folder that holds the folders of all works.
    opened : Opened
        Which study is open.
    session : Session
        Its prompts are saved.
    key : str
        Key of the work: whoever knows it can take the work up.
    folder : Path, optional
        Folder of work that is already on disk.
    """

    def __init__(self, out: Path, opened: Opened, session: Session, *, key: str, folder: Path | None = None) -> None:
        self.key = key
        self._out = out
        self._opened = opened
        self._session = session
        self._image_sha256 = session.study_sha256  # while a study is opened: the first prompt is fast
        self._folder = folder
        self._result_files: dict[str, str] = {}
        """Names of the 3D results on disk, by structure."""
        self._saved: Snapshot | None = None
        """The snapshot that is on disk."""
        self._saved_prompts: object = None
        """The prompts that are on disk."""

    @property
    def is_on_disk(self) -> bool:
        """Whether the work can be restored from disk."""
        return self._folder is not None and saved_work.find_work(self._out, self.key) is not None

    def folder(self) -> Path:
        """The folder of this work, created when it is first needed."""
        if self._folder is None:
            self._folder = saved_work.open_work_folder(self._out, self._opened.name, self.key)
        return self._folder

    def mark_saved(self, snapshot: Snapshot, result_files: dict[str, str] | None = None) -> None:
        """Record that this snapshot is on disk already, or holds nothing worth saving.

        Parameters
        ----------
        snapshot : Snapshot
        result_files : dict, optional
            Names of the 3D results on disk, by structure.
        """
        self._saved, self._result_files = snapshot, dict(result_files or {})

    def forget_result(self, structure: str) -> None:
        """Record that the 3D result on disk is no longer that of the structure."""
        self._result_files.pop(structure, None)

    def save_prompts(self, names: tuple[str, ...]) -> Path:
        """Write the prompts of these structures, with their undone steps.

        Raises
        ------
        MedsamPlannerError
            If they cannot be written.
        """
        session, study = self._session, self._session.volume
        provenance = Provenance(
            affine=tuple(tuple(float(value) for value in row) for row in study.affine),
            shape=tuple(int(size) for size in study.spatial_shape),
            frame_of_reference_uid=study.frame_of_reference_uid,
            model=session.model.name,
            weights_sha256=session.model.weights_sha256,
            seed=session.seed,
            versions=versions(),
        )
        try:
            path = saved_work.prompts_path(self.folder())
            write_prompt_file(path, PromptFile(logs=tuple(session.log(name) for name in names), provenance=provenance))
            path.chmod(0o600)
        except OSError as error:
            raise MedsamPlannerError(NOT_SAVED) from error
        self._saved_prompts = self._prompts_of(names)
        return path

    def _prompts_of(self, names: tuple[str, ...]) -> object:
        logs = (self._session.log(name) for name in names)
        return [(log.structure, log.history, log.undone) for log in logs]

    def save(self, snapshot: Snapshot) -> None:
        """Write what is in the snapshot and not yet on disk.

        Raises
        ------
        MedsamPlannerError
            If it cannot be written.
        """
        if snapshot is self._saved:
            return
        names = tuple(snapshot.structures)
        if self._saved_prompts != self._prompts_of(names):
            self.save_prompts(names)
        try:
            folder = self.folder()
            for name, one in snapshot.structures.items():
                lies_there = (
                    name in self._result_files and saved_work.result_path(folder, self._result_files[name]).exists()
                )
                if one.result is not None and not lies_there:
                    self._result_files[name] = saved_work.save_result(folder, one.result)
            saved_work.save_work(
                folder,
                snapshot,
                key=self.key,
                opened=self._opened,
                image_sha256=self._image_sha256,
                result_files=self._result_files,
            )
        except OSError as error:
            raise MedsamPlannerError(NOT_SAVED) from error
        self._saved = snapshot
