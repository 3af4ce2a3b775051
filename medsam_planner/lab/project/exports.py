"""Reviewed studies as a data set to train on, with splits by patient, a version and a data sheet."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import acquisition_axis
from medsam_planner.io.files import write_json, write_whole
from medsam_planner.lab.project.bids import write_bids
from medsam_planner.lab.project.coco import write_coco
from medsam_planner.lab.project.dicom_seg import write_dicom_seg
from medsam_planner.lab.project.formats import Format
from medsam_planner.lab.project.project import Project
from medsam_planner.lab.project.records import Reviewed
from medsam_planner.lab.project.report import data_sheet
from medsam_planner.lab.project.splits import Splits, check_splits, splits_by_patient
from medsam_planner.workflow.training_folders import TrainingCase, whole_slices, write_decathlon, write_nnunet

__all__ = ["Exported", "export_project", "slice_numbers", "unseen_voxels", "version_of"]

_MOST_SLICES = 100_000
_NNUNET_SPLITS = "splits_final.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """What :func:`export_project` leaves."""

    folder: Path
    version: str
    """SHA-256 of what is in the data set: images, masks, reviewed slices."""
    notes: tuple[str, ...]
    command: str | None
    """Trains on it; None where the format has no program of its own."""


def export_project(
    project: Project, out: Path, format_: Format, *, folds: int = 5, splits: Splits | None = None, seed: int = 0
) -> Exported:
    """Write the reviewed studies of a project.

    Parameters
    ----------
    project : Project
    out : Path
        New or empty folder.
    format_ : Format
    folds : int
        Of the cross-validation by patient; there are no splits where all studies are of one patient.
    splits : list, optional
        Splits of your own, as nnU-Net's ``splits_final.json``.
    seed : int
        Of the splits.

    Raises
    ------
    ConfigError
        If no study is reviewed, modalities differ, the folder is taken, or a patient is on two sides of a split.
    """
    chosen = project.reviewed()
    if not chosen:
        raise ConfigError(f"Expected reviewed studies in {project.folder}, found none. Review some first.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"Expected a new or empty folder for the data set, {out} is taken. Name another one.")
    patients = {one.study.name: one.study.patient for one in chosen}
    if splits is not None:
        check_splits(splits, patients)
    elif len(set(patients.values())) > 1:
        splits = splits_by_patient(patients, folds, seed=seed)
    folder = out / f"Dataset001_{_plain(project.settings.name)}" if format_ is Format.NNUNET else out
    folder.mkdir(parents=True, exist_ok=True)
    notes = _WRITERS[format_](folder, _cases(project, chosen), project.settings.names)
    if splits is None:
        notes = [*notes, "There are no splits: all reviewed studies are of one patient."]
    else:
        write_whole(
            folder / (_NNUNET_SPLITS if format_ is Format.NNUNET else "splits.json"), json.dumps(splits, indent=1)
        )
    version = _version(project.settings.names, chosen)
    write_json(out / "version.json", {"schema_version": 1, "version": version, "studies": sorted(patients)})
    write_whole(out / "data_sheet.md", data_sheet(project))
    command = _nnunet_command(folder, has_splits=splits is not None) if format_ is Format.NNUNET else None
    return Exported(folder, version, tuple(dict.fromkeys(notes)), command)


def version_of(project: Project) -> str:
    """SHA-256 of the reviewed content: it changes when an image, a mask or a reviewed slice does, and only then."""
    return _version(project.settings.names, project.reviewed())


def _version(names: Sequence[str], chosen: Sequence[Reviewed]) -> str:
    content = [
        [
            one.study.name,
            one.study.image_sha256,
            [one.mask_sha256[name] for name in names],
            None if one.slices is None else list(one.slices),
        ]
        for one in chosen
    ]
    return hashlib.sha256(json.dumps([list(names), content]).encode()).hexdigest()


def unseen_voxels(image: highdicom.Volume, reviewed: Sequence[int] | None) -> NDArray[np.bool_] | None:
    """(K, J, I) voxels of the slices that a review did not look at; None where it looked at all."""
    if reviewed is None:
        return None
    axis = acquisition_axis(image.affine)
    unseen = np.ones(image.spatial_shape[axis], dtype=bool)
    unseen[[one for one in reviewed if one < len(unseen)]] = False
    return whole_slices(unseen, axis, image.spatial_shape)


def slice_numbers(text: str) -> list[int]:
    """Slices from text as ``3-20,25``.

    Raises
    ------
    ConfigError
        If it is no such list.
    """
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()) or int(high or low) > _MOST_SLICES:
            raise ConfigError(f"Expected slices as 3-20,25, got {text!r}.")
        found += range(int(low), int(high or low) + 1)
    return found


def _cases(project: Project, chosen: Sequence[Reviewed]) -> Iterator[TrainingCase]:
    for one in chosen:
        image, masks = project.image(one.study), project.masks_by_hash(one.mask_sha256)
        yield TrainingCase(one.study.name, image, one.study.modality, masks, unseen_voxels(image, one.slices))


def _nnunet_command(folder: Path, *, has_splits: bool) -> str:
    """Plans and trains. nnU-Net reads splits only beside the preprocessed cases, and else makes its own, blind to
    patients."""
    out = folder.parent.resolve()
    prepared = out / "nnUNet_preprocessed"
    places = {"nnUNet_raw": out, "nnUNet_preprocessed": prepared, "nnUNet_results": out / "nnUNet_results"}
    steps = [
        "export " + " ".join(f"{name}={shlex.quote(str(place))}" for name, place in places.items()),
        "nnUNetv2_plan_and_preprocess -d 1 -c 3d_fullres --verify_dataset_integrity",
    ]
    if has_splits:
        source, target = (
            shlex.quote(str(place)) for place in (folder.resolve() / _NNUNET_SPLITS, prepared / folder.name)
        )
        steps.append(f"cp {source} {target}")
    return " && ".join([*steps, f"nnUNetv2_train 1 3d_fullres {'0' if has_splits else 'all'}"])


def _plain(name: str) -> str:
    return (
        "".join(part.capitalize() for part in "".join(one if one.isalnum() else " " for one in name).split())
        or "Project"
    )


_WRITERS: dict[Format, Callable[..., list[str]]] = {
    Format.NNUNET: write_nnunet,
    Format.MONAI: write_decathlon,
    Format.BIDS: write_bids,
    Format.COCO: write_coco,
    Format.DICOM_SEG: write_dicom_seg,
}
