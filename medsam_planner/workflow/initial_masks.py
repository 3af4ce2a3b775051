"""Begin structures from masks in files: the first step of their logs, so that a run replays without the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medsam_planner.errors import PromptError
from medsam_planner.io.mask_reading import load_mask, mask_labels, object_notes
from medsam_planner.io.segment_path import parted
from medsam_planner.volumes import StudyVolume
from prompts import InitialMask, PromptLog, VoxelMask

__all__ = ["begun_logs", "read_initial_mask"]


def begun_logs(logs: Sequence[PromptLog], masks: Sequence[Path], study: StudyVolume) -> tuple[PromptLog, ...]:
    """Logs that begin from masks, followed by the prompts that hold in them.

    Parameters
    ----------
    logs : sequence of PromptLog
    masks : sequence of Path
        Each belongs to the structure that its segment is called, or to the only structure.
    study : StudyVolume

    Raises
    ------
    StudyError
        If a mask cannot be read.
    GeometryError
        If its voxels are not those of the study.
    PromptError
        If it belongs to no structure, is empty, or a structure would begin from two masks.
    """
    path_by_structure: dict[str, Path] = {}
    for path in masks:
        for structure in _structures_of(path, [log.structure for log in logs]):
            if structure in path_by_structure:
                raise PromptError(
                    f"Expected one mask for '{structure}' to begin from, got {path_by_structure[structure]} and {path}."
                )
            path_by_structure[structure] = path
    return tuple(
        _begun(log, path_by_structure[log.structure], study) if log.structure in path_by_structure else log
        for log in logs
    )


def read_initial_mask(
    path: Path, study: StudyVolume, *, name: str | None = None, number: int | None = None
) -> InitialMask:
    """A mask of a file as the first step of a log.

    Parameters
    ----------
    path, study, name, number
        As of :func:`medsam_planner.io.mask_reading.load_mask`.

    Raises
    ------
    StudyError
        If it cannot be read, or the choice among segments is not clear.
    GeometryError
        If its voxels are not those of the study.
    PromptError
        If it is empty.
    """
    mask = load_mask(path, study, name=name, number=number)
    initial = VoxelMask.from_array(np.asarray(mask.array) > 0, mask.affine)
    initial.index_range(study.affine, study.spatial_shape)  # refuses other voxels
    return InitialMask(initial, object_notes(mask))


def _structures_of(path: Path, structures: Sequence[str]) -> list[str]:
    if len(structures) == 1:
        return list(structures)
    file, segment = parted(path)
    labels = mask_labels(file)
    wanted = [label for number, label in labels.items() if segment in (None, label, str(number))]
    found = [structure for structure in structures if structure in wanted]
    if not found:
        raise PromptError(
            f"Expected a mask of one of the structures {', '.join(structures)} to begin from; {path} has "
            f"{', '.join(labels.values()) or 'no segments with names'}. Prompt one structure at a time, or name the "
            "segments like the structures."
        )
    return found


def _begun(log: PromptLog, path: Path, study: StudyVolume) -> PromptLog:
    if any(isinstance(prompt, InitialMask) for prompt in log.prompts):
        raise PromptError(f"The prompts of '{log.structure}' begin from a mask already. Leave out {path}.")
    return PromptLog.from_history(log.structure, [read_initial_mask(path, study, name=log.structure), *log.prompts])
