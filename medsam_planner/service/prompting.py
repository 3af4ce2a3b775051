"""Prompts on the slices of a workbench: clicks and boxes, undo and redo, prompts of a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medsam_planner.errors import PromptError
from medsam_planner.geometry import lps_from_index
from medsam_planner.service.core.prompt_steps import PromptSteps, entry_of
from medsam_planner.service.display import Plane
from medsam_planner.service.drawn_regions import lasso_prompts
from medsam_planner.service.workbench import Workbench
from prompts import Box, Click, PositionLpsMm, Scribble, read_prompt_file, validate_file
from prompts.names import require_free

__all__ = [
    "clear",
    "click",
    "draw_box",
    "draw_box_3d",
    "lasso",
    "position",
    "redo",
    "remove",
    "resume",
    "scribble",
    "undo",
]


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
    workbench.require_work()
    display = workbench.snapshot.displays[plane]
    columns, rows = display.size
    if not (-0.5 <= column < columns - 0.5 and -0.5 <= row < rows - 0.5 and 0 <= slice_index < display.slice_count):
        raise PromptError("Click inside the slice: that point lies outside it.")
    x, y, z = display.lps_at(slice_index, column, row).tolist()
    return x, y, z


def click(workbench: Workbench, plane: Plane, slice_index: int, column: float, row: float, *, positive: bool) -> None:
    """Prompt the active structure with a point inside (positive) or outside it; the point as in :func:`position`."""
    point = Click(position(workbench, plane, slice_index, column, row), positive)
    workbench.change_steps("prompt", entry_of(point))


def scribble(
    workbench: Workbench,
    plane: Plane,
    slice_index: int,
    points: Sequence[tuple[float, float]],
    *,
    positive: bool,
) -> None:
    """Prompt the active structure with a line inside (positive) or outside it; its points as in :func:`position`."""
    line = Scribble([position(workbench, plane, slice_index, *point) for point in points], positive)
    workbench.change_steps("prompt", entry_of(line))


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
    workbench.require_work()
    display = workbench.snapshot.displays[plane]
    limits = np.array(display.size) - 1
    corners = np.clip(np.rint(np.array([first, last], dtype=np.float64)), 0, limits)
    if (corners[0] == corners[1]).any():
        raise PromptError("That box is less than two voxels wide. Draw it larger, or click a point instead.")
    box = Box(*(display.lps_at(slice_index, column, row) for column, row in corners.tolist()))
    workbench.change_steps("prompt", entry_of(box))


def draw_box_3d(workbench: Workbench, low: Sequence[int], high: Sequence[int]) -> None:
    """Prompt the active structure with a box that bounds it in 3D.

    Parameters
    ----------
    workbench : Workbench
    low, high : (3,) int
        First and last voxel along each array axis, inclusive; clipped to the study.

    Raises
    ------
    PromptError
        If the box is less than two voxels thick in a direction.
    """
    workbench.require_work()
    display = next(iter(workbench.snapshot.displays.values()))
    last = np.array(display.shape) - 1
    corners = np.clip(np.array([low, high], dtype=np.float64), 0, last)
    if not (corners[0] < corners[1]).all():
        raise PromptError("That box is less than two voxels thick. Drag its sides apart, or draw a box on one slice.")
    box = Box(*(lps_from_index(display.affine, corner) for corner in corners))
    workbench.change_steps("prompt", entry_of(box))


def lasso(workbench: Workbench, plane: Plane, slice_index: int, points: Sequence[tuple[float, float]]) -> None:
    """Prompt the active structure with a closed line drawn loosely around it: the box of what lies within.

    Parameters
    ----------
    workbench : Workbench
    plane : Plane
    slice_index : int
    points : sequence of (float, float)
        As in :func:`position`; the last is joined with the first.

    Raises
    ------
    PromptError
        If a point lies outside the slice, or no voxel within the line.
    """
    from skimage.draw import polygon2mask

    if len(points) < 3:
        raise PromptError("That lasso is no line around anything. Draw it around the structure.")
    for point in points:
        position(workbench, plane, slice_index, *point)  # refuses what lies outside
    display = workbench.snapshot.displays[plane]
    corners = np.array([display.index_at(slice_index, *point) for point in points]).reshape(-1, 3)
    in_plane = [axis for axis in range(3) if axis != display.axis]
    drawn = polygon2mask([display.shape[axis] for axis in in_plane], corners[:, in_plane])
    sides = [(0, size) for size in display.shape]
    sides[display.axis] = (slice_index, slice_index + 1)
    found = lasso_prompts(np.expand_dims(drawn, display.axis), tuple(sides), display.affine)
    if not found:
        raise PromptError("No voxel lies within that lasso. Draw it around the structure, or click a point instead.")
    workbench.change_steps("prompt", entry_of(found[0]))


def undo(workbench: Workbench) -> None:
    """Undo the last step of the active structure."""
    workbench.change_steps("undo")


def redo(workbench: Workbench) -> None:
    """Redo the last undone step of the active structure."""
    workbench.change_steps("redo")


def clear(workbench: Workbench) -> None:
    """Remove all prompts of the active structure, as one step that can be undone."""
    workbench.change_steps("prompt", {"kind": "clear"})


def remove(workbench: Workbench, place: int) -> None:
    """Remove one prompt of the active structure, as a step that can be undone.

    Parameters
    ----------
    workbench : Workbench
    place : int
        Among the steps of the structure, counted from 0, as :attr:`.structure.Structure.places` has it.

    Raises
    ------
    PromptError
        If no prompt that holds is there.
    """
    workbench.require_work()
    places = workbench.structure.places
    if place not in places:
        raise PromptError("That prompt is no longer there. Choose one of the list as it is now.")
    workbench.change_steps("prompt", {"kind": "removal", "prompt": places.index(place)})


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
    work, study = workbench.require_work(), workbench.snapshot.study
    stored = read_prompt_file(path)
    for log in stored.logs:
        require_free(log.structure)
    validate_file(
        stored,
        work.study.affine,
        work.study.shape,
        frame_of_reference_uid=None if study is None else study.frame_of_reference_uid,
    )
    for log in stored.logs:
        workbench.own.replace_steps(work, PromptSteps.of_log(log))
    workbench.record(active=stored.logs[0].structure)
