"""Segmented studies as folders to train on: nnU-Net v2, and the Medical Segmentation Decathlon that MONAI reads.

::

    DATASET/imagesTr/CASE_0000.nii.gz   DATASET/labelsTr/CASE.nii.gz   DATASET/dataset.json     nnU-Net
    TASK/imagesTr/CASE.nii.gz           TASK/labelsTr/CASE.nii.gz      TASK/dataset.json        Decathlon

Images hold the stored values of the study, as int16 where that is exact. Neither headers nor names of patients are
written. A case is read when its turn comes, so that many fit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import slice_across
from medsam_planner.io import save_nifti
from medsam_planner.io.files import write_json
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.volumes import volume_like
from medsam_planner.workflow.label_map import label_map, usual_axes

__all__ = ["CASE_NAME", "TrainingCase", "unreviewed", "whole_slices", "write_decathlon", "write_nnunet"]

CASE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names that can be part of a file name everywhere."""
_RESERVED = ("background", "ignore")
_MRI = "MRI"


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCase:
    """One segmented study.

    Raises
    ------
    ConfigError
        If its name cannot be part of a file name everywhere.
    """

    name: str
    """Of its files; never a patient's."""
    image: highdicom.Volume
    modality: str
    """``"CT"``, or another one of DICOM's."""
    masks: Mapping[str, highdicom.Volume]
    """bool, by structure, on the grid of the image."""
    ignored: NDArray[np.bool_] | None = None
    """(K, J, I) voxels whose label nobody has looked at; None for none."""

    def __post_init__(self) -> None:
        if not CASE_NAME.fullmatch(self.name):
            raise ConfigError(f"Expected letters, digits, '.', '_' and '-' for the name of a case, got {self.name!r}.")


def unreviewed(results: Mapping[str, SegmentationResult]) -> NDArray[np.bool_]:
    """(K, J, I) bool, the voxels of slices that nobody has looked at as far as the prompts say.

    A slice across the axis of propagation counts as looked at if there is a prompt or an edit on it, of each structure
    that has a voxel there and of at least one structure.

    Parameters
    ----------
    results : mapping
        By structure, all on one grid; at least one.
    """
    first = next(iter(results.values()))
    axis, shape = first.trace.axis, first.mask.spatial_shape
    is_seen, is_missed = np.zeros(shape[axis], bool), np.zeros(shape[axis], bool)
    for result in results.values():
        own = np.zeros(shape[axis], bool)
        if result.trace.axis == axis:
            own[list(result.trace.anchors())] = True
        filled = np.array([slice_across(result.mask.array, axis, index).any() for index in range(shape[axis])])
        is_seen |= own
        is_missed |= filled & ~own
    return whole_slices(~is_seen | is_missed, axis, shape)


def whole_slices(is_taken: NDArray[np.bool_], axis: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(K, J, I) bool of `shape`, read-only: all voxels of the slices across `axis` that (N,) `is_taken` names."""
    sides = [1, 1, 1]
    sides[axis] = shape[axis]
    return np.broadcast_to(is_taken.reshape(sides), shape)


def write_nnunet(folder: Path, cases: Iterable[TrainingCase], structures: Sequence[str]) -> list[str]:
    """Write a dataset of nnU-Net v2; ``ignore`` is its last label if a case has voxels to be ignored.

    Parameters
    ----------
    folder : Path
        Such as ``Dataset001_Liver``.
    cases : iterable of TrainingCase
        All of one modality.
    structures : sequence of str
        Names of the labels, from 1 in their order.

    Returns
    -------
    list of str
        What a reader should know of the labels.

    Raises
    ------
    ConfigError
        If a structure has a name that the format reserves, or modalities differ.
    """
    written = _write_cases(folder, cases, structures, image_suffix="_0000", ignore=len(structures) + 1)
    labels = {"background": 0, **{name: number for number, name in enumerate(structures, start=1)}}
    if written.has_ignored:
        labels["ignore"] = len(structures) + 1
    document = {
        "name": folder.name,
        "channel_names": {"0": written.modality},
        "labels": labels,
        "numTraining": len(written.cases),
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", document)
    return written.notes


def write_decathlon(folder: Path, cases: Iterable[TrainingCase], structures: Sequence[str]) -> list[str]:
    """Write a task as the Medical Segmentation Decathlon does; parameters and errors as of :func:`write_nnunet`.

    The format has no label for voxels to be ignored, so they keep the label that they have.
    """
    written = _write_cases(folder, cases, structures, image_suffix="", ignore=None)
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in written.cases]
    document = {
        "name": folder.name,
        "description": "Segmented with MedSAM Planner. Research use only.",
        "reference": "",
        "licence": "",
        "release": "",
        "tensorImageSize": "3D",
        "modality": {"0": written.modality},
        "labels": {str(number): name for number, name in enumerate(("background", *structures))},
        "numTraining": len(training),
        "numTest": 0,
        "training": training,
        "test": [],
    }
    write_json(folder / "dataset.json", document)
    return written.notes


@dataclass(slots=True)
class _Written:
    cases: list[str]
    modality: str
    has_ignored: bool
    notes: list[str]


def _write_cases(
    folder: Path, cases: Iterable[TrainingCase], structures: Sequence[str], *, image_suffix: str, ignore: int | None
) -> _Written:
    taken = [name for name in structures if name.casefold() in _RESERVED]
    if taken:
        raise ConfigError(f"Expected structures with other names than 'background' and 'ignore', got {taken[0]!r}.")
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    written = _Written([], "", False, [])
    for case in cases:
        modality = "CT" if case.modality == "CT" else _MRI if case.modality == "MR" else case.modality
        if case.name in written.cases or written.modality not in ("", modality):
            raise ConfigError(
                f"Expected cases of one modality with names of their own, got {case.name!r} of {modality} after "
                f"{', '.join(written.cases)} of {written.modality}."
            )
        labels, notes = label_map(case.masks, structures)
        if ignore is not None and case.ignored is not None and case.ignored.any():
            array = np.array(labels.array)
            array[case.ignored] = ignore
            labels, written.has_ignored = volume_like(labels, array), True
        save_nifti(usual_axes(_exact(case.image)), folder / f"imagesTr/{case.name}{image_suffix}.nii.gz")
        save_nifti(usual_axes(labels), folder / f"labelsTr/{case.name}.nii.gz")
        written.cases.append(case.name)
        written.modality = modality
        written.notes += notes
    return written


def _exact(image: highdicom.Volume) -> highdicom.Volume:
    """As int16 where that is exact."""
    values: NDArray[Any] = np.asarray(image.array)
    whole = np.clip(values, -(2**15), 2**15 - 1).astype(np.int16)
    return volume_like(image, whole if np.array_equal(whole, values) else values)
