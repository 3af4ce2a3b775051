"""Masks of a project: each one that was recorded by the hash of its content, and the label map of the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom
import numpy as np

from medsam_planner.errors import ConfigError
from medsam_planner.io import save_nifti
from medsam_planner.io.files import write_json
from medsam_planner.io.loading import load_map
from medsam_planner.lab.project.records import Study
from medsam_planner.lab.project.settings import ProjectSettings
from medsam_planner.volumes import volume_like, volume_sha256
from medsam_planner.workflow.label_map import label_map

__all__ = ["keep_mask", "read_mask", "write_labels"]


def keep_mask(folder: Path, mask: highdicom.Volume) -> str:
    """Write a mask under the hash of its voxels and geometry, and return the hash."""
    plain = volume_like(mask, np.asarray(mask.array) > 0)
    sha256 = volume_sha256(plain)
    path = folder / f"{sha256}.nii.gz"
    if not path.exists():
        save_nifti(plain, path)
    return sha256


def read_mask(folder: Path, sha256: str) -> highdicom.Volume:
    """A mask that was kept, bool.

    Raises
    ------
    ConfigError
        If it is gone.
    """
    path = folder / f"{sha256}.nii.gz"
    if not path.is_file():
        raise ConfigError(f"Expected a mask of the project at {path}, found none. Restore the folder masks/.")
    found = load_map(path)
    return volume_like(found, np.asarray(found.array) > 0)


def write_labels(folder: Path, study: Study, settings: ProjectSettings, masks: Mapping[str, str]) -> None:
    """Write ``labels.nii.gz`` and ``meta.json`` of a study, so that it is a case as `evaluate` reads it."""
    known = {name: read_mask(folder / "masks", sha256) for name, sha256 in masks.items()}
    labels, _ = label_map(known, settings.names)
    save_nifti(labels, study.folder / "labels.nii.gz")
    write_json(
        study.folder / "meta.json",
        {
            "subject": study.patient,
            "modality": study.modality,
            "anatomy": settings.name,
            "label_names": {str(number): name for number, name in enumerate(settings.names, start=1) if name in known},
        },
    )
