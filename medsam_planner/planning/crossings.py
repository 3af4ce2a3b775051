"""What a straight path goes through, read from the image: its values, and the stretches of bone, air and outside.

The path is followed from voxel to voxel, so lengths are exact for the voxel image and no thin bone is stepped over.
The stretches are those of the axis of the tool; its distance from bone beside the axis is part of the clearance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from medsam_planner.geometry import index_from_lps
from medsam_planner.planning.clearance import trajectory_array
from medsam_planner.planning.structures import bool_array
from medsam_planner.planning.surroundings import AIR_BELOW_HU, Surroundings

__all__ = ["Crossing", "CrossingKind", "ValueProfile", "crossings_along", "values_along"]

_BRIDGED_MM = 1.0
"""Two stretches of one kind this close are one: spongy bone falls below the threshold between its trabeculae."""
_PROFILE_STEP_MM = 0.5
_ROUNDING_MM = 1e-6
"""A step shorter than this comes from rounding, where a trajectory begins or ends on the face of a voxel."""
_SOFT = -1


class CrossingKind(StrEnum):
    """Kind of a stretch that is not soft tissue."""

    BONE = "bone"
    """As dense as bone; only where the values are HU."""
    AIR = "air"
    """Air inside the body: lung, airway, bowel gas; only where the values are HU."""
    OUTSIDE = "outside"
    """Outside the body as the image shows it, or beyond the image."""


_KINDS = tuple(CrossingKind)


@dataclass(frozen=True, slots=True)
class Crossing:
    """One stretch of a path, measured from its entry."""

    kind: CrossingKind
    from_mm: float
    to_mm: float
    mean_value: float | None
    """HU or normalised intensity; None beyond the image."""

    @property
    def length_mm(self) -> float:
        """Of the stretch."""
        return self.to_mm - self.from_mm


@dataclass(frozen=True, slots=True, eq=False)
class ValueProfile:
    """The image along a path."""

    distance_mm: NDArray[np.float64]
    """(P,) evenly spaced places, from the entry."""
    value: NDArray[np.float64]
    """(P,) interpolated between the voxels; NaN beyond the image."""
    unit: str
    """``"HU"`` or ``"normalised intensity"``."""


def crossings_along(
    surroundings: Surroundings, trajectory_lps_mm: ArrayLike, *, expected_bone: Sequence[highdicom.Volume] = ()
) -> tuple[Crossing, ...]:
    """Stretches of bone, air and outside along a trajectory.

    Parameters
    ----------
    surroundings : Surroundings
    trajectory_lps_mm : (2, 3) float
        Entry, then target.
    expected_bone : sequence of highdicom.Volume
        bool masks on the image's grid in which bone is not listed, such as a target inside of one.

    Returns
    -------
    tuple of Crossing
        In the order of the path; empty where it runs through soft tissue alone.
    """
    image = surroundings.image
    edge_mm, voxel = _voxels_along(image.affine, trajectory_lps_mm)
    shape = np.array(image.spatial_shape)
    is_known = ((voxel >= 0) & (voxel < shape)).all(axis=1)
    at = tuple(np.clip(voxel, 0, shape - 1).T)
    values = np.where(is_known, surroundings.shown(image.array[at]), np.nan)
    kind = np.full(len(voxel), _SOFT)
    if surroundings.bone is not None:
        kind[values < AIR_BELOW_HU] = _KINDS.index(CrossingKind.AIR)
        is_bone = bool_array(surroundings.bone, "bone")[at]
        for mask in expected_bone:
            is_bone = is_bone & ~bool_array(mask, "expected bone")[at]
        kind[is_bone] = _KINDS.index(CrossingKind.BONE)
    if surroundings.body is not None:
        kind[~bool_array(surroundings.body, "body")[at]] = _KINDS.index(CrossingKind.OUTSIDE)
    kind[~is_known] = _KINDS.index(CrossingKind.OUTSIDE)
    return tuple(_crossing(which, run, edge_mm, values) for which, run in _runs(kind, edge_mm))


def values_along(surroundings: Surroundings, trajectory_lps_mm: ArrayLike) -> ValueProfile:
    """The image's values along a trajectory (2, 3), every half millimetre."""
    trajectory = trajectory_array(np.asarray(trajectory_lps_mm, dtype=np.float64)[None])[0]
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    fraction = np.linspace(0.0, 1.0, max(int(np.ceil(length / _PROFILE_STEP_MM)), 1) + 1)
    image = surroundings.image
    index = index_from_lps(image.affine, trajectory[0] + fraction[:, None] * (trajectory[1] - trajectory[0]))
    values = ndimage.map_coordinates(image.array, index.T, order=1, mode="nearest", output=np.float64)
    beyond = ((index < -0.5) | (index > np.array(image.spatial_shape) - 0.5)).any(axis=1)
    return ValueProfile(fraction * length, np.where(beyond, np.nan, surroundings.shown(values)), surroundings.unit)


def _voxels_along(
    affine: NDArray[np.float64], trajectory_lps_mm: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where a trajectory goes from one voxel to the next, (S + 1,) mm from its entry, and its voxels, (S, 3)."""
    trajectory = trajectory_array(np.asarray(trajectory_lps_mm, dtype=np.float64)[None])[0]
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    start, end = index_from_lps(affine, trajectory)
    fractions = [np.array([0.0, 1.0])]
    for first, last in zip(start.tolist(), end.tolist(), strict=True):
        if first != last:
            low, high = sorted((first, last))
            faces = np.arange(np.ceil(low - 0.5), np.floor(high - 0.5) + 1) + 0.5
            fractions.append((faces - first) / (last - first))
    edge = np.unique(np.clip(np.concatenate(fractions), 0.0, 1.0))
    edge = edge[np.append(True, np.diff(edge) * length > _ROUNDING_MM)]
    middle = 0.5 * (edge[1:] + edge[:-1])
    voxel = np.floor(start + middle[:, None] * (end - start) + 0.5).astype(np.int64)
    return edge * length, voxel


def _runs(kind: NDArray[np.int64], edge_mm: NDArray[np.float64]) -> list[tuple[CrossingKind, list[int]]]:
    """Steps of each stretch, bridged where little lies between."""
    runs: list[tuple[CrossingKind, list[int]]] = []
    for step in np.flatnonzero(kind != _SOFT).tolist():
        which = _KINDS[kind[step]]
        if runs and runs[-1][0] is which and edge_mm[step] - edge_mm[runs[-1][1][-1] + 1] <= _BRIDGED_MM:
            runs[-1][1].append(step)
        else:
            runs.append((which, [step]))
    return runs


def _crossing(
    which: CrossingKind, steps: list[int], edge_mm: NDArray[np.float64], values: NDArray[np.float64]
) -> Crossing:
    inner = np.arange(steps[0], steps[-1] + 1)
    known = inner[np.isfinite(values[inner])]
    length = edge_mm[known + 1] - edge_mm[known]
    mean = float(np.average(values[known], weights=length)) if length.sum() > 0 else None
    return Crossing(which, float(edge_mm[steps[0]]), float(edge_mm[steps[-1] + 1]), mean)
