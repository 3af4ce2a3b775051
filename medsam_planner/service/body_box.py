"""Where the body lies in a study, for the first view of it."""

from __future__ import annotations

from typing import TypeAlias

import highdicom

from medsam_planner.errors import StudyError
from medsam_planner.io.body import body_mask
from medsam_planner.volumes import StudyVolume, source_of
from prompts.masks import mask_box

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
        inside = body_mask(StudyVolume.from_volume(coarse, source_of(volume))).array
    except StudyError:
        return None
    low, high = [], []
    for part, stride, count in zip(mask_box(inside), strides, volume.spatial_shape, strict=True):
        low.append(max((part.start - 1) * stride + 1, 0))
        high.append(min(part.stop * stride, int(count)) - 1)
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
