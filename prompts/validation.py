"""Check that a prompt fits a volume: its position, its extent, its frame of reference and its orientation."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.affine import gap_text, index_from_lps, lps_from_index, nearest_index, require_affine, require_shape
from prompts.errors import GeometryError, PromptError
from prompts.geometry import box_extent
from prompts.log import Choice, Clear, Removal
from prompts.record import PromptFile
from prompts.shapes import Box, Click, Edit, InitialMask, Prompt, Scribble

__all__ = ["validate", "validate_file"]

_LARGEST_TURN = 0.5
"""In voxels: a box whose sides move by no more than this stays on its slice and, to the nearest voxel, in its place."""


def validate_file(
    prompt_file: PromptFile, affine: ArrayLike, shape: ArrayLike, *, frame_of_reference_uid: str | None = None
) -> None:
    """Refuse a prompt file unless all of its prompts, undone ones included, fit the volume.

    Parameters
    ----------
    prompt_file : PromptFile
        Its provenance may state the grid and the frame of reference of the prompts.
    affine, shape, frame_of_reference_uid
        The volume's, as for :func:`validate`.

    Raises
    ------
    PromptError, GeometryError
        As :func:`validate`; the message begins with the structure and the number of its entry, counted from 1.
    """
    for log in prompt_file.logs:
        for number, entry in enumerate(log.history, start=1):
            if isinstance(entry, Clear | Choice | Removal):
                continue
            try:
                validate(
                    entry,
                    affine,
                    shape,
                    frame_of_reference_uid=prompt_file.provenance.frame_of_reference_uid,
                    expected_frame=frame_of_reference_uid,
                    drawn_on_affine=prompt_file.provenance.affine,
                )
            except (PromptError, GeometryError) as error:
                raise type(error)(f"{log.structure!r}, entry {number}: {error}") from error


def validate(
    prompt: Prompt,
    affine: ArrayLike,
    shape: ArrayLike,
    *,
    frame_of_reference_uid: str | None = None,
    expected_frame: str | None = None,
    drawn_on_affine: ArrayLike | None = None,
) -> None:
    """Refuse a prompt unless it fits the volume.

    A click and every position of a scribble must lie in the volume. A box must contain a voxel of it, and may extend
    beyond it. The voxels of an initial mask and of an edit must be voxels of the volume.

    Parameters
    ----------
    prompt : Click, Box, Scribble, InitialMask or Edit
        In LPS mm.
    affine : (4, 4) float
        Index → LPS mm of the volume.
    shape : (3,) int
        Voxels along each array axis.
    frame_of_reference_uid : str, optional
        DICOM Frame of Reference UID in which the prompt was given.
    expected_frame : str, optional
        Frame of Reference UID of the volume. Positions can be compared only when the two are equal; they are
        compared where both are known.
    drawn_on_affine : (4, 4) float, optional
        Index → LPS mm of the volume on which the prompt was given. On a grid with another orientation the two corners
        define another box, so a box is refused there; clicks and scribbles are valid on every grid.

    Raises
    ------
    PromptError
        If the prompt lies outside or has no extent; the message states the distance and the side.
    GeometryError
        If the frames of reference differ, a box would change with the grid, a mask was drawn on other voxels, or
        `affine` or `shape` is not a valid grid.
    """
    if frame_of_reference_uid and expected_frame and frame_of_reference_uid != expected_frame:
        raise GeometryError(
            f"Expected prompts in the volume's frame of reference {expected_frame}, "
            f"got prompts in {frame_of_reference_uid}. Positions of one patient position do not hold in another: "
            "use the study they were given on, or a series registered to it."
        )
    if isinstance(prompt, Box):
        if drawn_on_affine is not None:
            _require_same_box(prompt, drawn_on_affine, affine)
        box_extent(prompt, affine, shape)
    elif isinstance(prompt, Click):
        _require_inside("a click", [prompt.position_lps_mm], affine, shape)
    elif isinstance(prompt, Scribble):
        _require_inside("a scribble", prompt.positions_lps_mm, affine, shape)
    elif isinstance(prompt, InitialMask | Edit):
        prompt.mask.on_grid(affine, shape)
    else:
        raise PromptError(f"Expected a Click, Box, Scribble, InitialMask or Edit, got {type(prompt).__name__}.")


def _require_same_box(box: Box, drawn_on_affine: ArrayLike, affine: ArrayLike) -> None:
    drawn_on, matrix = require_affine(drawn_on_affine), require_affine(affine)
    bulge = max(_bulge(box, drawn_on, matrix), _bulge(box, matrix, drawn_on))
    if bulge > _LARGEST_TURN:
        raise GeometryError(
            "Expected a volume whose axes run along those the box was drawn on, got one turned against them: "
            f"a side of the box would move by {bulge:.1f} voxels. Use the study it was drawn on, "
            "or draw the box again on this one."
        )


def _bulge(box: Box, one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Voxels of the grid `other` by which the box on the grid `one` extends beyond the box on the grid `other`."""
    corners = [box.corner_lps_mm, box.opposite_lps_mm]
    laid = lps_from_index(one, list(itertools.product(*index_from_lps(one, corners).T)))
    inner, outer = index_from_lps(other, corners), index_from_lps(other, laid)
    return float(np.maximum(inner.min(axis=0) - outer.min(axis=0), outer.max(axis=0) - inner.max(axis=0)).max())


def _require_inside(what: str, positions_lps_mm: ArrayLike, affine: ArrayLike, shape: ArrayLike) -> None:
    matrix, counts = require_affine(affine), require_shape(shape)
    index = index_from_lps(matrix, positions_lps_mm)
    voxel = nearest_index(index)
    gaps: NDArray[np.float64] = np.where(voxel < 0, index + 0.5, np.where(voxel >= counts, index - (counts - 0.5), 0.0))
    is_outside = ((voxel < 0) | (voxel >= counts)).any(axis=1)
    if not is_outside.any():
        return
    distances_mm = np.where(is_outside, np.linalg.norm(gaps @ matrix[:3, :3].T, axis=1), -1.0)
    worst = int(np.argmax(distances_mm))
    position = ", ".join(f"{value:.1f}" for value in np.asarray(positions_lps_mm)[worst].tolist())
    which = "" if len(index) == 1 else f" with {int(is_outside.sum())} of {len(index)} positions outside, the farthest"
    raise PromptError(
        f"Expected {what} inside the volume, got one{which} at ({position}) LPS mm, "
        f"{gap_text(matrix, gaps[worst])} of it. Check that the prompts belong to this study."
    )
