"""A series of DICOM files as one volume in LPS mm, or a refusal that says why.

highdicom is the strict gate: :func:`highdicom.get_volume_from_series` for one slice per file,
:meth:`highdicom.Image.get_frames` for many frames in one. It does not say which file is wrong, so the checks of
:mod:`~medsam_planner.io.slice_stack` come first. Values are float32 whatever the files store: exact for every integer
of 24 bits (CT and MR store at most 16), and free of the overflows of small integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.valuerep import format_number_as_ds

from medsam_planner.errors import GantryTiltError, StudyError
from medsam_planner.io import itk_jpeg
from medsam_planner.io.blank_uids import fill_blank_uids
from medsam_planner.io.dicom_header_copy import copy_note
from medsam_planner.io.dicom_series import DicomSeries, value_problems
from medsam_planner.io.slice_stack import (
    POSITION_TOLERANCE_MM,
    TILT_ADVICE,
    ProblemKind,
    SlicePlane,
    Stack,
    stack_affine,
)
from medsam_planner.io.stored_pixels import read_decoded
from medsam_planner.io.study_files import READ_ERRORS, plain_copy
from medsam_planner.io.tilt import straighten
from medsam_planner.progress import Progress, track
from medsam_planner.volumes import StudySource, StudyVolume

__all__ = ["read_dicom_series"]

itk_jpeg.register()  # pydicom keeps its decoders in one table per process

_VALUES_ONLY: dict[str, Any] = {
    "apply_real_world_transform": False,
    "apply_voi_transform": False,
    "apply_presentation_lut": False,
    "apply_palette_color_lut": False,
    "apply_icc_profile": False,
}
"""Rescale to the modality's values and nothing else: windows and inverted displays (MONOCHROME1) are for screens."""


_SHARED_NAMES = (
    "Several files have the same SOPInstanceUID, so no DICOM object can refer to them: results are written "
    "without DICOM objects."
)


def read_dicom_series(
    series: DicomSeries,
    *,
    path: Path,
    resample_tilt: bool = False,
    modality: str | None = None,
    progress: Progress | None = None,
) -> StudyVolume:
    """Read the pixels of `series`, rescaled (CT: to HU), float32.

    Raises
    ------
    GantryTiltError
        If the stack is sheared and `resample_tilt` is not set.
    StudyError
        If the files are anything else than one regular scalar volume.
    """
    _refuse_problems(series, modality, resample_tilt)
    datasets = [read_decoded(file) for file in track(series.files, "Decoding slices", progress)]
    operations: list[dict[str, Any]] = []
    filled = fill_blank_uids(datasets)
    if filled is not None:
        operations.append(filled)
    is_tilted = any(problem.kind is ProblemKind.TILT for problem in series.problems)
    if is_tilted:
        planes = [series.planes[index] for index in Stack.of(series.planes).order]
        volume, operation = straighten(_stored_frames(datasets, series), planes, _frame_of_reference(datasets))
        operations.append(operation)
    else:
        volume = _gated_volume(datasets, series)
        _check_places(volume, series)
    if not np.isfinite(volume.array).all():
        raise StudyError(f"{_label(series)}: some values are not finite after rescaling; the rescale tags are damaged.")
    headers = tuple(_without_pixels(datasets, series))
    source = StudySource(
        path=path,
        format="dicom",
        modality=modality or series.modality,
        series_instance_uid=str(datasets[0].SeriesInstanceUID),
        series_description=series.description,
        volume=series.volume,
        datasets=headers,
        operations=tuple(operations),
        notes=series.notes,
    )
    notes = [copy_note(headers), None if source.is_referable else _SHARED_NAMES]
    source = dataclasses.replace(source, notes=(*series.notes, *(note for note in notes if note is not None)))
    return StudyVolume.from_volume(volume, source)


def _label(series: DicomSeries) -> str:
    name = f" '{series.description}'" if series.description else ""
    return f"Series {series.number}{name} ({len(series.files)} files, {series.modality or 'no modality'})"


def _refuse_problems(series: DicomSeries, modality: str | None, resample_tilt: bool) -> None:
    texts = [problem.text for problem in series.problems]
    kinds = {problem.kind for problem in series.problems}
    wrong_values = value_problems(series, modality)
    texts += wrong_values
    if not wrong_values and kinds == {ProblemKind.TILT}:
        if resample_tilt:
            return
        raise GantryTiltError(f"{_label(series)} is not a straight stack: {texts[0]} {TILT_ADVICE}")
    if texts:
        needs = (
            " A tilted stack can be resampled only when its slices are equally spaced."
            if ProblemKind.TILT in kinds
            else ""
        )
        raise StudyError(f"{_label(series)} cannot be read as one volume: {' And: '.join(texts)}{needs}")


def _is_multi_frame(dataset: pydicom.Dataset) -> bool:
    return "PerFrameFunctionalGroupsSequence" in dataset


def _gated_volume(datasets: list[pydicom.Dataset], series: DicomSeries) -> highdicom.Volume:
    if any(_is_multi_frame(dataset) for dataset in datasets):  # one file or several: highdicom joins no such files
        return highdicom.Volume(
            array=_stored_frames(datasets, series),
            affine=stack_affine(series.planes),
            coordinate_system="PATIENT",
            frame_of_reference_uid=_frame_of_reference(datasets),
        )
    try:
        _unify_rounding(datasets, series)
        return highdicom.get_volume_from_series(datasets, dtype=np.float32, **_VALUES_ONLY)
    except READ_ERRORS as error:
        raise StudyError(f"{_label(series)} is refused by highdicom's check of a regular volume: {error}") from error


def _unify_rounding(datasets: Sequence[pydicom.Dataset], series: DicomSeries) -> None:
    """Put all slices where the volume has them: highdicom allows no rounding, the checks before it do."""
    affine = stack_affine(series.planes)
    for k, index in enumerate(Stack.of(series.planes).order):
        place = affine[:3, 3] + k * affine[:3, 0]
        datasets[index].ImagePositionPatient = [format_number_as_ds(float(value)) for value in place]
    for dataset in datasets[1:]:
        dataset.ImageOrientationPatient = datasets[0].ImageOrientationPatient
        dataset.PixelSpacing = datasets[0].PixelSpacing


def _stored_frames(datasets: Sequence[pydicom.Dataset], series: DicomSeries) -> NDArray[np.float32]:
    """(K, rows, columns) rescaled slices in stacking order, without asking whether they form a volume."""
    try:
        frames = np.concatenate([_rescaled_frames(dataset) for dataset in datasets])
    except READ_ERRORS as error:
        raise StudyError(f"{_label(series)} is refused by highdicom: {error}") from error
    chosen = frames[list(series.frames)] if series.frames else frames
    return chosen[Stack.of(series.planes).order]


def _rescaled_frames(dataset: pydicom.Dataset) -> NDArray[np.float32]:
    """(frames, rows, columns) of one file."""
    if _is_multi_frame(dataset):
        return highdicom.Image.from_dataset(dataset, copy=False).get_frames(dtype=np.float32, **_VALUES_ONLY)
    return highdicom.get_volume_from_series([dataset], dtype=np.float32, **_VALUES_ONLY).array


def _frame_of_reference(datasets: Sequence[pydicom.Dataset]) -> str:
    return str(datasets[0].FrameOfReferenceUID)


def _check_places(volume: highdicom.Volume, series: DicomSeries) -> None:
    """Every slice must be where the volume's affine puts it, to `POSITION_TOLERANCE_MM`."""
    for k, index in enumerate(Stack.of(series.planes).order):
        plane: SlicePlane = series.planes[index]
        place = volume.affine[:3, 3] + k * volume.affine[:3, 0]
        distance = float(np.linalg.norm(place - plane.position_lps_mm))
        if distance > POSITION_TOLERANCE_MM:
            raise StudyError(f"{_label(series)}: {plane.name} lies {distance:.2f} mm from its place in the volume.")


def _without_pixels(datasets: Sequence[pydicom.Dataset], series: DicomSeries) -> list[pydicom.Dataset]:
    """Headers in the order of their first slices, light enough to keep."""
    owner = np.repeat(np.arange(len(datasets)), [int(dataset.get("NumberOfFrames") or 1) for dataset in datasets])
    if series.frames:
        owner = owner[list(series.frames)]
    order = dict.fromkeys(owner[Stack.of(series.planes).order].tolist())
    return [plain_copy(datasets[index], without_pixels=True) for index in order]
