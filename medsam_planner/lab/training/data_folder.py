"""Read the data folder: real cases and label maps, as label volumes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.lab.training.config import DataConfig
from medsam_planner.lab.training.label_volume import LabelVolume, indexed
from medsam_planner.lab.training.tissues import Tissue, tissue_of
from prompts.masks import mask_box

__all__ = [
    "case_folders",
    "is_ct",
    "map_files",
    "read_case",
    "read_label_map",
    "trained_on",
]

CT_FLOOR_HU, CT_CEILING_HU = -1024.0, 3071.0


def case_folders(root: Path, *, exclude: Sequence[str]) -> list[Path]:
    """Folders of `root` with an image and labels whose name matches none of the `exclude` patterns."""
    if not root.is_dir():
        raise ConfigError(f"Expected a folder of cases at {root}, found none. Correct the path or leave it out.")
    return sorted(
        folder
        for folder in root.iterdir()
        if (folder / "image.nii.gz").is_file()
        and (folder / "labels.nii.gz").is_file()
        and not any(fnmatch(folder.name, pattern) for pattern in exclude)
    )


def map_files(data: DataConfig) -> list[Path]:
    """Label maps of the data folder that are not held out."""
    if data.root is None:
        return []
    return sorted(
        path
        for path in (data.root / "label_maps").glob("*.nii.gz")
        if not any(fnmatch(path.name.removesuffix(".nii.gz"), pattern) for pattern in data.held_out)
    )


def trained_on(data: DataConfig) -> list[str]:
    """Names of all training data of a configuration, for the weights' metadata."""
    names = ["procedural anatomy"]
    if data.root is None or not data.root.is_dir():
        return names
    if data.label_map_share > 0:
        names += [f"label_maps/{path.name}" for path in map_files(data)]
    if data.case_share > 0 and (data.root / "cases").is_dir():
        names += [folder.name for folder in case_folders(data.root / "cases", exclude=data.held_out)]
    return names


def _array(path: Path) -> tuple[NDArray[np.generic], tuple[float, float, float]]:
    import nibabel

    loaded: Any = nibabel.loadsave.load(path)
    spacing = tuple(float(step) for step in loaded.header.get_zooms()[:3])
    return np.asanyarray(loaded.dataobj), (spacing[0], spacing[1], spacing[2])


def _dense(labels: NDArray[np.generic]) -> tuple[NDArray[np.uint16], list[int]]:
    """Labels renumbered 0, 1, 2, … with 0 for the background, and the old values in the new order."""
    values = [0, *(int(value) for value in np.unique(labels) if value != 0)]
    table = np.zeros(max(values) + 1, dtype=np.uint16)
    table[values] = np.arange(len(values), dtype=np.uint16)
    return table[labels.astype(np.int64)], values


def read_case(folder: Path) -> LabelVolume:
    """Read a real case: image.nii.gz and labels.nii.gz on one grid. CT is clipped to the usual 12-bit range."""
    image, spacing = _array(folder / "image.nii.gz")
    labels, _ = _array(folder / "labels.nii.gz")
    if image.shape != labels.shape:
        raise ConfigError(f"{folder}: expected image and labels of one shape, got {image.shape} and {labels.shape}.")
    dense, values = _dense(labels)
    intensities = image.astype(np.float32)
    if is_ct(folder):
        intensities = np.clip(intensities, CT_FLOOR_HU, CT_CEILING_HU)
    structures = tuple((number,) for number in range(1, len(values)))
    return indexed(LabelVolume(folder.name, dense, spacing, structures, image=intensities))


def is_ct(folder: Path) -> bool:
    """Whether the meta.json of a case names CT as its modality."""
    return str(json.loads((folder / "meta.json").read_text()).get("modality", "")).upper().startswith("CT")


def read_label_map(path: Path, *, smallest_voxels: int = 150) -> LabelVolume:
    """Read a label map without an image. Labels of fewer than `smallest_voxels` are painted but are no structures."""
    labels, spacing = _array(path)
    dense, values = _dense(labels)
    dense = np.ascontiguousarray(dense[mask_box(dense > 0, grown=6)])
    counts = np.bincount(dense.ravel(), minlength=len(values))
    structures = tuple((number,) for number in range(1, len(values)) if counts[number] >= smallest_voxels)
    name = path.parent.name + "/" + path.name.removesuffix(".nii.gz")
    return indexed(LabelVolume(name, dense, spacing, structures, tissue=_tissues(path, values)))


def _tissues(path: Path, values: Sequence[int]) -> NDArray[np.uint8]:
    """(L,) tissue of each label by its name. Without a label for the skin, the background also holds tissue."""
    names: dict[str, str] = {}
    for described in (path.with_name(path.name.removesuffix(".nii.gz") + ".json"), path.parent / "meta.json"):
        if described.is_file():
            content = json.loads(described.read_text(encoding="utf-8"))
            names = content.get("labels") or content.get("label_names") or {}
            break
    tissues = [tissue_of(str(names.get(str(value), ""))) for value in values]
    has_skin = any("skin" in str(names.get(str(value), "")).lower() for value in values)
    tissues[0] = Tissue.AIR if has_skin else Tissue.UNSPLIT
    return np.array(tissues, dtype=np.uint8)
