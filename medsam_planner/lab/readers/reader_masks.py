"""Masks of readers on disk, refused where a comparison of them would mean nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.conservative_resampling import is_on_grid
from medsam_planner.io.files import file_sha256
from medsam_planner.reading.study_file import MasksTable
from prompts.masks import mask_box

__all__ = ["AGAIN", "ReaderCase", "ReaderMasks", "find_reader_cases", "read_masks"]

AGAIN = "@2"
"""Ends the name of a reader's second reading of the same case."""
_AROUND_VOXELS = 5
_PREFIX, _SUFFIX = "labels_", ".nii.gz"


@dataclass(frozen=True, slots=True)
class ReaderCase:
    """A case folder with the labels of several readers."""

    folder: Path
    patient: str
    label_names: Mapping[int, str]
    path_by_reader: Mapping[str, Path]
    """Second readings and the model included."""
    sha256_by_reader: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name


@dataclass(frozen=True, slots=True)
class ReaderMasks:
    """The masks of one case on one grid."""

    case: ReaderCase
    labels_by_reader: Mapping[str, NDArray[np.int32]]
    spacing_mm: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the grid."""
        return next(iter(self.labels_by_reader.values())).shape

    def cut(self, label: int) -> dict[str, NDArray[np.bool_]]:
        """Masks of one structure by reader, in the box of all of them grown by a few voxels; empty where not drawn."""
        whole = {reader: labels == label for reader, labels in self.labels_by_reader.items()}
        window = mask_box(np.any(list(whole.values()), axis=0), grown=_AROUND_VOXELS)
        return {reader: np.ascontiguousarray(mask[window]) for reader, mask in whole.items()}


def find_reader_cases(table: MasksTable) -> tuple[list[ReaderCase], tuple[str, ...]]:
    """The cases of a study, and its readers.

    Parameters
    ----------
    table : MasksTable

    Returns
    -------
    cases : list of ReaderCase
        By name.
    readers : tuple of str
        Two or more, without the model and second readings.

    Raises
    ------
    ConfigError
        If there is no case, a reader has not read every case, two readers' files are one and the same, or cases give a
        label different names.
    """
    if not table.cases.is_dir():
        raise ConfigError(f"Expected a folder of cases, got {table.cases}, which is none. Correct [masks] cases.")
    folders = sorted(one for one in table.cases.iterdir() if one.is_dir() and list(one.glob(f"{_PREFIX}*{_SUFFIX}")))
    absent = sorted(set(table.only) - {folder.name for folder in folders})
    if absent:
        raise ConfigError(f"{table.cases} has no case {', '.join(absent)}. Correct [masks] only.")
    cases = [_case(folder) for folder in folders if not table.only or folder.name in table.only]
    if not cases:
        raise ConfigError(
            f"Expected folders with {_PREFIX}READER{_SUFFIX} in {table.cases}, found none. Put the labels of each "
            "reader of a case into the folder of that case."
        )
    found = sorted({reader for case in cases for reader in case.path_by_reader if not reader.endswith(AGAIN)})
    readers = table.readers or tuple(reader for reader in found if reader != table.model)
    if len(readers) < 2:
        raise ConfigError(f"Expected two or more readers, got {', '.join(readers) or 'none'} in {table.cases}.")
    wanted = [*readers, *([table.model] if table.model else [])]
    for reader in wanted:
        _require_all_cases(reader, cases)
    for case in cases:
        _refuse_same_reader(case, wanted)
    _require_same_names(cases)
    return cases, tuple(readers)


def read_masks(case: ReaderCase, readers: Sequence[str]) -> ReaderMasks:
    """Read the labels of a case.

    Raises
    ------
    ConfigError
        If grids differ, a label is no whole number, or one has no name.
    StudyError
        If a file cannot be read.
    """
    from medsam_planner.io import load_volume

    volumes = {reader: load_volume(case.path_by_reader[reader], modality="CT") for reader in readers}
    first = next(iter(volumes))
    labels: dict[str, NDArray[np.int32]] = {}
    for reader, volume in volumes.items():
        if not is_on_grid(volume, volumes[first]):
            raise ConfigError(
                f"{case.name}: expected all labels on one grid; {first} has {volumes[first].spatial_shape} and "
                f"{reader} {volume.spatial_shape} voxels, or their affines differ. Resample one to the other's grid "
                "(nearest neighbour)."
            )
        array = np.asarray(volume.array)
        labels[reader] = np.rint(array).astype(np.int32)
        if not np.array_equal(labels[reader], array):
            raise ConfigError(f"{case.name}: the labels of {reader} are not whole numbers. Export a label map.")
        unnamed = sorted(set(np.unique(labels[reader]).tolist()) - set(case.label_names) - {0})
        if unnamed:
            raise ConfigError(
                f"{case.name}: {reader} uses the labels {', '.join(map(str, unnamed[:8]))}, which meta.json does not "
                "name. Name them under label_names, or correct the labels: readers must mean the same by a number."
            )
    steps = tuple(float(step) for step in spacing_mm(volumes[first].affine))
    return ReaderMasks(case, labels, steps)


def _case(folder: Path) -> ReaderCase:
    path = folder / "meta.json"
    try:
        meta: Any = json.loads(path.read_bytes())
        names = {int(label): str(name) for label, name in meta["label_names"].items()}
        patient = str(meta.get("subject", folder.name))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'Expected {path} to name the labels, {{"label_names": {{"1": "liver"}}}}, got {error!r}.'
        ) from error
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise ConfigError(f"{path} gives the name {twice[0]} to two labels. Give each structure one label.")
    paths = {
        file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX): file for file in folder.glob(f"{_PREFIX}*{_SUFFIX}")
    }
    return ReaderCase(folder, patient, names, paths, {name: file_sha256(file) for name, file in paths.items()})


def _require_all_cases(reader: str, cases: Sequence[ReaderCase]) -> None:
    missing = [case.name for case in cases if reader not in case.path_by_reader]
    if len(missing) == len(cases):
        known = sorted({one for case in cases for one in case.path_by_reader})
        raise ConfigError(
            f"{reader} has no case: no folder holds {_PREFIX}{reader}{_SUFFIX}. Labels are there of "
            f"{', '.join(known)}. Correct the name, or add the labels."
        )
    if missing:
        raise ConfigError(
            f"{reader} has not read {', '.join(missing[:8])}. Every reader must have read every case: add "
            f"{_PREFIX}{reader}{_SUFFIX} there, or leave reader or case out ([masks] readers, only)."
        )


def _refuse_same_reader(case: ReaderCase, readers: Sequence[str]) -> None:
    by_digest: dict[str, str] = {}
    again = [f"{reader}{AGAIN}" for reader in readers if f"{reader}{AGAIN}" in case.path_by_reader]
    for reader in (*readers, *again):
        other = by_digest.setdefault(case.sha256_by_reader[reader], reader)
        if other != reader:
            raise ConfigError(
                f"{case.name}: {other} and {reader} have the same file, so one reader would count twice. Replace the "
                "copy by that reader's own labels, or leave one out ([masks] readers)."
            )


def _require_same_names(cases: Sequence[ReaderCase]) -> None:
    first: dict[str, tuple[int, str]] = {}
    label_of: dict[int, tuple[str, str]] = {}
    for case in cases:
        for label, name in case.label_names.items():
            known, where = label_of.setdefault(label, (name, case.name))
            number, place = first.setdefault(name, (label, case.name))
            if known != name or number != label:
                raise ConfigError(
                    f"The names of labels disagree: in {case.name} {label} is {name}, in "
                    f"{where if known != name else place} "
                    f"{f'{label} is {known}' if known != name else f'{name} is {number}'}. Give every label one name "
                    "in all meta.json."
                )
