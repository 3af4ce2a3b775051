"""Prompts on the slices of a workbench: clicks and boxes, undo and redo, prompts of a file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from medsam_planner.errors import MedsamPlannerError, PromptError
from medsam_planner.segmentation.session import Session
from medsam_planner.service.display import Plane
from medsam_planner.service.restoring import previews_of
from medsam_planner.service.structure import COLOURS, Structure
from medsam_planner.service.workbench import Workbench
from prompts import Box, Click, PositionLpsMm, read_prompt_file, validate_file
from prompts.names import require_free

__all__ = ["clear", "click", "draw_box", "position", "redo", "resume", "undo"]


def position(workbench: Workbench, plane: Plane, slice_index: int, column: float, row: float) -> PositionLpsMm:
    """Patient position of a point on the screen.

    Parameters
    ----------
    workbench : Workbench
    plane : Plane
    slice_index : int
    column, row : float
        In voxels of the slice as it is shown, 0 at the centre of the first one.

    Returns
    -------
    (x, y, z) float
        LPS mm.

    Raises
    ------
    PromptError
        If the point lies outside the slice.
    """
    workbench.require_session()
    display = workbench.snapshot.displays[plane]
    columns, rows = display.size
    if not (-0.5 <= column < columns - 0.5 and -0.5 <= row < rows - 0.5 and 0 <= slice_index < display.slice_count):
        raise PromptError("Click inside the slice: that point lies outside it.")
    x, y, z = display.lps_at(slice_index, column, row).tolist()
    return x, y, z


def click(workbench: Workbench, plane: Plane, slice_index: int, column: float, row: float, *, positive: bool) -> None:
    """Prompt the active structure with a point inside (positive) or outside it; the point as in :func:`position`."""
    point = Click(position(workbench, plane, slice_index, column, row), positive)
    _change(workbench, lambda session: session.add(point, structure=workbench.active))


def draw_box(
    workbench: Workbench, plane: Plane, slice_index: int, first: tuple[float, float], last: tuple[float, float]
) -> None:
    """Prompt the active structure with a box on one slice.

    Parameters
    ----------
    workbench : Workbench
    plane : Plane
    slice_index : int
    first, last : (float, float)
        Opposite corners as (column, row); rounded to voxels and clipped to the slice.

    Raises
    ------
    PromptError
        If the box is less than two voxels wide or high.
    """
    workbench.require_session()
    display = workbench.snapshot.displays[plane]
    limits = np.array(display.size) - 1
    corners = np.clip(np.rint(np.array([first, last], dtype=np.float64)), 0, limits)
    if (corners[0] == corners[1]).any():
        raise PromptError("That box is less than two voxels wide. Draw it larger, or click a point instead.")
    box = Box(*(display.lps_at(slice_index, column, row) for column, row in corners.tolist()))
    _change(workbench, lambda session: session.add(box, structure=workbench.active))


def undo(workbench: Workbench) -> None:
    """Undo the last step of the active structure."""
    _change(workbench, lambda session: session.undo(structure=workbench.active))


def redo(workbench: Workbench) -> None:
    """Redo the last undone step of the active structure."""
    _change(workbench, lambda session: session.redo(structure=workbench.active))


def clear(workbench: Workbench) -> None:
    """Remove all prompts of the active structure, as one step that can be undone."""
    _change(workbench, lambda session: session.log(workbench.active).clear())


def resume(workbench: Workbench, path: Path) -> None:
    """Load the prompts of a file; they replace those of structures with the same names.

    Parameters
    ----------
    workbench : Workbench
    path : Path
        A prompt file.

    Raises
    ------
    PromptError, GeometryError
        If the file cannot be read, its prompts do not belong to this study, or a name cannot be used.
    """
    session = workbench.require_session()
    study = session.volume
    stored = read_prompt_file(path)
    for log in stored.logs:
        require_free(log.structure)
    validate_file(stored, study.affine, study.spatial_shape, frame_of_reference_uid=study.frame_of_reference_uid)
    is_unused = len(workbench.structures) == 1 and not workbench.log.history
    structures = {} if is_unused else dict(workbench.structures)
    for log in stored.logs:
        session.restore(log)
        colour = COLOURS[len(structures) % len(COLOURS)]
        one = structures.get(log.structure) or Structure(log.structure, colour)
        structures[log.structure] = replace(
            one.with_log(log), previews=previews_of(session, log), is_stale=one.result is not None
        )
    workbench.publish(structures=structures, active=stored.logs[0].structure)


def _change(workbench: Workbench, change: Callable[[Session], object]) -> None:
    """Change the prompts and recompute the previews; if the model fails, the prompts are put back as they were."""
    session, log = workbench.require_session(), workbench.log
    before = log.copy()
    change(session)
    try:
        workbench.save()  # before the previews are computed: the prompts are on disk at once
        previews = previews_of(session, log)
    except BaseException:
        session.restore(before)
        with suppress(MedsamPlannerError):
            workbench.save()
        raise
    workbench.publish_active(lambda one: replace(one.with_log(log), previews=previews, is_stale=one.result is not None))
