"""Labelled cases on disk: their structures, and which of them the weights were trained on.

A case is a folder with ``image.nii.gz`` and ``labels.nii.gz`` on one grid and a ``meta.json`` with ``modality``
and, where known, ``subject``, ``anatomy`` and ``label_names``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import volume_ml
from medsam_planner.volumes import StudyVolume
from prompts.masks import largest_component

__all__ = [
    "Case",
    "Structure",
    "cases_trained_on",
    "files_sha256",
    "find_cases",
    "label_values",
    "read_structures",
    "reference_volumes_ml",
    "shared_anatomy",
    "size_class",
    "spread_labels",
    "trained_on",
]

T = TypeVar("T")

_SMALL_ML, _LARGE_ML = 1.0, 50.0


@dataclass(frozen=True, slots=True)
class Case:
    """A folder with a case, and the content of its ``meta.json``."""

    folder: Path
    patient: str
    """The unit of resampling in a bootstrap; several cases may belong to one patient."""
    modality: str
    """``"CT"`` or ``"MR"``."""
    anatomy: str
    label_names: dict[int, str]

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def group(self) -> str:
        """Modality and anatomy."""
        return f"{self.modality} {self.anatomy}"


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One label of a case."""

    case: Case
    label: int
    name: str
    reference: NDArray[np.bool_]
    """(K, J, I): the largest connected part of the label (26 neighbours), or all of it if the protocol says so."""
    volume: StudyVolume

    @property
    def key(self) -> str:
        """``case/label``, unique among all cases."""
        return f"{self.case.name}/{self.label}"

    @property
    def volume_ml(self) -> float:
        """Volume of the reference."""
        return volume_ml(self.reference, self.volume.affine)


def size_class(volume_ml: float) -> str:
    """Size class of a volume, in words with its bounds."""
    if volume_ml < _SMALL_ML:
        return f"small, under {_SMALL_ML:g} ml"
    return f"medium, {_SMALL_ML:g} to {_LARGE_ML:g} ml" if volume_ml < _LARGE_ML else f"large, from {_LARGE_ML:g} ml"


def find_cases(root: Path, only: Sequence[str] = ()) -> list[Case]:
    """Cases in a folder, sorted by name; a folder that is itself a case gives that one.

    Parameters
    ----------
    root : Path
        Folder of cases, or one case.
    only : sequence of str
        Patterns of names; all cases if empty.

    Raises
    ------
    ConfigError
        If there is none, no name matches a pattern, or a ``meta.json`` is wrong.
    """
    folders = [root] if _is_case(root) else sorted(one for one in _folders(root) if _is_case(one))
    if not folders:
        raise ConfigError(
            f"Expected cases in {root}: folders with image.nii.gz, labels.nii.gz and meta.json. Found none."
        )
    chosen = [one for one in folders if not only or any(fnmatch(one.name, pattern) for pattern in only)]
    if not chosen:
        raise ConfigError(f"None of the {len(folders)} cases in {root} has a name that matches {' or '.join(only)}.")
    return [_case(folder) for folder in chosen]


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        raise ConfigError(f"Expected a folder of cases at {root}, found none. Correct the path.")
    return (one for one in root.iterdir() if one.is_dir())


def _is_case(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("image.nii.gz", "labels.nii.gz", "meta.json"))


def _case(folder: Path) -> Case:
    path = folder / "meta.json"
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        modality = "CT" if meta["modality"].upper().startswith("CT") else "MR"
        names = {int(label): str(name) for label, name in meta.get("label_names", {}).items()}
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"Expected {path} to be JSON with 'modality' (CT …, MR …) and 'label_names' by number, got {error!r}."
        ) from error
    return Case(folder, str(meta.get("subject") or folder.name), modality, shared_anatomy(meta), names)


def shared_anatomy(meta: Mapping[str, Any]) -> str:
    """The anatomy in a ``meta.json`` up to a semicolon, which cases of one group have in common."""
    return str(meta.get("anatomy") or "unnamed anatomy").split(";")[0].strip()


def label_values(case: Case, most: int | None = None) -> list[int]:
    """Values of a case's labels, at most `most` of them.

    Raises
    ------
    StudyError
        If the labels are not one regular volume.
    ConfigError
        If they are not whole numbers.
    """
    return _values(case, _labels(case).array)[:most]


def spread_labels(cases: Sequence[Case], per_group: int, most: int | None = None) -> dict[str, tuple[int, ...]]:
    """A subset of the labels, spread over the cases of each group and over their labels.

    Parameters
    ----------
    cases : sequence of Case
        The cases.
    per_group : int
        At most so many labels of each group.
    most : int, optional
        At most so many of each case.

    Returns
    -------
    dict of str to tuple of int
        By name of the case.

    Raises
    ------
    StudyError, ConfigError
        As :func:`label_values`.
    """
    chosen: dict[str, list[int]] = {}
    for group in sorted({case.group for case in cases}):
        own = _scattered([case for case in cases if case.group == group])
        left = [_scattered(label_values(case, most)) for case in own]
        for taken in range(max((len(labels) for labels in left), default=0)):
            for case, labels in zip(own, left, strict=True):
                count = sum(len(chosen.get(one.name, ())) for one in own)
                if taken < len(labels) and count < per_group:
                    chosen.setdefault(case.name, []).append(labels[taken])
    return {name: tuple(sorted(labels)) for name, labels in chosen.items()}


def _scattered(items: Sequence[T]) -> list[T]:
    """The same items in golden-ratio order, in which any first few of them lie far apart."""
    order = np.argsort(np.arange(len(items)) * 0.6180339887 % 1.0, kind="stable")
    return [items[int(number)] for number in order]


def read_structures(
    case: Case, *, most: int | None = None, largest_part: bool = True, labels: Sequence[int] | None = None
) -> Iterator[Structure]:
    """Read a case and yield its structures in the order of their label values.

    Parameters
    ----------
    case : Case
        The case.
    most : int, optional
        At most so many structures.
    largest_part : bool
        Whether only the largest connected part of a label counts.
    labels : sequence of int, optional
        Only these labels.

    Raises
    ------
    StudyError
        If image or labels are not one regular volume.
    ConfigError
        If they lie on different grids, or the labels are not whole numbers.
    """
    from medsam_planner.io import load_volume

    image, labelled = load_volume(case.folder / "image.nii.gz", modality=case.modality), _labels(case)
    if image.spatial_shape != labelled.spatial_shape or not np.allclose(image.affine, labelled.affine, atol=1e-3):
        raise ConfigError(
            f"{case.folder}: expected image and labels on one grid, got {image.spatial_shape} and "
            f"{labelled.spatial_shape}, or affines that differ. Resample the labels to the image."
        )
    for value in _values(case, labelled.array)[:most]:
        if labels is not None and value not in labels:
            continue
        whole = labelled.array == value
        reference = largest_component(whole) if largest_part else whole
        yield Structure(case, value, _name(case, value), reference, image)


def reference_volumes_ml(case: Case) -> Iterator[tuple[str, float]]:
    """Name and volume in ml of the largest connected part of each label; the image is not read.

    Raises
    ------
    StudyError
        If the labels are not one regular volume.
    ConfigError
        If they are not whole numbers.
    """
    labels = _labels(case)
    for value in _values(case, labels.array):
        yield _name(case, value), volume_ml(largest_component(labels.array == value), labels.affine)


def _name(case: Case, label: int) -> str:
    return case.label_names.get(label, str(label))


def _labels(case: Case) -> StudyVolume:
    from medsam_planner.io import load_volume

    return load_volume(case.folder / "labels.nii.gz", modality=case.modality)


def _values(case: Case, labels: NDArray[np.float32]) -> list[int]:
    values = np.unique(labels)
    if not np.array_equal(values, np.rint(values)):
        raise ConfigError(f"{case.folder}: expected whole numbers in labels.nii.gz, got {values[:5].tolist()} ….")
    return [int(value) for value in values if value > 0]


def files_sha256(case: Case) -> str:
    """Hash of image and labels. Another hash makes finished results of the case invalid."""
    digest = hashlib.sha256()
    for name in ("image.nii.gz", "labels.nii.gz"):
        digest.update((case.folder / name).read_bytes())
    return digest.hexdigest()


def trained_on(model: PromptableModel) -> tuple[str, ...] | None:
    """Names of the training data in the metadata of a model's weights; None where there are none, as for MedSAM."""
    written = model.metadata.get("trained_on")
    return None if written is None else tuple(json.loads(written))


def cases_trained_on(cases: Sequence[Case], names: Sequence[str]) -> frozenset[str]:
    """Names of the cases whose patient is in the training data, also through another case of the same patient.

    Parameters
    ----------
    cases : sequence of Case
        All that are known.
    names : sequence of str
        Of the training data.
    """
    patients = {case.patient for case in cases if case.name in set(names)}
    return frozenset(case.name for case in cases if case.patient in patients)
