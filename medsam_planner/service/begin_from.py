"""Begin the active structure of a workbench from a mask: of a file, or of another structure of the session."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medsam_planner.errors import PromptError, StudyError
from medsam_planner.io.mask_reading import mask_labels
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.uploads import SHOWN_AS, UploadKind
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.initial_masks import read_initial_mask
from prompts import InitialMask, VoxelMask

__all__ = ["from_file", "from_structure", "segments_of"]


def segments_of(workbench: Workbench, text: str) -> dict[int, str]:
    """Labels of the segments or regions of a file by number; empty for a file that is one mask.

    Parameters
    ----------
    workbench : Workbench
    text : str
        A path within the allowed folders, or the displayed name of an upload.

    Raises
    ------
    StudyError
        If it may not be read, or is damaged.
    """
    return mask_labels(_place(workbench, text))


def from_file(workbench: Workbench, text: str, number: int | None = None) -> tuple[str, ...]:
    """Begin the active structure from the mask in a file, in place of its prompts; undo takes that back.

    Parameters
    ----------
    workbench : Workbench
    text : str
        As of :func:`segments_of`.
    number : int, optional
        Of several segments; without it the one that is called like the structure.

    Returns
    -------
    tuple of str
        What is not known of the mask.

    Raises
    ------
    StudyError, GeometryError, PromptError
        If it cannot be read, the choice is not clear, its voxels are not those of the study, or it is empty.
    """
    work, path = workbench.require_work(), _place(workbench, text)
    study = workbench.service.loaded.volume(work.study)
    mask = read_initial_mask(path, study, name=workbench.structure.name, number=number)
    workbench.change_steps("prompt", entry_of(mask))
    return mask.notes


def from_structure(workbench: Workbench, name: str) -> None:
    """Begin the active structure from the 3D result of another one, in place of its prompts; undo takes that back.

    Raises
    ------
    PromptError
        If there is no other structure of that name with a 3D result, it is out of date, or it is empty.
    """
    workbench.require_work()
    other = workbench.snapshot.structures.get(name)
    if other is None or other.name == workbench.structure.name or other.result is None:
        raise PromptError(f"Expected another structure that was segmented in 3D to begin from, got {name!r:.100}.")
    if other.is_stale:
        raise PromptError(f"The prompts of ‘{name}’ changed since it was segmented in 3D. Segment it again first.")
    mask = other.result.mask
    inside = VoxelMask.from_array(np.asarray(mask.array, dtype=bool), mask.affine)
    workbench.change_steps("prompt", entry_of(InitialMask(inside)))


def _place(workbench: Workbench, text: str) -> Path:
    text = text.strip()
    if not text.startswith(SHOWN_AS):
        return workbench.service.settings.allowed(text)
    path = workbench.uploads.find(UploadKind.MASK)
    if path is None or path.name != text.removeprefix(SHOWN_AS):
        raise StudyError("That upload was deleted, or replaced by a newer one. Upload the mask again.")
    return path
