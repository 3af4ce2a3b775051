"""Read a mask: NIfTI, a segment of a DICOM Segmentation, or a region of an RT Structure Set.

A segment or region is named after the file, ``seg.dcm:liver``: by its label or its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from medsam_planner.errors import StudyError
from medsam_planner.io.contour_masks import region_mask, region_names
from medsam_planner.io.loading import load_map
from medsam_planner.io.objects.segmentation import LABEL_MAP_STORAGE
from medsam_planner.io.segment_masks import open_segmentation, segment_mask, segment_names
from medsam_planner.io.segment_path import parted
from medsam_planner.io.study_files import READ_ERRORS, file_kind, quiet_pydicom
from medsam_planner.volumes import StudySource, StudyVolume, source_of, volume_like
from prompts import GeometryError, PromptError, VoxelMask

__all__ = ["load_mask", "mask_labels", "object_notes"]

_SEGMENTATIONS = (SegmentationStorage, LABEL_MAP_STORAGE)


def load_mask(path: Path, study: StudyVolume, *, name: str | None = None, number: int | None = None) -> StudyVolume:
    """Read a mask that belongs to `study`.

    Parameters
    ----------
    path : Path
        NIfTI, a DICOM series, or a Segmentation or RT Structure Set, with the segment after a colon where it has
        several (``seg.dcm:liver``, ``seg.dcm:2``).
    study : (K, J, I) StudyVolume
        Contours are filled on its planes. Where a segmentation has its voxels, the mask comes on its grid.
    name : str, optional
        The structure: of several segments, the one with this label is taken if none is named.
    number : int, optional
        Of the segment or region, as :func:`mask_labels` gives it.

    Returns
    -------
    (K, J, I) StudyVolume
        Bool for a segment or region; otherwise the values of the file. The notes of its source say what is not known
        of it, such as slices without a contour inside it.

    Raises
    ------
    StudyError
        If it cannot be read, the choice is not clear, it is of another frame of reference, or contours do not lie on
        planes of the study.
    """
    place, segment = parted(path)
    kind = _object_kind(place)
    if kind is None:
        if segment is not None:
            raise StudyError(
                f"Expected a DICOM Segmentation or RT Structure Set to take the segment '{segment}' of; {place} is "
                "neither. Name the file alone."
            )
        return load_map(place)
    with _intact(place):
        if kind == "RTSTRUCT":
            dataset = pydicom.dcmread(place, force=True)
            if number is None:
                number = _chosen(region_names(dataset), segment, name, place, "region")
            return _on_study(*region_mask(dataset, number, study, place), study, kind, place)
        segmentation = open_segmentation(place)
        if number is None:
            number = _chosen(segment_names(segmentation), segment, name, place, "segment")
        return _on_study(*segment_mask(segmentation, number, study, place), study, kind, place)


def object_notes(mask: highdicom.Volume) -> tuple[str, ...]:
    """What is not known of a mask that :func:`load_mask` read from a segmentation or structure set, in sentences."""
    source = source_of(mask)
    return source.notes if source is not None and source.modality in ("SEG", "RTSTRUCT") else ()


def mask_labels(path: Path) -> dict[int, str]:
    """Labels of the segments or regions of a DICOM file by number; empty for any other file.

    Raises
    ------
    StudyError
        If the file is damaged.
    """
    kind = _object_kind(path)
    if kind is None:
        return {}
    with _intact(path):
        if kind == "RTSTRUCT":
            return region_names(pydicom.dcmread(path, force=True))
        return segment_names(open_segmentation(path))


@contextmanager
def _intact(path: Path) -> Iterator[None]:
    """Name the file where an element is missing or no number."""
    try:
        with quiet_pydicom():
            yield
    except StudyError:
        raise
    except READ_ERRORS as error:
        raise StudyError(f"{path} is damaged: {error}. Export it again.") from error


def _object_kind(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        if file_kind(path) != "dicom":
            return None
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID"])
        kind = header.get("SOPClassUID")
    except READ_ERRORS as error:
        raise StudyError(f"{path} cannot be read: {error}") from error
    if kind == RTStructureSetStorage:
        return "RTSTRUCT"
    return "SEG" if kind in _SEGMENTATIONS else None


def _chosen(names: dict[int, str], wanted: str | None, structure: str | None, path: Path, what: str) -> int:
    """Number of the one that is named, or that is called like the structure, or that is the only one."""
    listed = ", ".join(f"{number} '{label}'" for number, label in names.items()) or "none"
    if wanted is not None:
        found = [number for number, label in names.items() if wanted == label] or [
            number for number in names if wanted == str(number)
        ]
        if len(found) == 1:
            return found[0]
        raise StudyError(f"Expected one {what} '{wanted}' in {path}, found {len(found)}. There are: {listed}.")
    if len(names) == 1:
        return next(iter(names))
    called = [number for number, label in names.items() if label == structure]
    if len(called) == 1:
        return called[0]
    raise StudyError(
        f"Expected a choice among the {len(names)} {what}s of {path}: write {path.name}:NAME or {path.name}:NUMBER. "
        f"There are: {listed}."
    )


def _on_study(mask: highdicom.Volume, notes: tuple[str, ...], study: StudyVolume, kind: str, path: Path) -> StudyVolume:
    """The same mask on the study's grid if its voxels are the study's, else as it is; never resampled."""
    source = StudySource(path, "dicom", kind, notes=notes)
    try:
        first, box = VoxelMask.from_array(mask.array, mask.affine).on_grid(study.affine, study.spatial_shape)
    except (GeometryError, PromptError):
        return StudyVolume.from_volume(mask, source)
    array = np.zeros(study.spatial_shape, dtype=bool)
    array[tuple(slice(low, low + size) for low, size in zip(first, box.shape, strict=True))] = box
    return StudyVolume.from_volume(volume_like(study, array), source)
