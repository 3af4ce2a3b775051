"""Group DICOM files into series, and find out which series can be a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom

from medsam_planner.io.frame_planes import frame_count, frame_planes, numbers
from medsam_planner.io.lossy import lossy_notes
from medsam_planner.io.one_acquisition import acquisition_notes, acquisition_problems, identity_problems
from medsam_planner.io.rescale import rescale_problems
from medsam_planner.io.slice_stack import MIN_SLICES, Problem, ProblemKind, SlicePlane, Stack, stack_problems
from medsam_planner.io.study_files import READ_ERRORS, DicomFile, header_text, name_files

__all__ = ["DicomSeries", "describe_files", "group_series", "value_problems"]

_VOLUME_MODALITIES = ("CT", "MR")
_TILT_TAG_TOLERANCE_DEG = 0.1
_OTHER_KINDS = {
    "PT": "it is a PET: its values are activities, and neither windows nor models know them. Read its CT or MR.",
    "NM": "it is a nuclear medicine image: its values are counts. Read its CT or MR.",
    "US": "it is an ultrasound: its values depend on the probe, and its place is not that of the patient. Read a CT or "
    "MR.",
}
"""Modalities that no statement of the user turns into a CT or MR."""


@dataclass(frozen=True, slots=True, eq=False)
class DicomSeries:
    """Image files that belong to one series."""

    number: int
    """Number in the table of series, from 1."""
    files: tuple[DicomFile, ...]
    planes: tuple[SlicePlane, ...]
    """One per frame; empty when a frame does not say where it lies."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    """Those of all frames of the files that belong to it, in the order of `planes`; all if empty."""
    volume: int | None = None
    """Number of the volume that was chosen, where the series holds several."""
    label: str = ""
    """What tells it apart from the other volumes of its series."""

    def text(self, keyword: str) -> str:
        """A header value of the first file, as text."""
        return header_text(self.files[0].header, keyword)

    @property
    def series_instance_uid(self) -> str:
        """As in the files; empty where they leave it blank."""
        return self.text("SeriesInstanceUID")

    @property
    def modality(self) -> str:
        """``"CT"``, ``"MR"``, ..."""
        return self.text("Modality")

    @property
    def description(self) -> str:
        """Series description."""
        return self.text("SeriesDescription")

    @property
    def frame_count(self) -> int:
        """Slices, whether one or many to a file."""
        return len(self.frames) or sum(frame_count(file.header) for file in self.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns (of the first file)."""
        header = self.files[0].header
        return self.frame_count, int(header.Rows), int(header.Columns)

    @property
    def unfit_reason(self) -> str | None:
        """Why this can never be a scalar volume (a localizer, a screenshot, ...), or None.

        Faults of a volume, such as a missing slice, are not among them: a faulty series is refused, not skipped.
        """
        kinds = (
            ProblemKind.LOCALIZER,
            ProblemKind.SCREENSHOT,
            ProblemKind.COLOUR,
            ProblemKind.NO_GEOMETRY,
            ProblemKind.TOO_FEW_SLICES,
        )
        return next((problem.text for problem in self.problems if problem.kind in kinds), None)


def group_series(images: Sequence[DicomFile]) -> tuple[DicomSeries, ...]:
    """Sort image files into series, numbered by SeriesNumber and name.

    Where the series UID is blank, files of one modality, description, size, orientation and frame of reference are
    taken together. Files with many frames stand alone where each is a whole volume at the same places (phases, echoes).
    """
    groups: dict[tuple[Any, ...], list[DicomFile]] = {}
    for file in images:
        groups.setdefault(_group_key(file), []).append(file)
    parts = [part for files in groups.values() for part in _separated(files)]
    ordered = sorted(parts, key=lambda files: (_series_number(files[0].header), files[0].name))
    return tuple(describe_files(number, files) for number, files in enumerate(ordered, start=1))


def _series_number(header: pydicom.Dataset) -> int:
    try:
        return int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _group_key(file: DicomFile) -> tuple[Any, ...]:
    header = file.header
    uid = str(header.get("SeriesInstanceUID") or "")
    if uid:
        return (uid,)
    orientation = tuple(np.round(numbers(header, "ImageOrientationPatient"), 3) + 0.0)
    described = tuple(str(header.get(key) or "") for key in ("Modality", "SeriesDescription", "FrameOfReferenceUID"))
    return ("", _series_number(header), *described, int(header.Rows), int(header.Columns), orientation)


def _separated(files: list[DicomFile]) -> list[list[DicomFile]]:
    """Split the files of a series if each is a whole volume; otherwise keep them together."""
    if len(files) == 1 or any(frame_count(file.header) < MIN_SLICES for file in files):
        return [files]
    kinds: dict[tuple[Any, ...], list[DicomFile]] = {}
    for file in files:
        try:
            planes = frame_planes(file)
        except READ_ERRORS:
            return [files]
        places = sorted(tuple(np.round(plane.position_lps_mm, 1) + 0.0) for plane in planes)
        kinds.setdefault((planes[0].shape, tuple(np.round(planes[0].orientation, 3) + 0.0), *places), []).append(file)
    turned = {key[:2] for key in kinds}
    if len(kinds) > len(turned):  # two files of one orientation at different places: parts of one volume
        return [files]
    return [[file] for file in files]


def describe_files(number: int, files: Sequence[DicomFile]) -> DicomSeries:
    """Files that belong together as a series of that number, with their planes and problems."""
    proper = [file for file in files if not _is_localizer(file.header)]
    notes: tuple[str, ...] = ()
    if not proper:
        text = f"it holds only localizer images ({name_files(file.name for file in files)})."
        return DicomSeries(number, tuple(files), (), (Problem(ProblemKind.LOCALIZER, text),))
    if len(proper) < len(files):
        skipped = name_files(file.name for file in files if _is_localizer(file.header))
        notes = (f"Skipped {len(files) - len(proper)} localizer image(s): {skipped}.",)
    notes += acquisition_notes(proper) + lossy_notes(proper)
    problems = identity_problems(proper) + acquisition_problems(proper) + _colour_problems(proper)
    planes: list[SlicePlane] = []
    lost: list[str] = []
    for file in proper:
        try:
            planes.extend(frame_planes(file))
        except READ_ERRORS as error:
            lost.append(f"{file.name} ({error})")
    if lost:
        # With some slices placed and some not the series is faulty; with none placed it never was a volume.
        kind = ProblemKind.MIXED if planes else ProblemKind.NO_GEOMETRY
        listed = name_files(lost, most=3)
        text = f"{len(lost)} of {len(proper)} files do not say where they lie in the patient: {listed}."
        problems += (Problem(kind, text),)
        planes = []
    else:
        problems += stack_problems(planes)
        notes += _tilt_tag_note(proper[0].header, problems)
        note = None if problems else Stack.of(planes).note
        notes += () if note is None else (note,)
    return DicomSeries(number, tuple(proper), tuple(planes), problems, notes)


def _tilt_tag_note(header: pydicom.Dataset, problems: Sequence[Problem]) -> tuple[str, ...]:
    """Note a gantry tilt tag that contradicts the slice positions, which decide."""
    try:
        tilt = float(header.get("GantryDetectorTilt") or 0.0)
    except (TypeError, ValueError):
        return ()
    if abs(tilt) < _TILT_TAG_TOLERANCE_DEG or any(problem.kind is ProblemKind.TILT for problem in problems):
        return ()
    return (f"The gantry tilt tag says {tilt:g}°, but the slices form a straight stack; their positions are used.",)


def _is_localizer(header: pydicom.Dataset) -> bool:
    return "LOCALIZER" in [str(value).upper() for value in np.atleast_1d(header.get("ImageType") or [])]


def _colour_problems(files: Sequence[DicomFile]) -> tuple[Problem, ...]:
    colour = [
        file.name
        for file in files
        if int(file.header.get("SamplesPerPixel") or 1) != 1
        or str(file.header.get("PhotometricInterpretation") or "MONOCHROME2") not in ("MONOCHROME1", "MONOCHROME2")
    ]
    if not colour:
        return ()
    kind = str(files[0].header.get("PhotometricInterpretation") or "?")
    text = (
        f"{len(colour)} of {len(files)} files hold colour pixels ({kind}): {name_files(colour)}. Colour is a picture "
        "of a scan (screenshot, fused or annotated image), not its values: use the original grey-scale series."
    )
    return (Problem(ProblemKind.COLOUR if len(colour) == len(files) else ProblemKind.MIXED, text),)


def value_problems(series: DicomSeries, stated: str | None) -> tuple[str, ...]:
    """Why the values of `series` cannot be read as CT or MR, where the modality is `stated`; empty when they can."""
    kind = _OTHER_KINDS.get(series.modality)
    if kind is not None:
        return (kind,)
    if stated is None and series.modality not in _VOLUME_MODALITIES:
        return (
            f"its modality is '{series.modality or 'blank'}', expected CT or MR. If its values are Hounsfield units "
            "(as in a cone-beam CT), say so with modality='CT'.",
        )
    return rescale_problems(series.files, series.modality, stated)
