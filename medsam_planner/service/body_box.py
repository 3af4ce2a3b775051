"""Where the body lies in a study, for the first view of it."""

from __future__ import annotations

from typing import TypeAlias

import highdicom
import numpy as np

from medsam_planner.errors import StudyError
from medsam_planner.io.body import body_mask
from medsam_planner.volumes import StudyVolume, source_of

__all__ = ["BodyBox", "body_box"]

BodyBox: TypeAlias = tuple[tuple[int, int, int], tuple[int, int, int]]
"""Lowest and highest voxel index (k, j, i)."""
_ENOUGH = 96
"""Voxels along an axis that suffice to find the body; a finer study is looked at with gaps."""


def body_box(volume: highdicom.Volume) -> BodyBox | None:
    """Box around the body, to within a few voxels, without the table; None where body and air cannot be told apart."""
    strides = [max(int(count) // _ENOUGH, 1) for count in volume.spatial_shape]
    gaps = tuple(slice(None, None, stride) for stride in strides)
    coarse = volume[gaps]  # type: ignore[index]  # highdicom's annotation knows one axis only
    try:
        inside = body_mask(StudyVolume.from_volume(coarse, source_of(volume))).array.astype(bool)
    except StudyError:
        return None
    low, high = [], []
    for axis, stride in enumerate(strides):
        found = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        low.append(max(int(found[0] - 1) * stride + 1, 0))
        high.append(min(int(found[-1] + 1) * stride - 1, int(volume.spatial_shape[axis]) - 1))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
