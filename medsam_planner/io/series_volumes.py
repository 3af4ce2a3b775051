"""Several volumes in one series (echoes, phases, b values, time points): told apart, listed, and never guessed.

Slices belong to one volume if they agree in what the scanner states of them. A series is split only if every part is
then a regular volume of its own; otherwise it is refused as a whole.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medsam_planner.errors import AmbiguousSeriesError, StudyError
from medsam_planner.io.dicom_series import DicomSeries, describe_files
from medsam_planner.io.frame_planes import frame_count, frame_planes
from medsam_planner.io.one_acquisition import ACQUISITION, MEASURED, SAME_NUMBER, identity_problems, stated_by_frame
from medsam_planner.io.slice_stack import MIN_SLICES, Problem, ProblemKind, SlicePlane, Stack, stack_problems
from medsam_planner.io.study_files import DicomFile

__all__ = ["choose_volume", "volumes_in"]

_REPEATED = (
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "InversionTime",
    "FlipAngle",
    "StackID",
    "AcquisitionNumber",
)
"""What tells repetitions of a volume apart, in the order in which it is tried."""
_TIMES = ("AcquisitionTime", "ContentTime")
_WORDING: Mapping[str, str] = {
    "ImageType": "image type {}",
    "ComplexImageComponent": "{}",
    "EchoTime": "echo time {} ms",
    "KVP": "{} kV",
    "ConvolutionKernel": "kernel {}",
    "PatientPosition": "position {}",
    "DiffusionBValue": "b {} s/mm²",
    "DiffusionGradientOrientation": "gradient {}",
    "TemporalPositionIdentifier": "time point {}",
    "TriggerTime": "trigger time {} ms",
    "InversionTime": "inversion time {} ms",
    "FlipAngle": "flip angle {}°",
    "StackID": "stack {}",
    "AcquisitionNumber": "acquisition {}",
}
_SPLITTABLE = frozenset({ProblemKind.MIXED, ProblemKind.DUPLICATE, ProblemKind.SPACING})
_HARMLESS = frozenset({ProblemKind.TILT})
_PRIVATE_B_VALUES = ((0x0019, 0x0C, "SIEMENS MR HEADER"), (0x2001, 0x03, "Philips Imaging DD 001"))


@dataclass(frozen=True, slots=True)
class _Slice:
    """One frame of one file."""

    file: DicomFile
    number: int
    """Among all frames of the files of the series."""
    plane: SlicePlane
    values: Mapping[str, str]
    seconds: float
    """Time of day of its acquisition; NaN where none is stated."""


def choose_volume(series: DicomSeries, wanted: int | None, *, where: str) -> DicomSeries:
    """The series itself if it is one volume, or the one of its volumes that is named by its number.

    Raises
    ------
    AmbiguousSeriesError
        If it holds several volumes and none is named; the message lists them.
    StudyError
        If there is no volume of that number.
    """
    parts = volumes_in(series)
    if not parts:
        if wanted not in (None, 1):
            raise StudyError(
                f"Expected several volumes in series {series.number} of {where} to take volume {wanted} of, found one. "
                "Leave --volume out."
            )
        return series
    listed = "\n".join(f"  {number}: {part.label}" for number, part in enumerate(parts, start=1))
    if wanted is None:
        why = " And: ".join(problem.text for problem in series.problems)
        raise AmbiguousSeriesError(
            f"Series {series.number} of {where} cannot be read as one volume: {why} It holds {len(parts)} volumes; say "
            f"which with --volume NUMBER (volume=...):\n{listed}"
        )
    if not 1 <= wanted <= len(parts):
        raise StudyError(f"Expected a volume from 1 to {len(parts)} of series {series.number}, got {wanted}:\n{listed}")
    part = parts[wanted - 1]
    note = f"Volume {wanted} of the {len(parts)} of its series: {part.label}."
    return replace(part, volume=wanted, notes=(*part.notes, note))


def volumes_in(series: DicomSeries) -> tuple[DicomSeries, ...]:
    """The volumes of a series that is not one volume, in the order of what they differ in; empty if it cannot be split.

    Each says in its ``label`` what tells it apart.
    """
    kinds = {problem.kind for problem in series.problems}
    if not series.planes or not kinds & _SPLITTABLE or identity_problems(series.files):
        return ()
    slices = _slices(series)
    for names, groups in _groupings(slices):
        if len(groups) > 1 and min(len(group) for group in groups) >= MIN_SLICES:
            start = min(one.seconds for one in slices)
            parts = tuple(_part(series, group, names, start) for group in groups)
            if all({problem.kind for problem in part.problems} <= _HARMLESS for part in parts):
                return parts
    return ()


def _slices(series: DicomSeries) -> list[_Slice]:
    slices: list[_Slice] = []
    for file in series.files:
        stated = {name: list(stated_by_frame(file, name)) for name in (*ACQUISITION, *_REPEATED, *_TIMES)}
        for frame, plane in enumerate(frame_planes(file)):
            values = {name: texts[frame] for name, texts in stated.items()}
            if not values["DiffusionBValue"] and frame_count(file.header) == 1:
                values["DiffusionBValue"] = _private_b_value(file)
            time = next((values[name] for name in _TIMES if values[name]), "")
            slices.append(_Slice(file, len(slices), plane, values, _seconds(time)))
    return slices


def _private_b_value(file: DicomFile) -> str:
    for group, element, creator in _PRIVATE_B_VALUES:
        try:
            return f"{float(file.header.private_block(group, creator)[element].value):g}"
        except (KeyError, TypeError, ValueError):
            continue
    return ""


def _groupings(slices: Sequence[_Slice]) -> Iterator[tuple[tuple[str, ...], list[list[_Slice]]]]:
    """Ways to split, the simplest first: what was used, and the groups in order."""
    most = len(slices) // MIN_SLICES
    canonical = {name: _canonical(slices, name) for name in (*ACQUISITION, *_REPEATED)}
    varying = {name for name, keys in canonical.items() if 1 < len(set(keys.values())) <= most}
    always = tuple(name for name in ACQUISITION if len(set(canonical[name].values())) > 1)
    extras = [name for name in _REPEATED if name in varying]

    def grouped(names: tuple[str, ...]) -> list[list[_Slice]]:
        groups: dict[tuple[_Key, ...], list[_Slice]] = {}
        for one in slices:
            groups.setdefault(tuple(canonical[name][one.number] for name in names), []).append(one)
        return [groups[key] for key in sorted(groups)]

    if always:
        yield always, grouped(always)
    for name in extras:
        yield (*always, name), grouped((*always, name))
    for count in range(2, len(extras) + 1):
        yield (*always, *extras[:count]), grouped((*always, *extras[:count]))
    for names in ((), always) if always else ((),):
        in_time = _in_time(grouped(names))
        if in_time is not None:
            yield names, in_time


_Key = tuple[float, str]


def _canonical(slices: Sequence[_Slice], name: str) -> dict[int, _Key]:
    """By slice a key that sorts numbers as numbers; nearly equal settings are one."""
    keys: dict[int, _Key] = {}
    known: list[float] = []
    for one in slices:
        text = one.values[name]
        try:
            number = float(text)
        except ValueError:
            keys[one.number] = (math.inf, text)
            continue
        if name in MEASURED:
            number = next((other for other in known if math.isclose(other, number, rel_tol=SAME_NUMBER)), number)
            known.append(number)
        keys[one.number] = (number, "")
    return keys


def _in_time(groups: Sequence[Sequence[_Slice]]) -> list[list[_Slice]] | None:
    """Split groups whose places are all repeated equally often, if one repetition ends before the next begins."""
    result: list[list[_Slice]] = []
    for group in groups:
        by_place: dict[tuple[float, ...], list[_Slice]] = {}
        for one in group:
            by_place.setdefault(tuple(np.round(one.plane.position_lps_mm, 1) + 0.0), []).append(one)
        counts = {len(there) for there in by_place.values()}
        if len(counts) != 1 or any(math.isnan(one.seconds) for one in group):
            return None
        ordered = [sorted(there, key=lambda one: one.seconds) for there in by_place.values()]
        volumes = [[there[rank] for there in ordered] for rank in range(counts.pop())]
        for before, after in itertools.pairwise(volumes):
            if not max(one.seconds for one in before) < min(one.seconds for one in after):
                return None
        result += volumes
    return result


def _part(series: DicomSeries, group: Sequence[_Slice], names: Sequence[str], start: float) -> DicomSeries:
    files = list({id(one.file): one.file for one in group}.values())
    label = _label(group, names, start)
    if all(frame_count(file.header) == 1 for file in files):
        return replace(describe_files(series.number, files), label=label)
    chosen = sorted(group, key=lambda one: one.number)
    first = {id(file): 0 for file in series.files}
    total = 0
    for file in series.files:
        first[id(file)], total = total, total + frame_count(file.header)
    own: dict[int, int] = {}
    count = 0
    for file in files:
        own[id(file)], count = count, count + frame_count(file.header)
    planes = tuple(one.plane for one in chosen)
    problems: tuple[Problem, ...] = tuple(one for one in series.problems if one.kind is ProblemKind.COLOUR)
    problems += stack_problems(planes)
    note = None if problems else Stack.of(planes).note
    return replace(
        series,
        files=tuple(files),
        planes=planes,
        frames=tuple(one.number - first[id(one.file)] + own[id(one.file)] for one in chosen),
        problems=problems,
        notes=(*series.notes, *(() if note is None else (note,))),
        label=label,
    )


def _label(group: Sequence[_Slice], names: Sequence[str], start: float) -> str:
    """What tells a volume apart, its slices, and when it was taken."""
    told = [_WORDING[name].format(_short(group[-1].values[name])) for name in names]
    times = [one.seconds for one in group if not math.isnan(one.seconds)]
    if times and not math.isnan(start):
        begin = min(times)
        clock = f"{int(begin) // 3600:02d}:{int(begin) // 60 % 60:02d}:{begin % 60:04.1f}"
        told.append(f"at {clock} (+{begin - start:.1f} s)" if begin > start else f"at {clock}")
    return ", ".join([*told, f"{len(group)} slices"])


def _short(value: str) -> str:
    try:
        return f"{float(value):g}"
    except ValueError:
        return value or "not stated"


def _seconds(time: str) -> float:
    """Seconds since midnight of a DICOM time, or of the time in a date-time."""
    match = re.fullmatch(r"(?:\d{8})?(\d{2})(\d{2})(\d{2}(?:\.\d+)?)(?:[+-]\d{4})?", time.strip())
    if match is None:
        return math.nan
    hours, minutes, seconds = match.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
