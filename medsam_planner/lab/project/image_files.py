"""The image of a study in its folder: a copy, or a link to where it lies."""

from __future__ import annotations

import shutil
from pathlib import Path

from medsam_planner.errors import ConfigError

__all__ = ["place_image"]


def place_image(image: Path, folder: Path, *, copied: bool) -> None:
    """Copy an image into the new folder of a study, or link to it.

    Raises
    ------
    ConfigError
        If it is neither a .nii.gz file nor a folder.
    """
    if not image.is_dir() and not image.name.endswith(".nii.gz"):
        raise ConfigError(f"Expected a .nii.gz file or a folder of DICOM files, got {image.name}. Compress it first.")
    if folder.exists():
        shutil.rmtree(folder)  # of an addition that was not finished
    folder.mkdir()
    target = folder / ("image" if image.is_dir() else "image.nii.gz")
    if not copied:
        target.symlink_to(image, target_is_directory=image.is_dir())
    elif image.is_dir():
        shutil.copytree(image, target)
    else:
        shutil.copyfile(image, target)
