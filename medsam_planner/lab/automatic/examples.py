"""The cases of an automatic network: what is read of each, how they are split by patient, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.automatic_network import along_ras
from medsam_planner.errors import ConfigError
from medsam_planner.geometry import spacing_mm
from medsam_planner.lab.adaptation.chosen import Labelled, split_by_patient
from medsam_planner.lab.evaluation.cases import files_sha256
from medsam_planner.lab.project.exports import unseen_voxels
from medsam_planner.lab.project.splits import check_splits
from medsam_planner.progress import Progress, track
from medsam_planner.volumes import StudyVolume, volume_sha256
from prompts.masks import largest_component, mask_box

__all__ = ["Example", "Facts", "look_at", "sha256_of", "split"]

_ONE_PART = 0.99
"""Share of the voxels in the largest part from which a structure counts as one part."""
_CT_PERCENTILES = (0.5, 99.5)
_INTENSITIES = 20_000
"""At most so many voxels of a structure are kept for its percentiles."""


@dataclass(frozen=True, slots=True)
class Example:
    """A case that shows the structure, and which of its slices were reviewed."""

    shown: Labelled
    reviewed: Sequence[int] | None = None
    """Slices across the axis of acquisition; None for all."""

    @property
    def patient(self) -> str:
        """Patient of the case."""
        return self.shown.case.patient

    def read(self) -> tuple[StudyVolume, NDArray[np.bool_], NDArray[np.bool_] | None]:
        """Image, (K, J, I) reference, and (K, J, I) voxels that nobody reviewed (None for none).

        Raises
        ------
        StudyError, ConfigError
            As :meth:`~medsam_planner.lab.adaptation.chosen.Labelled.structure`.
        """
        found = self.shown.structure(largest_part=False)
        return found.volume, found.reference, unseen_voxels(found.volume, self.reviewed)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look at all cases says."""

    modality: str
    spacing_range_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    spacing_mm: tuple[float, float, float]
    """Median of the cases, along right, anterior, superior."""
    extent_mm: tuple[float, float, float]
    """Median of the structure's box."""
    size_mm: tuple[float, float, float]
    """Median of the images."""
    intensity: tuple[float, float, float, float]
    is_one_part: bool


def split(examples: Sequence[Example], held_back: Sequence[str], seed: int) -> tuple[list[Example], list[Example]]:
    """Cases to train on, and cases of other patients that are held back.

    Parameters
    ----------
    examples : sequence of Example
    held_back : sequence of str
        Patterns of names of the cases to hold back; a quarter of the patients by chance if empty.
    seed : int

    Raises
    ------
    ConfigError
        If there are fewer than two patients, a patient would be on both sides, or one side is empty.
    """
    patients = {one.shown.case.name: one.patient for one in examples}
    if len(set(patients.values())) < 2:
        raise ConfigError(
            f"Expected cases of two patients or more, one of whom is held back, got {len(examples)} of "
            f"{len(set(patients.values()))}. Review a study of another patient, or use `medsam-planner adapt`, which "
            "begins with one case."
        )
    if held_back:
        back = {name for name in patients if any(fnmatch(name, pattern) for pattern in held_back)}
        if not back or len(back) == len(patients):
            raise ConfigError(
                f"Expected patterns that hold back some cases and not all, got {' or '.join(held_back)}, which hold "
                f"back {len(back)} of {len(patients)}."
            )
    else:
        back = {one.case.name for one in split_by_patient([one.shown for one in examples], seed)[1]}
    check_splits([{"train": sorted(set(patients) - back), "val": sorted(back)}], patients)
    return (
        [one for one in examples if one.shown.case.name not in back],
        [one for one in examples if one.shown.case.name in back],
    )


def look_at(train: Sequence[Example], held_back: Sequence[Example], *, progress: Progress | None = None) -> Facts:
    """Read every case once, and refuse what would spoil training or its measurement.

    Raises
    ------
    ConfigError
        If modalities differ, two patients have the same image, or a case shows no reviewed voxel of the structure.
    """
    seen: dict[str, Example] = {}
    spacings, extents, sizes, parts, values = [], [], [], [], []
    for example in track([*train, *held_back], "looking at cases", progress):
        volume, reference, unseen = example.read()
        reference = reference if unseen is None else reference & ~unseen
        if not reference.any():
            raise ConfigError(
                f"{example.shown.case.folder}: no reviewed slice shows the structure. Review more slices, or leave "
                "the case out."
            )
        twin = seen.setdefault(volume_sha256(volume), example)
        if twin.patient != example.patient:
            raise ConfigError(
                f"{twin.shown.case.folder} and {example.shown.case.folder} have the same voxels, but are of the "
                f"patients {twin.patient} and {example.patient}. Correct the patient ('subject' in meta.json), or "
                "leave one out."
            )
        spacing = along_ras(volume, spacing_mm(volume.affine))
        box = np.array([[part.start, part.stop] for part in mask_box(reference)], dtype=float)
        spacings.append(spacing)
        extents.append(along_ras(volume, box[:, 1] - box[:, 0]) * spacing)
        sizes.append(along_ras(volume, np.array(volume.spatial_shape, dtype=float)) * spacing)
        parts.append(largest_component(reference).sum() / reference.sum())
        inside = np.asarray(volume.array)[reference]
        values.append(inside[:: max(1, len(inside) // _INTENSITIES)].astype(np.float64))
    modalities = {example.shown.case.modality for example in seen.values()}
    if len(modalities) > 1:
        raise ConfigError(
            f"Expected cases of one modality, got {' and '.join(sorted(modalities))}. Choose with --only."
        )
    (modality,) = modalities
    all_spacings = np.array(spacings)
    return Facts(
        modality,
        (_three(all_spacings.min(0)), _three(all_spacings.max(0))),
        _three(np.median(all_spacings, axis=0)),
        _three(np.median(extents, axis=0)),
        _three(np.median(sizes, axis=0)),
        _intensity(np.concatenate(values[: len(train)])) if modality == "CT" else (0.0, 0.0, 0.0, 0.0),
        bool(min(parts[: len(train)]) >= _ONE_PART),
    )


def sha256_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """Hash of image and labels of each case, in the order of the hashes."""
    return tuple(sorted(files_sha256(one.shown.case) for one in examples))


def _intensity(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    low, high = np.percentile(values, _CT_PERCENTILES)
    return float(low), float(max(high, low + 1.0)), float(values.mean()), float(max(values.std(), 1.0))


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(one) for one in values)
    return x, y, z
