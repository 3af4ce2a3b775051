"""Labelled cases on disk: their structures, and which of them the weights were trained on.

A case is a folder with ``image.nii.gz`` and ``labels.nii.gz`` on one grid and a ``meta.json`` with ``modality``
and, where known, ``subject``, ``anatomy`` and ``label_names``. From a hospital the image may be a folder ``image`` of
DICOM files, and the labels a Segmentation or RT Structure Set ``labels.dcm``, whose own names count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import volume_ml
from medsam_planner.io.mask_reading import mask_labels
from medsam_planner.io.study_files import iterate_files
from medsam_planner.volumes import StudyVolume

__all__ = [
    "Case",
    "Structure",
    "cases_trained_on",
    "files_sha256",
    "find_cases",
    "shared_anatomy",
    "size_class",
    "trained_on",
]

_SMALL_ML, _LARGE_ML = 1.0, 50.0
_IMAGES = ("image.nii.gz", "image")
_LABELS = ("labels.nii.gz", "labels.dcm")
_BY_HASH = "sha256:"


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
    def image_path(self) -> Path:
        """NIfTI file or DICOM folder."""
        return _first(self.folder, _IMAGES)

    @property
    def labels_path(self) -> Path:
        """NIfTI file, or DICOM Segmentation or RT Structure Set."""
        return _first(self.folder, _LABELS)

    @property
    def has_drawn_labels(self) -> bool:
        """Whether the labels are a DICOM object; those that ``label_names`` lists count, or else all."""
        return self.labels_path.suffix == ".dcm"

    def read_image(self) -> StudyVolume:
        """The image.

        Raises
        ------
        StudyError
            If it is not one regular volume.
        """
        from medsam_planner.io import load_volume

        return load_volume(self.image_path, modality=self.modality)

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
            f"Expected cases in {root}: folders with image.nii.gz (or a DICOM folder image), labels.nii.gz (or "
            "labels.dcm) and meta.json. Found none."
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
    return (folder / "meta.json").is_file() and all(_first(folder, names).exists() for names in (_IMAGES, _LABELS))


def _first(folder: Path, names: Sequence[str]) -> Path:
    """The first of these that exists, or the first."""
    return next((folder / name for name in names if (folder / name).exists()), folder / names[0])


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
    stated = mask_labels(_first(folder, _LABELS))
    return Case(folder, str(meta.get("subject") or folder.name), modality, shared_anatomy(meta), names or stated)


def shared_anatomy(meta: Mapping[str, Any]) -> str:
    """The anatomy in a ``meta.json`` up to a semicolon, which cases of one group have in common."""
    return str(meta.get("anatomy") or "unnamed anatomy").split(";")[0].strip()


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
        Of the training data; ``sha256:…`` stands for the case with that :func:`files_sha256`.
    """
    known = set(names)
    by_hash = any(name.startswith(_BY_HASH) for name in known)
    patients = {
        case.patient for case in cases if case.name in known or (by_hash and f"{_BY_HASH}{files_sha256(case)}" in known)
    }
    return frozenset(case.name for case in cases if case.patient in patients)


def files_sha256(case: Case) -> str:
    """Hash of image and labels. Another hash makes finished results of the case invalid."""
    digest = hashlib.sha256()
    image = case.image_path
    for path in (*([image] if image.is_file() else (file for file, _ in iterate_files(image))), case.labels_path):
        digest.update(path.read_bytes())
    return digest.hexdigest()
