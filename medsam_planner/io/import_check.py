"""Check a whole archive: what can be read, what is refused and why, without loading any study.

The headers are read once and sorted into series, wherever the files lie; then each series is checked by itself with the
rules of the reader. What was found is kept on disk, so that memory holds one series for each process, and a repeated
call looks only at what is new.
"""

from __future__ import annotations

import csv
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pydicom

from medsam_planner.errors import OutputError, StudyError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io.files import whole_file
from medsam_planner.io.import_index import CheckedRow, ImportIndex, IndexedFile, Unit
from medsam_planner.io.inspection import SeriesSummary, inspect_files, inspect_study
from medsam_planner.io.output_folder import alone_in, open_run_folder, require_apart
from medsam_planner.io.parallel import parallel_map
from medsam_planner.io.spreadsheet import spreadsheet_cell
from medsam_planner.io.study_files import (
    READ_ERRORS,
    file_kind,
    header_text,
    iterate_files,
    quiet_pydicom,
    scan_files,
)
from medsam_planner.progress import Progress, track

__all__ = ["ImportCheck", "check_archive"]

TABLE = "import-check.csv"
_INDEX = "import-check.sqlite"
_BATCH = 64
_REASON_LENGTH = 100
_UIDS = ["StudyInstanceUID", "SeriesInstanceUID"]


@dataclass(frozen=True, slots=True)
class ImportCheck:
    """What a check found."""

    table: Path
    count_by_status: Mapping[str, int]
    """Series (and other rows of the table)."""
    count_by_reason: Mapping[str, int]
    """Refused and damaged rows, by the beginning of the first reason."""
    newly_checked: int
    """Rows' units that this call checked; the others were known."""


def check_archive(folder: Path, out: Path, *, workers: int = 1, progress: Progress | None = None) -> ImportCheck:
    """Check every series below `folder`, and write ``import-check.csv`` with one row for each.

    Parameters
    ----------
    folder : Path
        Any number of studies, in folders and zips.
    out : Path
        Folder for the table and the index, outside `folder`. With the index of an earlier call only what is new or
        has changed is checked.
    workers : int
        Processes.
    progress : Progress, optional

    Raises
    ------
    StudyError
        If `folder` is no folder.
    OutputError
        If `out` lies in `folder`, cannot be written, or holds the table of another archive or of another program.
    """
    if not folder.is_dir():
        raise StudyError(f"Expected a folder with studies to check; {folder} is no folder.")
    require_apart(out, [folder])
    open_run_folder(out)
    if (out / TABLE).exists() and not (out / _INDEX).exists():
        raise OutputError(f"{out / TABLE} was not written by this command. Name another folder, or move it away.")
    checked = 0
    with alone_in(out), ImportIndex(out / _INDEX, folder, version("medsam-planner")) as index:
        _index_files(index, folder, workers, progress)
        results = parallel_map(partial(_check_unit, folder), index.open_units(), workers=workers, lost=_lost_unit)
        for unit, rows in track(results, "Checking series", progress, total=index.open_count()):
            index.keep(unit, rows)
            checked += 1
        return _written(out / TABLE, index.rows(), checked)


def _index_files(index: ImportIndex, folder: Path, workers: int, progress: Progress | None) -> None:
    count = sum(1 for _ in iterate_files(folder))
    listed = track(_listed(folder), "Indexing files", progress, total=count)
    batches = (index.unknown(batch) for batch in _batches(listed))
    new = (batch for batch in batches if batch)
    found = parallel_map(partial(_units_of, folder), new, workers=workers, lost=_lost_batch)
    for units in found:
        index.add(units)
    index.forget_absent()


def _listed(folder: Path) -> Iterator[IndexedFile]:
    for path, name in iterate_files(folder):
        try:
            state = path.stat()
            yield IndexedFile(name, state.st_size, state.st_mtime_ns)
        except OSError:  # a broken link: a lost slice, which the check of its unit names
            yield IndexedFile(name, -1, 0)


def _batches(files: Iterable[IndexedFile]) -> Iterator[list[IndexedFile]]:
    iterator = iter(files)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _units_of(folder: Path, files: list[IndexedFile]) -> list[tuple[IndexedFile, str]]:
    return [(file, _unit_key(folder / file.name, file.name)) for file in files]


def _lost_batch(files: list[IndexedFile]) -> list[tuple[IndexedFile, str]]:
    return [(file, f"file {file.name}") for file in files]


def _unit_key(path: Path, name: str) -> str:
    """Files with one key are checked together."""
    place = name.rpartition("/")[0]
    try:
        kind = file_kind(path)
        if kind == "other":
            return f"no image {place}"
        if kind != "dicom":
            return f"file {name}"
        with quiet_pydicom():
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=_UIDS)
        study, series = (header_text(header, keyword) for keyword in _UIDS)
    except READ_ERRORS:
        return f"no image {place}"
    return f"series {study} {series}" if series else f"series {study} of {place}"


def _check_unit(folder: Path, unit: Unit) -> tuple[Unit, list[CheckedRow]]:
    """The unit and its rows; never raises for what its files hold."""
    try:
        return unit, _rows_of(folder, unit)
    except StudyError as error:
        reason = str(error)
    except Exception as error:  # one series must not end the check of an archive  # noqa: BLE001
        reason = f"unexpected error, a bug: {error!r}"
    return unit, [CheckedRow("refused", _where(unit), files=len(unit.names), reason=reason)]


def _where(unit: Unit) -> str:
    """The file, or the folder that all files lie below."""
    if len(unit.names) == 1:
        return unit.names[0]
    return os.path.commonpath([f"./{name.rpartition('/')[0]}" for name in unit.names]) or "."


def _rows_of(folder: Path, unit: Unit) -> list[CheckedRow]:
    where = _where(unit)
    paths = [(folder / name, name) for name in unit.names]
    if unit.key.startswith("file "):
        found = inspect_study(paths[0][0])
        rows = [_row(series, where, "") for series in found.series]
        damaged, ignored = found.damaged, found.ignored_count_by_kind
    else:
        study = scan_files(paths)
        uid = header_text(study.images[0].header, "StudyInstanceUID") if study.images else ""
        rows = [_row(series, where, uid) for series in inspect_files(study)]
        damaged, ignored = study.damaged, study.ignored_count_by_kind
    if damaged:
        reason = f"{damaged[0][0]}: {damaged[0][1]}"
        rows.append(CheckedRow("damaged", where, files=len(damaged), reason=reason))
    rows += [CheckedRow("no image", where, files=count, reason=kind) for kind, count in sorted(ignored.items())]
    return rows


def _lost_unit(unit: Unit) -> tuple[Unit, list[CheckedRow]]:
    reason = "the process that checked it ended (a decoder crashed, or memory ran out)."
    return unit, [CheckedRow("refused", _where(unit), files=len(unit.names), reason=reason)]


def _row(series: SeriesSummary, where: str, study: str) -> CheckedRow:
    status = "several volumes" if series.volumes else "refused" if series.problems else "readable"
    return CheckedRow(
        status=status,
        where=where,
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=study,
        modality=series.modality,
        description=series.description,
        files=series.file_count,
        shape=" × ".join(str(count) for count in series.shape),
        spacing_mm="" if series.affine is None else " × ".join(f"{step:.4g}" for step in spacing_mm(series.affine)),
        encoding=series.encoding,
        volumes=len(series.volumes) or 1,
        reason=" And: ".join(series.problems),
        notes=" ".join(series.notes),
    )


def _written(path: Path, rows: Iterable[CheckedRow], checked: int) -> ImportCheck:
    """Write the table row by row, and count."""
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    names = [field.name for field in fields(CheckedRow)]
    with whole_file(path) as stream:
        stream.write(_line(names))
        for row in rows:
            statuses[row.status] += 1
            if row.status in ("refused", "damaged"):
                reasons[_short(row)] += 1
            stream.write(_line([getattr(row, name) for name in names]))
    return ImportCheck(path, dict(statuses), dict(reasons.most_common()), checked)


def _short(row: CheckedRow) -> str:
    """The reason without its numbers, and of damaged files without the name, so that like cases are counted as one."""
    reason = row.reason.partition(": ")[2] if row.status == "damaged" else row.reason.partition(" And: ")[0]
    return re.sub(r"\d+", "#", reason)[:_REASON_LENGTH]


class _Line:
    """Takes what the CSV writer writes."""

    text = ""

    def write(self, text: str) -> None:
        self.text += text


def _line(cells: Iterable[object]) -> bytes:
    """One line of CSV; a text that a spreadsheet would compute is marked as text."""
    line = _Line()
    csv.writer(line, lineterminator="\n").writerow(map(spreadsheet_cell, cells))
    return line.text.encode("utf-8", "backslashreplace")  # names of files may hold bytes of no encoding
