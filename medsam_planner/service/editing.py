"""Edits by hand on the slices of a workbench: brush and eraser, and operations on the whole mask.

Either an edit is the last word: the 3D mask stays as it is but for the painted voxels. It is then an initial mask
(what is there, painted) or, on the slices of one, an edit. Or the model goes on from it: the edit is a step like a
click, and slices that are propagated follow from it. Calibrated margins do not cover either.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PromptError
from medsam_planner.segmentation.brush import Brush, painted_voxels
from medsam_planner.segmentation.mask_operations import MaskOperation, operated
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.display import Plane
from medsam_planner.service.hand_mask import hand_mask
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import StudyVolume
from prompts import Edit, InitialMask, Prompt, VoxelMask

__all__ = ["change_mask", "paint", "present_mask"]

_MOST_POINTS = 20_000
_NOTHING_LEFT = "Nothing of the structure would be left. Remove its prompts instead."


def present_mask(workbench: Workbench) -> NDArray[np.bool_] | None:
    """(K, J, I) bool mask of the active structure, not to be written to; None while its 3D mask is still to come."""
    structure = workbench.structure
    if structure.hand is not None and structure.hand.is_exact:
        return structure.hand.whole()
    if structure.result is None or structure.is_stale:
        return None
    return np.asarray(structure.result.mask.array, dtype=bool)


def paint(
    workbench: Workbench,
    plane: Plane,
    slice_index: int,
    points: Sequence[tuple[float, float]],
    brush: Brush,
    *,
    positive: bool,
    is_last_word: bool = True,
) -> None:
    """Set or clear the voxels under a brush that was drawn along a line; one step, shown at once.

    Parameters
    ----------
    workbench : Workbench
    plane : Plane
    slice_index : int
    points : sequence of (float, float)
        Corners of the line as (column, row), in voxels of the slice as it is shown.
    brush : Brush
    positive : bool
        True sets voxels, False clears them.
    is_last_word : bool
        Whether only what is painted changes; needs a 3D mask of the present prompts, and is ignored without one.

    Raises
    ------
    PromptError
        If the line leaves the slice, no voxel is painted, or nothing would be left of the structure.
    """
    workbench.require_work()
    display, study = workbench.snapshot.displays[plane], _study(workbench)
    if not 1 <= len(points) <= _MOST_POINTS or not 0 <= slice_index < display.slice_count:
        raise PromptError(f"Expected a line of 1 to {_MOST_POINTS} points on a slice, got {len(points)} points.")
    line = [display.index_at(slice_index, column, row) for column, row in points]
    first_index, painted = painted_voxels(line, brush, study.affine, study.array, axis=display.axis)
    edit = Edit(VoxelMask.from_array(painted, study.affine, first_index=first_index), positive=positive)
    now = present_mask(workbench) if is_last_word else None
    if now is None:
        _add(workbench, edit)
        return
    window = tuple(slice(low, low + size) for low, size in zip(first_index, painted.shape, strict=True))
    if (now[window][painted] == positive).all():
        raise PromptError("Nothing changes: what was painted is so already.")
    if not positive and np.count_nonzero(now) == np.count_nonzero(now[window][painted]):
        raise PromptError(_NOTHING_LEFT)
    hand = hand_mask((*workbench.structure.prompts, edit), study.affine, study.spatial_shape)
    if hand is not None and hand.is_exact:
        _add(workbench, edit)
        return
    changed = now.copy()
    changed[window][painted] = positive
    _replace(workbench, changed, study)


def change_mask(workbench: Workbench, operation: MaskOperation) -> int:
    """Apply an operation to the whole mask of the active structure; one step, shown at once.

    Returns
    -------
    int
        How many voxels changed; 0 adds no step.

    Raises
    ------
    PromptError
        If the 3D mask is still to come, or nothing of the structure would be left.
    """
    now, study = present_mask(workbench), _study(workbench)
    if now is None:
        raise PromptError("This needs a 3D mask of the present prompts. Segment the structure in 3D first.")
    changed = operated(now, operation, study.affine)
    count = int(np.count_nonzero(changed != now))
    if count:
        _replace(workbench, changed, study)
    return count


def _study(workbench: Workbench) -> StudyVolume:
    work = workbench.require_work()
    return workbench.service.loaded.volume(work.study)


def _replace(workbench: Workbench, inside: NDArray[np.bool_], study: StudyVolume) -> None:
    _add(workbench, InitialMask(VoxelMask.from_array(inside, study.affine)))


def _add(workbench: Workbench, prompt: Prompt) -> None:
    workbench.change_steps("prompt", entry_of(prompt))
