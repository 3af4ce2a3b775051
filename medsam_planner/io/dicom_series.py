"""Which DICOM files belong together, which of these groups can be a volume, and which one the person means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom

from medsam_planner.errors import AmbiguousSeriesError, StudyError
from medsam_planner.io.one_acquisition import acquisition_notes, acquisition_problems, identity_problems
from medsam_planner.io.rescale import rescale_problems
from medsam_planner.io.slice_stack import MIN_SLICES, Problem, ProblemKind, SlicePlane, Stack, stack_problems
from medsam_planner.io.study_files import READ_ERRORS, DicomFile, StudyFiles, header_text, name_files

__all__ = ["DicomSeries", "choose_series", "group_series", "series_table", "value_problems"]

_VOLUME_MODALITIES = ("CT", "MR")
_TILT_TAG_TOLERANCE_DEG = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class DicomSeries:
    """Image files that one scanner run wrote as one stack, or claims to have."""

    number: int
    """1-based place in the table the person sees."""
    files: tuple[DicomFile, ...]
    planes: tuple[SlicePlane, ...]
    """One per frame; empty when a frame does not say where it lies."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

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
        return sum(_frame_count(file.header) for file in self.files)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns (of the first file)."""
        header = self.files[0].header
        return self.frame_count, int(header.Rows), int(header.Columns)

    @property
    def unfit_reason(self) -> str | None:
        """Why this can never be a scalar volume (a localizer, a screenshot, ...), or None.

        Faults that hide a volume, such as a missing slice, are not among them: a faulty series is refused, not skipped.
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
    return tuple(_describe(number, files) for number, files in enumerate(ordered, start=1))


def choose_series(study: StudyFiles, wanted: str | None, *, where: str) -> DicomSeries:
    """The one series meant: the only possible one, or the one named by number, UID or unique description.

    Raises
    ------
    AmbiguousSeriesError
        If several are possible, or `wanted` fits several; the message lists them.
    StudyError
        If none is possible, or `wanted` fits none.
    """
    every = group_series(study.images)
    if wanted is not None:
        return _named_series(every, wanted.strip(), where)
    possible = [series for series in every if series.unfit_reason is None]
    if len(possible) == 1:
        skipped = [series for series in every if series is not possible[0]]
        notes = tuple(
            f"Skipped series {other.number} ({other.description or other.modality}): {other.unfit_reason}"
            for other in skipped
        )
        return _with_notes(possible[0], notes)
    if possible:
        raise AmbiguousSeriesError(
            f"Expected one series in {where}, found {len(possible)}. Say which with --series NUMBER (series=...), "
            f"by number, UID or description:\n{series_table(every)}"
        )
    if len(every) == 1:
        return every[0]
    raise StudyError(f"None of the {len(every)} series in {where} is a volume:\n{series_table(every)}")


def series_table(every: Sequence[DicomSeries]) -> str:
    """One line per series: number, modality, files, shape, description, UID and why it cannot be a volume."""
    lines = []
    for series in every:
        slices, rows, columns = series.shape
        reason = f" — not a volume: {series.unfit_reason}" if series.unfit_reason else ""
        lines.append(
            f"  {series.number}: {series.modality or '?'}, {len(series.files)} files, {slices} × {rows} × {columns}, "
            f"'{series.description}', UID {series.series_instance_uid or '(blank)'}{reason}"
        )
    return "\n".join(lines)


def _named_series(every: Sequence[DicomSeries], wanted: str, where: str) -> DicomSeries:
    matches: tuple[Callable[[DicomSeries], bool], ...] = (
        lambda series: wanted == str(series.number),
        lambda series: bool(wanted) and wanted == series.series_instance_uid,
        lambda series: bool(wanted) and wanted.casefold() == series.description.casefold(),
    )
    for is_match in matches:
        found = [series for series in every if is_match(series)]
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousSeriesError(
                f"'{wanted}' fits {len(found)} series in {where}. Name one by its number:\n{series_table(found)}"
            )
    raise StudyError(f"No series '{wanted}' in {where}. There are:\n{series_table(every)}")


def _with_notes(series: DicomSeries, notes: tuple[str, ...]) -> DicomSeries:
    return DicomSeries(series.number, series.files, series.planes, series.problems, (*series.notes, *notes))


def _series_number(header: pydicom.Dataset) -> int:
    try:
        return int(header.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        return 0


def _frame_count(header: pydicom.Dataset) -> int:
    try:
        return int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        return 1


def _group_key(file: DicomFile) -> tuple[Any, ...]:
    header = file.header
    uid = str(header.get("SeriesInstanceUID") or "")
    if uid:
        return (uid,)
    orientation = tuple(np.round(_numbers(header, "ImageOrientationPatient"), 3) + 0.0)
    described = tuple(str(header.get(key) or "") for key in ("Modality", "SeriesDescription", "FrameOfReferenceUID"))
    return ("", _series_number(header), *described, int(header.Rows), int(header.Columns), orientation)


def _separated(files: list[DicomFile]) -> list[list[DicomFile]]:
    """Files of one series that are volumes of their own, else all of them together: no part of one stands alone."""
    if len(files) == 1 or any(_frame_count(file.header) < MIN_SLICES for file in files):
        return [files]
    kinds: dict[tuple[Any, ...], list[DicomFile]] = {}
    for file in files:
        try:
            planes = _planes(file)
        except READ_ERRORS:
            return [files]
        places = sorted(tuple(np.round(plane.position_lps_mm, 1) + 0.0) for plane in planes)
        kinds.setdefault((planes[0].shape, tuple(np.round(planes[0].orientation, 3) + 0.0), *places), []).append(file)
    turned = {key[:2] for key in kinds}
    if len(kinds) > len(turned):  # two files of one orientation at different places: parts of one volume
        return [files]
    return [[file] for file in files]


def _describe(number: int, files: Sequence[DicomFile]) -> DicomSeries:
    proper = [file for file in files if not _is_localizer(file.header)]
    notes: tuple[str, ...] = ()
    if not proper:
        text = f"it holds only localizer images ({name_files(file.name for file in files)})."
        return DicomSeries(number, tuple(files), (), (Problem(ProblemKind.LOCALIZER, text),))
    if len(proper) < len(files):
        skipped = name_files(file.name for file in files if _is_localizer(file.header))
        notes = (f"Skipped {len(files) - len(proper)} localizer image(s): {skipped}.",)
    notes += acquisition_notes(proper)
    problems = identity_problems(proper) + acquisition_problems(proper) + _colour_problems(proper)
    planes: list[SlicePlane] = []
    lost: list[str] = []
    for file in proper:
        try:
            planes.extend(_planes(file))
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
    """Positions decide about tilt; a tag that says otherwise is worth a word."""
    try:
        tilt = float(header.get("GantryDetectorTilt") or 0.0)
    except (TypeError, ValueError):
        return ()
    if abs(tilt) < _TILT_TAG_TOLERANCE_DEG or any(problem.kind is ProblemKind.TILT for problem in problems):
        return ()
    return (f"The gantry tilt tag says {tilt:g}°, but the slices form a straight stack; their positions are believed.",)


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


def _numbers(holder: pydicom.Dataset, keyword: str) -> tuple[float, ...]:
    return tuple(float(value) for value in holder.get(keyword) or ())


def _planes(file: DicomFile) -> list[SlicePlane]:
    """Where the frames of `file` lie; ValueError says which tag is missing or wrong."""
    header = file.header
    count = _frame_count(header)
    if count == 1 and "PerFrameFunctionalGroupsSequence" not in header:
        return [_plane(header, file.name, header, header, header)]
    frames = header.get("PerFrameFunctionalGroupsSequence") or ()
    if len(frames) != count:
        raise ValueError(f"{count} frames but {len(frames)} functional groups")
    shared = (header.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    planes = []
    for number, frame in enumerate(frames, start=1):
        parts = [
            (frame.get(keyword) or shared.get(keyword) or [pydicom.Dataset()])[0]
            for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        ]
        planes.append(_plane(header, f"{file.name} frame {number}", *parts))
    return planes


def _plane(
    header: pydicom.Dataset, name: str, place: pydicom.Dataset, turn: pydicom.Dataset, measures: pydicom.Dataset
) -> SlicePlane:
    position = _numbers(place, "ImagePositionPatient")
    orientation = _numbers(turn, "ImageOrientationPatient")
    spacing = _numbers(measures, "PixelSpacing")
    for keyword, values, expected in (
        ("ImagePositionPatient", position, 3),
        ("ImageOrientationPatient", orientation, 6),
        ("PixelSpacing", spacing, 2),
    ):
        if len(values) != expected or not np.isfinite(values).all():
            raise ValueError(f"{keyword} is {values if values else 'missing'}")
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    if abs(row @ row - 1) > 1e-3 or abs(column @ column - 1) > 1e-3 or abs(row @ column) > 1e-3:
        raise ValueError(f"ImageOrientationPatient {orientation} is not two perpendicular unit vectors")
    if min(spacing) <= 0:
        raise ValueError(f"PixelSpacing {spacing} is not positive")
    uid = str(header.get("FrameOfReferenceUID") or "")
    return SlicePlane(name, (int(header.Rows), int(header.Columns)), position, orientation, spacing, uid)


def value_problems(series: DicomSeries, stated: str | None) -> tuple[str, ...]:
    """Why the values of `series` cannot be read as CT or MR, where the person says `stated`; empty when they can."""
    if stated is None and series.modality not in _VOLUME_MODALITIES:
        return (
            f"its modality is '{series.modality or 'blank'}', expected CT or MR. If its values are Hounsfield units "
            "(as in a cone-beam CT), say so with modality='CT'.",
        )
    return rescale_problems(series.files, series.modality, stated)
