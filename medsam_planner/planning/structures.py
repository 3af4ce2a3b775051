"""Structures that a tool must avoid or stay inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias, runtime_checkable

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import EmptyStructureError, GeometryError, PlanningError
from medsam_planner.planning.lengths import require_mm

__all__ = [
    "Avoid",
    "SampledMasks",
    "StayInside",
    "Structure",
    "StructureRole",
    "bool_array",
    "mask_volumes",
    "require_right_angles",
]

_RIGHT_ANGLE_TOLERANCE = 1e-4
"""Cosine between two axes that still counts as perpendicular: 0.01 mm over 100 mm."""


class StructureRole(Enum):
    """What a plan does with a structure."""

    AVOID = "avoid"
    INSIDE = "inside"
    TARGET = "target"
    ENTRY = "entry"


@runtime_checkable
class SampledMasks(Protocol):
    """Masks of several stochastic passes that are not kept as whole volumes."""

    def __len__(self) -> int:
        """Number of stochastic passes."""

    def volume(self, run: int) -> highdicom.Volume:
        """Mask of one stochastic pass, bool, on the whole grid."""


@dataclass(frozen=True, slots=True, eq=False)
class Avoid:
    """A risk structure the tool must keep away from.

    Parameters
    ----------
    name : str
        Used in results and messages.
    mask : highdicom.Volume
        bool, 3D, not empty. The voxels whose centre lies in the structure.
    margin_mm : float or highdicom.Volume
        Safety margin in mm, >= 0 and at most 1000; a volume on the grid of `mask` is read at the structure's surface.
    mask_samples : sequence of highdicom.Volume, or SampledMasks, optional
        Masks of stochastic passes on the same grid, for the hit probability.

    Raises
    ------
    EmptyStructureError
        If the mask is empty: a distance to nothing is not a distance.
    GeometryError
        If a volume is not 3D, its axes are not perpendicular, or the margin lies on another grid.
    PlanningError
        If the mask is not bool, or a margin is negative, NaN or above
        :data:`~medsam_planner.planning.lengths.LARGEST_MM`.
    """

    name: str
    mask: highdicom.Volume
    margin_mm: float | highdicom.Volume = 0.0
    mask_samples: Sequence[highdicom.Volume] | SampledMasks = ()

    def __post_init__(self) -> None:
        _check(self.name, self.mask, self.margin_mm)


@dataclass(frozen=True, slots=True, eq=False)
class StayInside:
    """A corridor the tool must not leave, such as the bone around a screw.

    The complement of the mask is then what the tool avoids; beyond the edge of the volume everything counts as outside.

    Parameters
    ----------
    name, mask, margin_mm, mask_samples
        As in :class:`Avoid`; the margin narrows the corridor.
    free_entry_mm : float
        Length of path after the entry that need not be inside. A tool that enters through the corridor's own wall
        crosses it there.
    """

    name: str
    mask: highdicom.Volume
    margin_mm: float | highdicom.Volume = 0.0
    mask_samples: Sequence[highdicom.Volume] | SampledMasks = ()
    free_entry_mm: float = 0.0

    def __post_init__(self) -> None:
        _check(self.name, self.mask, self.margin_mm)
        require_mm(self.free_entry_mm, f"free_entry_mm of '{self.name}'")


Structure: TypeAlias = Avoid | StayInside


def bool_array(volume: highdicom.Volume, name: str) -> NDArray[np.bool_]:
    """The array of a mask, as bool.

    Raises
    ------
    GeometryError
        If it is not 3D.
    PlanningError
        If it holds anything but false and true (0 and 1).
    """
    if not isinstance(volume, highdicom.Volume):
        raise PlanningError(f"Expected the mask of '{name}' as a highdicom.Volume, got {type(volume).__name__}.")
    array = volume.array
    if array.ndim != 3:
        raise GeometryError(f"Expected a 3D mask for '{name}', got shape {array.shape}.")
    if array.dtype == np.bool_:
        return array
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 1:
        return array.astype(bool)
    raise PlanningError(
        f"Expected a bool mask for '{name}', got {array.dtype} values; say which voxels belong to it, for example "
        "volume_like(volume, volume.array > 0.5)."
    )


def require_right_angles(affine: NDArray[np.float64], name: str) -> None:
    """Refuse a sheared grid: its distance transform would be wrong."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = float(np.abs(unit.T @ unit - np.eye(3)).max())
    if cosine > _RIGHT_ANGLE_TOLERANCE:
        raise GeometryError(
            f"Expected perpendicular voxel axes for '{name}', got a cosine of {cosine:.2g} between two of them "
            "(gantry tilt or a registration's shear). Resample it to a straight grid first."
        )


def mask_volumes(samples: Sequence[highdicom.Volume] | SampledMasks) -> Iterator[highdicom.Volume]:
    """The mask of each stochastic pass in turn."""
    for run in range(len(samples)):
        yield samples.volume(run) if isinstance(samples, SampledMasks) else samples[run]


def _check(name: str, mask: highdicom.Volume, margin_mm: float | highdicom.Volume) -> None:
    if not isinstance(name, str) or not name:
        raise PlanningError(f"Expected the structure's name as text, got {name!r}.")
    inside = bool_array(mask, name)
    require_right_angles(mask.affine, name)
    if not inside.any():
        raise EmptyStructureError(
            f"The mask of '{name}' is empty: its surface is nowhere. Segment it, or leave it out."
        )
    if isinstance(margin_mm, highdicom.Volume):
        if margin_mm.array.shape != inside.shape or not np.allclose(margin_mm.affine, mask.affine, atol=1e-3):
            raise GeometryError(
                f"Expected the margin of '{name}' on the grid of its mask {inside.shape}, got shape "
                f"{margin_mm.array.shape} or another affine; resample it first."
            )
        for end in (margin_mm.array.min(), margin_mm.array.max()):  # NaN where any is NaN
            require_mm(float(end), f"the margin of '{name}' in every voxel")
    else:
        require_mm(margin_mm, f"margin_mm of '{name}'")
