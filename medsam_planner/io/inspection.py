"""List the series of a study with the same checks as the reader, except decoding of DICOM pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import get_decoder

from medsam_planner.errors import StudyError
from medsam_planner.geometry import axis_letters, spacing_mm
from medsam_planner.io.dicom_series import DicomSeries, group_series, value_problems
from medsam_planner.io.loading import opened_study
from medsam_planner.io.nifti import read_nifti
from medsam_planner.io.series_volumes import volumes_in
from medsam_planner.io.slice_stack import TILT_ADVICE, ProblemKind, stack_affine
from medsam_planner.io.stored_pixels import check_stored
from medsam_planner.io.study_files import StudyFiles, file_meta
from medsam_planner.progress import Progress, track

__all__ = ["SeriesSummary", "StudySummary", "inspect_files", "inspect_study"]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesSummary:
    """One series, or one NIfTI file."""

    number: int
    """Number for ``series=`` and ``--series``."""
    modality: str
    description: str
    series_instance_uid: str
    file_count: int
    shape: tuple[int, ...]
    """Slices, rows, columns for DICOM; array axes as stored for NIfTI."""
    affine: NDArray[np.float64] | None = None
    """Index to LPS mm, or None when there is no one grid."""
    encoding: str = ""
    """Transfer syntax, or ``"NIfTI"``."""
    problems: tuple[str, ...] = ()
    """Why it cannot be read; empty when it can."""
    notes: tuple[str, ...] = ()
    modality_is_inferred: bool = False
    volumes: tuple[str, ...] = ()
    """What tells the volumes apart where the series holds several, in the order of their numbers."""

    @property
    def choices(self) -> tuple[tuple[int | None, str], ...]:
        """Number and label of each volume that can be read of it; None for the number where it is one volume."""
        if self.volumes:
            return tuple(enumerate(self.volumes, start=1))
        return () if self.problems else ((None, self._size),)

    @property
    def _size(self) -> str:
        return " × ".join(str(count) for count in self.shape)

    def as_text(self) -> str:
        """A few lines of text."""
        guess = " (inferred from the values)" if self.modality_is_inferred else ""
        lines = [
            f"{self.number}: {self.modality or 'no modality'}{guess}, {self.file_count} file(s), "
            f"{self._size}, '{self.description}'",
            f"   UID {self.series_instance_uid or '(blank)'}, {self.encoding}",
        ]
        if self.affine is not None:
            spacing = " × ".join(f"{value:.4g}" for value in spacing_mm(self.affine))
            letters = ", ".join(f"{low}→{high}" for low, high in axis_letters(self.affine))
            origin = ", ".join(f"{value:.2f}" for value in self.affine[:3, 3])
            lines.append(f"   spacing {spacing} mm, axes {letters}, first voxel at LPS ({origin}) mm")
        lines += [f"   note: {note}" for note in self.notes]
        lines += [f"   PROBLEM: {problem}" for problem in self.problems]
        if self.volumes:
            lines.append(f"   It holds {len(self.volumes)} volumes; name one with --volume NUMBER:")
            lines += [f"     {number}: {volume}" for number, volume in self.choices]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class StudySummary:
    """Everything found under one path."""

    path: Path
    series: tuple[SeriesSummary, ...] = ()
    damaged: tuple[tuple[str, str], ...] = ()
    """Name and reason of files that cannot be read at all."""
    ignored_count_by_kind: dict[str, int] = field(default_factory=dict)

    @property
    def can_be_read(self) -> bool:
        """Whether there is a volume, be it one of several in a series."""
        return any(series.choices for series in self.series)

    @property
    def readable(self) -> tuple[SeriesSummary, ...]:
        """Series without problems."""
        return tuple(series for series in self.series if not series.problems)

    def as_text(self) -> str:
        """The whole table as text."""
        lines = [str(self.path), *(series.as_text() for series in self.series)]
        lines += [f"DAMAGED: {name}: {reason}" for name, reason in self.damaged]
        if self.ignored_count_by_kind:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.ignored_count_by_kind.items()))
            lines.append(f"Files that hold no image: {kinds}.")
        if not self.series:
            lines.append("No image series found.")
        elif len(self.readable) > 1:
            how = "name the file itself" if self.readable[0].encoding == "NIfTI" else "name one with --series NUMBER"
            lines.append(f"Several volumes can be read: {how}.")
        return "\n".join(lines)


def inspect_study(path: str | Path, *, progress: Progress | None = None) -> StudySummary:
    """List the series under `path` with geometry and problems.

    Raises
    ------
    StudyError
        If `path` does not exist or is no kind of study at all.
    """
    place = Path(path)
    with opened_study(place, progress=progress) as study:
        series = inspect_files(study, progress=progress)
        return StudySummary(place, series, study.damaged, dict(study.ignored_count_by_kind))


def inspect_files(study: StudyFiles, *, progress: Progress | None = None) -> tuple[SeriesSummary, ...]:
    """The series and NIfTI files among files whose headers were read."""
    dicom = [_summarise(series, progress) for series in group_series(study.images)]
    nifti = [_summarise_nifti(number, *file) for number, file in enumerate(study.niftis, start=len(dicom) + 1)]
    return (*dicom, *nifti)


def _summarise(series: DicomSeries, progress: Progress | None) -> SeriesSummary:
    problems = [problem.text for problem in series.problems]
    if [problem.kind for problem in series.problems] == [ProblemKind.TILT]:
        problems[0] += f" {TILT_ADVICE}"
    problems += value_problems(series, None)
    syntax = file_meta(series.files[0].header).get("TransferSyntaxUID")
    if syntax is not None and syntax.is_compressed and not _can_decode(syntax):
        problems.append(f"no installed decoder reads its encoding ({syntax.name}).")
    problems += _stored_problems(series, progress)
    return SeriesSummary(
        number=series.number,
        modality=series.modality,
        description=series.description,
        series_instance_uid=series.series_instance_uid,
        file_count=len(series.files),
        shape=series.shape,
        affine=None if series.problems else stack_affine(series.planes),
        encoding=syntax.name if syntax is not None else "Implicit VR Little Endian",
        problems=tuple(problems),
        notes=series.notes,
        volumes=tuple(part.label for part in volumes_in(series)),
    )


def _stored_problems(series: DicomSeries, progress: Progress | None) -> list[str]:
    """Files whose pixel data contradict their headers: the first is named, the others are counted."""
    faults = []
    for file in track(series.files, "Checking pixels", progress):
        try:
            check_stored(file)
        except StudyError as error:
            faults.append(str(error))
    return faults[:1] + [f"{len(faults) - 1} more of {len(series.files)} files are like that."] * (len(faults) > 1)


def _can_decode(syntax: pydicom.uid.UID) -> bool:
    if not syntax.is_encapsulated:
        return True
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _summarise_nifti(number: int, file: Path, name: str) -> SeriesSummary:
    try:
        volume = read_nifti(file, name=name, path=file)
    except StudyError as error:
        return SeriesSummary(number, "", name, "", 1, (), encoding="NIfTI", problems=(str(error),))
    source = volume.source
    return SeriesSummary(
        number=number,
        modality=source.modality if source is not None else "",
        description=name,
        series_instance_uid="",
        file_count=1,
        shape=tuple(int(n) for n in volume.spatial_shape),
        affine=volume.affine,
        encoding="NIfTI",
        modality_is_inferred=True,
        notes=source.notes if source is not None else (),
    )
