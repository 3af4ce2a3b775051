"""Choose the series of a study that is to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from medsam_planner.errors import AmbiguousSeriesError, StudyError
from medsam_planner.io.dicom_series import DicomSeries, group_series
from medsam_planner.io.study_files import StudyFiles

__all__ = ["choose_series", "series_table"]


def choose_series(study: StudyFiles, wanted: str | None, *, where: str) -> DicomSeries:
    """Return the only series that can be a volume, or the one named by number, UID or unique description.

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
        return replace(possible[0], notes=(*possible[0].notes, *notes))
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
