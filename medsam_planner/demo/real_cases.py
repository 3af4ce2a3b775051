"""Cases with real images, where a folder of them is given: ``image.nii.gz``, ``labels.nii.gz`` and ``meta.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.io import load_volume
from medsam_planner.io.loading import load_map
from medsam_planner.volumes import StudyVolume, volume_like

__all__ = ["RealCase", "real_case"]


@dataclass(frozen=True, slots=True, eq=False)
class RealCase:
    """A CT and its label map on one grid."""

    study: StudyVolume
    labels: highdicom.Volume

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
