"""Cases with real images, where a folder of them is given: ``image.nii.gz``, ``labels.nii.gz`` and ``meta.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import index_from_lps
from medsam_planner.io import load_volume
from medsam_planner.io.loading import load_map
from medsam_planner.volumes import StudyVolume, volume_like

__all__ = ["RealCase", "real_case"]

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class RealCase:
    """A CT and its label map on one grid."""

    study: StudyVolume
    labels: highdicom.Volume

    def cropped(self, low_lps_mm: Sequence[float], high_lps_mm: Sequence[float]) -> RealCase:
        """The part whose voxels lie in a box, LPS mm, whole voxels along each array axis.

        Raises
        ------
        ConfigError
            If the case has none there.
        """
        corners = np.array([low_lps_mm, high_lps_mm], dtype=np.float64)
        ends = index_from_lps(self.study.affine, corners[np.indices((2, 2, 2)).reshape(3, -1).T, np.arange(3)])
        first = np.clip(np.ceil(ends.min(axis=0) - _ROUNDING), 0, None).astype(int)
        last = np.minimum(np.floor(ends.max(axis=0) + _ROUNDING), np.array(self.study.spatial_shape) - 1).astype(int)
        if (first > last).any():
            raise ConfigError(f"Expected a part of the case in the box {corners.tolist()}, LPS mm, found none.")
        box: Any = tuple(slice(int(low), int(high) + 1) for low, high in zip(first, last, strict=True))
        return RealCase(StudyVolume.from_volume(self.study[box], self.study.source), self.labels[box])

    def mask(self, values: Sequence[int]) -> highdicom.Volume:
        """Voxels of some labels, bool.

        Raises
        ------
        ConfigError
            If there is none.
        """
        found = np.isin(np.asarray(self.labels.array), values)
        if not found.any():
            raise ConfigError(f"Expected voxels of the labels {list(values)} in the case, found none.")
        return volume_like(self.study, found)


def real_case(data: Path | None, name: str) -> RealCase | None:
    """A case of a folder, in ``DATA/cases/NAME`` or ``DATA/NAME``; None where it is not there.

    Raises
    ------
    ConfigError
        If the folder was named and holds no such case.
    """
    if data is None:
        return None
    for folder in (data / "cases" / name, data / name):
        if (folder / "image.nii.gz").is_file() and (folder / "labels.nii.gz").is_file():
            study = load_volume(folder / "image.nii.gz", modality="CT")
            return RealCase(study, volume_like(study, np.asarray(load_map(folder / "labels.nii.gz").array)))
    raise ConfigError(f"Expected the case {name} in {data}, found none. Leave --data out for a procedural study.")
