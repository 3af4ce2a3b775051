"""The structures of labelled cases: their label values, their reference masks, and which of them to take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import ConfigError, StudyError
from medsam_planner.geometry import volume_ml
from medsam_planner.io.conservative_resampling import is_on_grid
from medsam_planner.io.mask_reading import load_mask, object_notes
from medsam_planner.lab.evaluation.cases import Case, Structure
from medsam_planner.volumes import StudyVolume
from prompts.masks import largest_component

__all__ = ["label_values", "read_structures", "reference_volumes_ml", "spread_labels"]

T = TypeVar("T")


def label_values(case: Case, most: int | None = None) -> list[int]:
    """Values of a case's labels, at most `most` of them.

    Raises
    ------
    StudyError
        If the labels are not one regular volume.
    ConfigError
        If they are not whole numbers.
    """
    return _values(case, _labels(case))[:most]


def spread_labels(cases: Sequence[Case], per_group: int | None, most: int | None = None) -> dict[str, tuple[int, ...]]:
    """A subset of the labels, spread over the cases of each group and over their labels.

    Parameters
    ----------
    cases : sequence of Case
        The cases.
    per_group : int or None
        At most so many labels of each group; None for all.
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
    if per_group is None:
        return {case.name: tuple(label_values(case, most)) for case in cases}
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
        If image or labels are not one regular volume, or there is no label.
    ConfigError
        If they lie on different grids, or the labels are not whole numbers.
    """
    image, labelled = case.read_image(), _labels(case)
    values = _values(case, labelled)
    if not values:
        raise StudyError(f"Expected labels in {case.folder / 'labels.nii.gz'}, all voxels are 0. Leave the case out.")
    wanted = [value for value in values[:most] if labels is None or value in labels]
    for value, whole in _masks(case, labelled, image, wanted):
        reference = largest_component(whole) if largest_part else whole
        yield Structure(case, value, _name(case, value), reference, image)


def reference_volumes_ml(case: Case) -> Iterator[tuple[str, float]]:
    """Name and volume in ml of the largest connected part of each label; of contours the image is read for its grid.

    Raises
    ------
    StudyError
        If the labels are not one regular volume.
    ConfigError
        If they are not whole numbers.
    """
    labelled = _labels(case)
    grid = case.read_image() if labelled is None else labelled
    for value, whole in _masks(case, labelled, grid, _values(case, labelled)):
        yield _name(case, value), volume_ml(largest_component(whole), grid.affine)


def _masks(
    case: Case, labelled: StudyVolume | None, image: StudyVolume, values: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Masks on the grid of the image."""
    for value in values:
        of = load_mask(case.labels_path, image, number=value) if labelled is None else labelled
        if labelled is None and (notes := object_notes(of)):
            raise ConfigError(
                f"{case.folder}: expected a reference of which everything is known, got one of '{_name(case, value)}' "
                f"with this note: {notes[0]} Mend it where it was drawn, or save it as NIfTI."
            )
        if not is_on_grid(of, image):
            raise ConfigError(
                f"{case.folder}: expected image and labels on one grid, got {image.spatial_shape} and "
                f"{of.spatial_shape}, or affines that differ. Resample the labels to the image."
            )
        yield value, np.asarray(of.array) if labelled is None else of.array == value


def _name(case: Case, label: int) -> str:
    return case.label_names.get(label, str(label))


def _labels(case: Case) -> StudyVolume | None:
    """The volume of all labels; None where each is drawn for itself."""
    from medsam_planner.io.loading import load_map

    return None if case.has_drawn_labels else load_map(case.folder / "labels.nii.gz")


def _values(case: Case, labelled: StudyVolume | None) -> list[int]:
    if labelled is None:
        return sorted(case.label_names)
    values = np.unique(labelled.array)
    if not np.array_equal(values, np.rint(values)):
        raise ConfigError(f"{case.folder}: expected whole numbers in labels.nii.gz, got {values[:5].tolist()} ….")
    return [int(value) for value in values if value > 0]
