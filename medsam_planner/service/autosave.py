"""Keeps one work on disk: what was opened, and how much of what is known lies there."""

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
    "This could not be kept on the server's disk, so a reload of the page would lose it. Is the disk full, or the "
    "folder of the results read-only?"
)


class Autosave:
    """Of the work on one opened study.

    Parameters
    ----------
    out : Path
        Folder of all works.
    opened : Opened
    session : Session
        Its prompts are kept.
    key : str
        Names the work: who knows it can take the work up.
    folder : Path, optional
        Of work that lies on disk already.
    """

    def __init__(self, out: Path, opened: Opened, session: Session, *, key: str, folder: Path | None = None) -> None:
        self.key = key
        self._out = out
        self._opened = opened
        self._session = session
        self._image_sha256 = session.study_sha256  # now, while a study is opened, and not at the first prompt
        self._folder = folder
        self._result_files: dict[str, str] = {}
        """By structure, of the 3D results on disk."""
        self._kept: Snapshot | None = None
        """The last one that is on disk."""
        self._saved: object = None
        """The prompts that are on disk."""

    @property
    def is_on_disk(self) -> bool:
        """Whether there is anything to come back to."""
        return self._folder is not None and saved_work.find_work(self._out, self.key) is not None

    def folder(self) -> Path:
        """The folder of this work, made when it is first needed."""
        if self._folder is None:
            self._folder = saved_work.open_work_folder(self._out, self._opened.name, self.key)
        return self._folder

    def mark_saved(self, snapshot: Snapshot, result_files: dict[str, str] | None = None) -> None:
        """Say that this is what lies on disk, or that there is nothing in it to keep."""
        self._kept, self._result_files = snapshot, dict(result_files or {})

    def forget_result(self, structure: str) -> None:
        """The 3D result on disk is not that of the structure any more."""
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
        self._saved = self._prompts_of(names)
        return path

    def _prompts_of(self, names: tuple[str, ...]) -> object:
        logs = (self._session.log(name) for name in names)
        return [(log.structure, log.history, log.undone) for log in logs]

    def keep(self, snapshot: Snapshot) -> None:
        """Put on disk what is known and does not lie there.

        Raises
        ------
        MedsamPlannerError
            If it cannot be written.
        """
        if snapshot is self._kept:
            return
        names = tuple(snapshot.structures)
        if self._saved != self._prompts_of(names):
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
        self._kept = snapshot
