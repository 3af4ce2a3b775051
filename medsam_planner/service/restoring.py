"""Restore the structures of saved work in a session on the same study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.segmentation.session import Session
from medsam_planner.service import saved_work
from medsam_planner.service.saved_result import read_result
from medsam_planner.service.saved_work import SavedWork
from medsam_planner.service.structure import COLOURS, Structure
from prompts import PromptFile, PromptLog, read_prompt_file, validate_file
from prompts.shapes import locates

__all__ = ["Waiting", "previews_of", "restore"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Saved work that has not been read from disk yet."""

    key: str
    folder: Path

    @property
    def image_sha256(self) -> str:
        """Hash of the study the work is on; empty if the saved work cannot be read."""
        try:
            return saved_work.read_work(self.folder).image_sha256
        except MedsamPlannerError:
            return ""


def restore(session: Session, work: SavedWork, folder: Path) -> tuple[dict[str, Structure], list[str]]:
    """Restore the prompts and 3D results of saved work.

    Parameters
    ----------
    session : Session
        On the study of the work.
    work : SavedWork
    folder : Path
        Folder of the work.

    Returns
    -------
    dict, list of str
        Structures by name, and in words what could not be restored.

    Raises
    ------
    PromptError, GeometryError
        If the prompts cannot be read, or do not belong to the study.
    """
    study = session.volume
    stored = read_prompt_file(saved_work.prompts_path(folder))
    validate_file(stored, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
    for log in stored.logs:
        session.restore(log)
    structures: dict[str, Structure] = {}
    lost: list[str] = []
    for one in (*work.structures, *_unlisted(stored, work)):
        log = session.log(one.name)
        structure = replace(one.with_log(log), previews=previews_of(session, log))
        if one.name in work.result_files:
            try:
                result = read_result(saved_work.result_path(folder, work.result_files[one.name]), study)
                structure = structure.with_result(result, is_stale=one.is_stale)
            except MedsamPlannerError as error:
                lost.append(f"{error} Run ‘{one.name}’ to 3D again.")
        structures[one.name] = structure
    return structures, lost


def previews_of(session: Session, log: PromptLog) -> dict[int, dict[int, NDArray[np.float32]]]:
    """Predicted probability on the prompted slices, by array axis and slice index.

    Empty if no prompt says where the structure is.
    """
    if not any(locates(prompt) for prompt in log.prompts):
        return {}
    found = session.preview(structure=log.structure)
    return {axis: {index: one.probability for index, one in slices.items()} for axis, slices in found.items()}


def _unlisted(stored: PromptFile, work: SavedWork) -> Iterator[Structure]:
    """Structures whose prompts were saved before the record that lists them was."""
    listed = {one.name for one in work.structures}
    for number, log in enumerate(stored.logs):
        if log.structure not in listed:
            yield Structure(log.structure, COLOURS[number % len(COLOURS)])
