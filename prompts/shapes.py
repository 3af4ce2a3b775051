"""Prompts: a click, a box, a scribble, an initial mask or an edit, all in patient space (LPS mm)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prompts.errors import PromptError
from prompts.voxel_mask import VoxelMask

__all__ = ["Box", "Click", "Edit", "InitialMask", "PositionLpsMm", "Prompt", "Scribble", "locates", "require_candidate"]

PositionLpsMm: TypeAlias = tuple[float, float, float]
"""A position in the patient: mm towards the left, the back and the head."""

_FARTHEST_MM = 1e5
"""100 m: no scanner's frame of reference reaches farther, so a larger number is a mistake of unit or of type."""
_MOST_NOTES, _LONGEST_NOTE = 10, 500


@dataclass(frozen=True, slots=True, init=False)
class Click:
    """A point that lies inside the structure, or outside it.

    Parameters
    ----------
    position_lps_mm : (3,) float
        LPS mm.
    positive : bool
        True: inside the structure.
    candidate : int, optional
        Number of the model's candidate prediction that the user chose, counted from the best as 0. A log sets it from
        the :class:`~prompts.log.Choice` that follows.

    Raises
    ------
    PromptError
        If the position is not three finite numbers, `positive` is not a bool, or `candidate` is not a whole number from
        0.
    """

    position_lps_mm: PositionLpsMm
    positive: bool
    candidate: int | None

    def __init__(self, position_lps_mm: ArrayLike, positive: bool = True, *, candidate: int | None = None) -> None:
        object.__setattr__(self, "position_lps_mm", _position(position_lps_mm, "the click's position"))
        object.__setattr__(self, "positive", _flag(positive, "a click"))
        object.__setattr__(self, "candidate", None if candidate is None else require_candidate(candidate))


@dataclass(frozen=True, slots=True, init=False)
class Box:
    """A box around the structure, given by two opposite corners in any order.

    The corners are the centres of the outermost voxels (inclusive). The edges run along the array axes of the volume,
    so a box on one slice of an oblique volume stays on that slice. A box one slice thick is a 2D box and holds for that
    slice only; a thicker one bounds the structure in 3D.

    Parameters
    ----------
    corner_lps_mm, opposite_lps_mm : (3,) float
        LPS mm.
    candidate : int, optional
        Number of the model's candidate prediction that the user chose, counted from the best as 0. A log sets it from
        the :class:`~prompts.log.Choice` that follows.

    Raises
    ------
    PromptError
        If a corner is not three finite numbers, both are the same point, or `candidate` is not a whole number from 0.
    """

    corner_lps_mm: PositionLpsMm
    opposite_lps_mm: PositionLpsMm
    candidate: int | None

    def __init__(self, corner_lps_mm: ArrayLike, opposite_lps_mm: ArrayLike, *, candidate: int | None = None) -> None:
        corner = _position(corner_lps_mm, "the box's first corner")
        opposite = _position(opposite_lps_mm, "the box's opposite corner")
        if corner == opposite:
            raise PromptError(
                f"Expected two different corners of a box, got {corner} twice. To mark one point, use a click."
            )
        object.__setattr__(self, "corner_lps_mm", corner)
        object.__setattr__(self, "opposite_lps_mm", opposite)
        object.__setattr__(self, "candidate", None if candidate is None else require_candidate(candidate))


@dataclass(frozen=True, slots=True, init=False)
class Scribble:
    """A polyline inside the structure, or outside it.

    Parameters
    ----------
    positions_lps_mm : (N, 3) float
        Corners of the polyline in drawing order, N >= 1, LPS mm.
    positive : bool
        True: inside the structure.

    Raises
    ------
    PromptError
        If there is no position, one is not three finite numbers, or `positive` is not a bool.
    """

    positions_lps_mm: tuple[PositionLpsMm, ...]
    positive: bool

    def __init__(self, positions_lps_mm: ArrayLike, positive: bool = True) -> None:
        positions = _numbers(positions_lps_mm, "the scribble's positions", "N positions of three numbers (LPS mm)")
        if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
            raise PromptError(
                "Expected the scribble's positions as N >= 1 positions of three numbers (LPS mm), "
                f"got an array of shape {positions.shape}."
            )
        object.__setattr__(self, "positions_lps_mm", tuple((x, y, z) for x, y, z in positions.tolist()))
        object.__setattr__(self, "positive", _flag(positive, "a scribble"))


@dataclass(frozen=True, slots=True)
class InitialMask:
    """A mask from which the structure begins, in place of all prompts before it.

    Parameters
    ----------
    mask : VoxelMask
    notes : sequence of str
        What is not known of it, in sentences.

    Raises
    ------
    PromptError
        If `mask` is not a :class:`~prompts.VoxelMask`, or there are too many or too long notes.
    """

    mask: VoxelMask
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_mask(self.mask, "an initial mask")
        notes = tuple(self.notes)
        if len(notes) > _MOST_NOTES or not all(isinstance(note, str) and len(note) <= _LONGEST_NOTE for note in notes):
            raise PromptError(
                f"Expected at most {_MOST_NOTES} notes of {_LONGEST_NOTE} characters on an initial mask, got others."
            )
        object.__setattr__(self, "notes", notes)


@dataclass(frozen=True, slots=True)
class Edit:
    """Voxels that the user set or cleared by hand.

    Parameters
    ----------
    mask : VoxelMask
        The painted voxels, usually on one slice.
    positive : bool
        True: they were set, and belong to the structure; False: they were cleared.

    Raises
    ------
    PromptError
        If `mask` is not a :class:`~prompts.VoxelMask`, or `positive` is not a bool.
    """

    mask: VoxelMask
    positive: bool = True

    def __post_init__(self) -> None:
        _require_mask(self.mask, "an edit")
        object.__setattr__(self, "positive", _flag(self.positive, "an edit"))


Prompt: TypeAlias = Click | Box | Scribble | InitialMask | Edit


def locates(prompt: Prompt) -> bool:
    """Whether a prompt says where the structure is, and not only where it is not."""
    return isinstance(prompt, Box | InitialMask) or prompt.positive


def _require_mask(mask: VoxelMask, what: str) -> None:
    if not isinstance(mask, VoxelMask):
        raise PromptError(f"Expected a VoxelMask in {what}, got {type(mask).__name__}. Use VoxelMask.from_array.")


def _position(value: ArrayLike, what: str) -> PositionLpsMm:
    position = _numbers(value, what, "three numbers (LPS mm)")
    if position.shape != (3,):
        raise PromptError(f"Expected {what} as three numbers (LPS mm), got an array of shape {position.shape}.")
    x, y, z = position.tolist()
    return x, y, z


def _numbers(value: ArrayLike, what: str, expected: str) -> NDArray[np.float64]:
    """Real finite numbers; text, booleans and ragged lists are refused and not converted."""
    try:
        raw = np.asarray(value)
    except ValueError as error:
        raise PromptError(f"Expected {what} as {expected}, got rows of different lengths: {value!r}.") from error
    if raw.dtype.kind not in "iuf" and raw.size > 0:
        raise PromptError(f"Expected {what} as {expected}, got {value!r}.")
    numbers = raw.astype(np.float64) + 0.0  # + 0.0: −0.0 and 0.0 must be written as the same text
    if not np.isfinite(numbers).all():
        raise PromptError(f"Expected {what} as {expected}, all finite, got {value!r}.")
    if (np.abs(numbers) > _FARTHEST_MM).any():
        raise PromptError(
            f"Expected {what} within {_FARTHEST_MM:.0f} mm of the origin, got {value!r}. Positions are millimetres."
        )
    return numbers


def _flag(value: bool, what: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise PromptError(f"Expected positive=True or positive=False for {what}, got {value!r}.")
    return bool(value)


def require_candidate(candidate: int) -> int:
    """Return the number of a candidate, counted from the best as 0, or refuse it.

    Raises
    ------
    PromptError
        If it is not a whole number from 0.
    """
    if isinstance(candidate, bool) or not isinstance(candidate, int | np.integer) or candidate < 0:
        raise PromptError(f"Expected the number of a candidate, counted from the best as 0, got {candidate!r}.")
    return int(candidate)
