"""The part of a study that the grid of a mask covers. Beyond it nothing was segmented, and empty does not mean free."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.geometry import corner_indices, index_from_lps, lps_from_index, spacing_mm, within_grid
from medsam_planner.planning.clearance import trajectory_array

__all__ = ["KnownPart", "known_part"]

_TOLERANCE_VOXELS = 0.5
"""By how much a mask's grid may end before the study's: half a voxel of its own."""
_STEP_MM = 0.25
_SHARE_POINTS = 60


@dataclass(frozen=True, slots=True, eq=False)
class KnownPart:
    """The grid of a mask that covers less than the study."""

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    study_affine: NDArray[np.float64]
    study_shape: tuple[int, int, int]

    @property
    def share(self) -> float:
        """Of the study's volume, about."""
        places = np.meshgrid(
            *(np.linspace(-0.5, size - 0.5, _SHARE_POINTS, endpoint=False) for size in self.study_shape), indexing="ij"
        )
        half = np.array(self.study_shape) / (2 * _SHARE_POINTS)
        index = np.stack(places, axis=-1).reshape(-1, 3) + half
        at = index_from_lps(self.affine, lps_from_index(self.study_affine, index))
        return float(within_grid(at, self.shape).mean())

    def unknown_stretches_mm(self, trajectory_lps_mm: ArrayLike) -> list[tuple[float, float]]:
        """From where to where, mm from its entry, a trajectory (2, 3) lies in the study and beyond the known part."""
        depth_mm, places = _places(trajectory_lps_mm)
        unknown = self._in_study(places) & ~self._covers(places)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], unknown, [False]]).astype(np.int8)))
        return [
            (float(depth_mm[first]), float(depth_mm[last - 1]))
            for first, last in zip(edges[::2], edges[1::2], strict=True)
        ]

    def depth_mm(self, trajectory_lps_mm: ArrayLike) -> float:
        """Smallest distance of a trajectory (2, 3) from the unknown part, mm: 0 where it enters it, infinite without
        one."""
        _, places = _places(trajectory_lps_mm)
        index = index_from_lps(self.affine, places)
        step = spacing_mm(self.affine)
        nearest = np.inf
        for axis in range(3):
            for face, left_mm in (
                (-0.5, (index[:, axis] + 0.5) * step[axis]),
                (self.shape[axis] - 0.5, (self.shape[axis] - 0.5 - index[:, axis]) * step[axis]),
            ):
                beyond = index.copy()
                beyond[:, axis] = face + np.sign(face) * 2 * _TOLERANCE_VOXELS
                ends_within_study = self._in_study(lps_from_index(self.affine, beyond))
                if ends_within_study.any():
                    nearest = min(nearest, float(left_mm[ends_within_study].min()))
        return max(nearest, 0.0)

    def _covers(self, position_lps_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        return within_grid(index_from_lps(self.affine, position_lps_mm), self.shape, _TOLERANCE_VOXELS)

    def _in_study(self, position_lps_mm: NDArray[np.float64]) -> NDArray[np.bool_]:
        return within_grid(index_from_lps(self.study_affine, position_lps_mm), self.study_shape)


def known_part(mask: highdicom.Volume, study: highdicom.Volume) -> KnownPart | None:
    """The part of the study that a mask's own grid covers; None where that is all of it."""
    size = tuple(int(count) for count in study.spatial_shape)
    at = index_from_lps(mask.affine, lps_from_index(study.affine, corner_indices(size)))
    shape = tuple(int(count) for count in mask.spatial_shape)
    if within_grid(at, shape, _TOLERANCE_VOXELS).all():
        return None
    return KnownPart(
        np.asarray(mask.affine, dtype=np.float64),
        (shape[0], shape[1], shape[2]),
        np.asarray(study.affine, dtype=np.float64),
        (size[0], size[1], size[2]),
    )


def _places(trajectory_lps_mm: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    trajectory = trajectory_array(np.asarray(trajectory_lps_mm, dtype=np.float64)[None])[0]
    length = float(np.linalg.norm(trajectory[1] - trajectory[0]))
    fraction = np.linspace(0.0, 1.0, max(int(np.ceil(length / _STEP_MM)), 1) + 1)
    return fraction * length, trajectory[0] + fraction[:, None] * (trajectory[1] - trajectory[0])
