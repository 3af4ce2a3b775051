"""Data sets of other programs, read case by case: which image and labels each has, and what the labels are called.

What a data set says is not trusted: paths that lead out of its folder are refused, and nothing of it is run.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError, GeometryError, MedsamPlannerError
from medsam_planner.io.conservative_resampling import is_on_grid
from medsam_planner.io.loading import load_map
from medsam_planner.io.mask_reading import load_mask, mask_labels
from medsam_planner.lab.project.coco import mask_of_runs
from medsam_planner.lab.project.formats import Format
from medsam_planner.volumes import StudyVolume

__all__ = ["DataSetCase", "read_data_set"]

_NOT_STRUCTURES = ("background", "ignore")
ReadMasks = Callable[[StudyVolume], Mapping[str, NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class DataSetCase:
    """One case of a data set."""

    name: str
    """As the data set calls it; that of the study, where it was exported from a project."""
    place: str
    """Of the labels, relative to the data set."""
    structures: tuple[str, ...]
    read: ReadMasks
    """Gives (K, J, I) bool by structure on the grid of the image; structures without a voxel are empty masks."""
    image: Path | None = None
    """None where the data set has none, or several channels."""
    modality: str | None = None


def read_data_set(folder: Path, format_: Format) -> list[DataSetCase]:
    """The cases of a data set, by name; their masks are read when they are asked for.

    Parameters
    ----------
    folder : Path
        With ``dataset.json`` (nnU-Net, MONAI; for nnU-Net also the folder around it), ``dataset_description.json``
        (BIDS), ``annotations.json`` (COCO) or DICOM files.
    format_ : Format

    Raises
    ------
    ConfigError
        If it is no such data set, or a path leads out of it.
    """
    folder = Path(folder)
    try:
        found = list(_READERS[format_](folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        if isinstance(error, MedsamPlannerError):
            raise
        raise ConfigError(f"Expected a data set in the format {format_.value} in {folder}: {error!r}.") from error
    if not found:
        raise ConfigError(f"Expected cases with labels in {folder}, found none in the format {format_.value}.")
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"Expected one case of each name in {folder}, got {name} {names.count(name)} times.")
    return sorted(found, key=lambda one: one.name)


def _nnunet(folder: Path) -> Iterator[DataSetCase]:
    if not (folder / "dataset.json").is_file():
        (folder,) = [path.parent for path in folder.glob("Dataset*/dataset.json")] or [folder]
    document = _json(folder / "dataset.json")
    values = {
        str(name): [int(one) for one in (value if isinstance(value, list) else [value])]
        for name, value in document["labels"].items()
        if name not in _NOT_STRUCTURES
    }
    channels, ending = document["channel_names"], str(document.get("file_ending", ".nii.gz"))
    modality = _modality(channels)
    for path in sorted((folder / "labelsTr").glob(f"*{ending}")):
        name = path.name.removesuffix(ending)
        image = folder / "imagesTr" / f"{name}_0000{ending}"
        is_alone = len(channels) == 1 and image.is_file()
        yield _label_map_case(folder, name, path, values, image if is_alone else None, modality)


def _monai(folder: Path) -> Iterator[DataSetCase]:
    document = _json(folder / "dataset.json")
    values = {str(name): [int(value)] for value, name in document["labels"].items() if name not in _NOT_STRUCTURES}
    modality = _modality(document["modality"])
    for item in document["training"]:
        label, image = _inside(folder, item["label"]), _inside(folder, item["image"])
        name = label.name.removesuffix(".gz").removesuffix(".nii")
        yield _label_map_case(folder, name, label, values, image if image.is_file() else None, modality)


def _bids(folder: Path) -> Iterator[DataSetCase]:
    if _json(folder / "dataset_description.json").get("DatasetType") != "derivative":
        raise ConfigError(
            f"Expected derivatives in {folder}: 'DatasetType' in dataset_description.json says otherwise."
        )
    (table,) = folder.glob("*dseg.tsv")
    values = {row["name"]: [int(row["index"])] for row in _rows(table) if row["name"] not in _NOT_STRUCTURES}
    participants = folder / "participants.tsv"
    rows = _rows(participants) if participants.is_file() else []
    studies = {row["participant_id"]: row["study"] for row in rows if row.get("study")}
    for path in sorted(folder.glob("sub-*/**/*_dseg.nii.gz")):
        subject = path.relative_to(folder).parts[0]
        yield _label_map_case(folder, studies.get(subject, subject), path, values, None, None)


def _coco(folder: Path) -> Iterator[DataSetCase]:
    document = _json(folder / "annotations.json")
    names = {int(one["id"]): str(one["name"]) for one in document["categories"]}
    images = {int(one["id"]): one for one in document["images"]}
    by_case: dict[str, list[Mapping[str, Any]]] = {str(one["file_name"]): [] for one in images.values()}
    for one in document["annotations"]:
        by_case[str(images[int(one["image_id"])]["file_name"])].append(one)
    for name, of_case in by_case.items():

        def read(study: StudyVolume, own: list[Mapping[str, Any]] = of_case, case: str = name) -> Any:
            found = {structure: np.zeros(study.spatial_shape, dtype=bool) for structure in names.values()}
            for one in own:
                image = images[int(one["image_id"])]
                if "axis" not in image or "slice" not in image:
                    raise ConfigError(f"{case}: expected 'axis' and 'slice' of each image, which COCO leaves open.")
                axis, index = int(image["axis"]), int(image["slice"])
                whole = found[names[int(one["category_id"])]]
                if not (0 <= axis < 3 and 0 <= index < whole.shape[axis]):
                    raise GeometryError(f"{case}: slice {index} across axis {axis} is not in the study {whole.shape}.")
                part = np.moveaxis(whole, axis, 0)[index]
                mask = mask_of_runs(one["segmentation"])
                if mask.shape != part.shape:
                    raise GeometryError(f"{case}: expected slices of {part.shape} voxels, got {mask.shape}.")
                part |= mask
            return found

        yield DataSetCase(name, "annotations.json", tuple(names.values()), read)


def _dicom_seg(folder: Path) -> Iterator[DataSetCase]:
    for path in sorted(one for one in folder.rglob("*.dcm") if one.is_file()):
        labels = mask_labels(path)

        def read(study: StudyVolume, own: Path = path, numbers: dict[int, str] = labels) -> Any:
            masks = {}
            for number, label in numbers.items():
                mask = load_mask(own, study, number=number)
                _require_grid(mask, study, own)
                masks[label] = np.asarray(mask.array) > 0
            return masks

        yield DataSetCase(path.stem, str(path.relative_to(folder)), tuple(labels.values()), read)


def _label_map_case(
    folder: Path, name: str, path: Path, values: Mapping[str, list[int]], image: Path | None, modality: str | None
) -> DataSetCase:
    def read(study: StudyVolume) -> Mapping[str, NDArray[np.bool_]]:
        labels = load_map(path).to_patient_orientation(study.get_closest_patient_orientation())
        _require_grid(labels, study, path)
        array = np.asarray(labels.array)
        known = {0, *(value for some in values.values() for value in some)}
        strange = sorted(set(np.unique(array).tolist()) - known)
        if strange and not _is_ignore(folder, strange):
            raise ConfigError(f"{path}: expected labels that dataset.json names, got {strange[:5]}. Name them there.")
        return {structure: np.isin(array, some) for structure, some in values.items()}

    return DataSetCase(name, str(path.relative_to(folder)), tuple(values), read, image, modality)


def _is_ignore(folder: Path, values: list[float]) -> bool:
    """Whether these are the label for what nobody reviewed."""
    path = folder / "dataset.json"
    return path.is_file() and values == [_json(path)["labels"].get("ignore")]


def _require_grid(mask: highdicom.Volume, study: StudyVolume, path: Path) -> None:
    if not is_on_grid(mask, study):
        raise GeometryError(
            f"{path}: expected the voxels of the study, {study.spatial_shape} at {np.round(study.affine[:3, 3], 2)}, "
            f"got {mask.spatial_shape} at {np.round(mask.affine[:3, 3], 2)} or other spacings. Resample it before."
        )


def _modality(channels: Mapping[str, Any]) -> str:
    first, *_ = channels.values()
    return "CT" if str(first).upper() == "CT" else "MR"


def _inside(folder: Path, text: Any) -> Path:
    path = (folder / str(text)).resolve()
    if folder.resolve() not in path.parents:
        raise ConfigError(f"Expected paths within the data set, got {text!r}.")
    return path


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


_READERS: Mapping[Format, Callable[[Path], Iterator[DataSetCase]]] = {
    Format.NNUNET: _nnunet,
    Format.MONAI: _monai,
    Format.BIDS: _bids,
    Format.COCO: _coco,
    Format.DICOM_SEG: _dicom_seg,
}
