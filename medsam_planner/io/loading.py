"""Load a study: a DICOM folder, a zip, a single multi-frame file, or NIfTI."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medsam_planner.errors import AmbiguousSeriesError, StudyError
from medsam_planner.io.archive import unpack_archive
from medsam_planner.io.dicom_reader import read_dicom_series
from medsam_planner.io.nifti import read_nifti
from medsam_planner.io.series_choice import choose_series
from medsam_planner.io.series_volumes import choose_volume
from medsam_planner.io.study_files import StudyFiles, file_kind, name_files, scan_files, walk_files
from medsam_planner.progress import Progress
from medsam_planner.volumes import StudyVolume

__all__ = ["load_map", "load_volume", "opened_study"]


def load_volume(
    path: str | Path,
    *,
    series: str | None = None,
    volume: int | None = None,
    resample_tilt: bool = False,
    modality: str | None = None,
    progress: Progress | None = None,
) -> StudyVolume:
    """Read a study as one volume in LPS mm, float32 (CT: HU), with its ``.source``.

    Parameters
    ----------
    path
        Folder of DICOM files (searched to the bottom), zip of one, single DICOM file, .nii or .nii.gz.
    series
        Which series, when there are several: its number in the table, its UID, or its description.
    volume
        Which volume, when one series holds several (echoes, phases, time points): its number in the list.
    resample_tilt
        Resample a stack with gantry tilt to a straight grid instead of refusing it.
    modality
        ``"CT"`` (values are HU) or ``"MR"``: states what NIfTI cannot say, and overrides what DICOM says.

    Raises
    ------
    AmbiguousSeriesError
        If there are several series or volumes and none is named, or several NIfTI files; the message lists them.
    GantryTiltError
        If the stack is sheared and `resample_tilt` is not set.
    StudyError
        If the files are not one regular scalar volume; the message names the files and what to do.
    """
    place = Path(path)
    if modality is not None and modality not in ("CT", "MR"):
        raise StudyError(f"Expected modality 'CT' or 'MR', got '{modality}'.")
    with opened_study(place, progress=progress) as study:
        if study.images or study.damaged:
            _refuse_damaged(study, place)
            chosen = choose_series(study, series, where=str(place))
            ignored = study.ignored_text()
            try:
                chosen = choose_volume(chosen, volume, where=str(place))
                read = read_dicom_series(
                    chosen, path=place, resample_tilt=resample_tilt, modality=modality, progress=progress
                )
            except StudyError as error:
                if ignored:
                    raise type(error)(f"{error} (Ignored files in {place}: {ignored}.)") from error
                raise
            if ignored and read.source is not None:
                notes = (*read.source.notes, f"Ignored files: {ignored}.")
                read.source = dataclasses.replace(read.source, notes=notes)
            return read
        if study.niftis and series is not None:
            raise StudyError(f"Expected the DICOM series '{series}', but {place} is NIfTI, which has no series.")
        if study.niftis and volume not in (None, 1):
            raise StudyError(f"Expected a DICOM series of several volumes for volume {volume}, but {place} is NIfTI.")
        if len(study.niftis) == 1:
            file, name = study.niftis[0]
            return read_nifti(file, name=name, path=place, resample_tilt=resample_tilt, modality=modality)
    if study.niftis:
        names = name_files(name for _, name in study.niftis)
        raise AmbiguousSeriesError(
            f"Expected one study in {place}, found {len(study.niftis)} NIfTI files ({names}). Name the file itself."
        )
    raise StudyError(_nothing_to_read(study, place))


def load_map(path: str | Path) -> StudyVolume:
    """Read a mask or a map as :func:`load_volume` reads a study; it has no modality and may hold one value everywhere.

    Raises
    ------
    StudyError
        As :func:`load_volume`.
    """
    place = Path(path)
    with opened_study(place) as study:
        if len(study.niftis) == 1 and not (study.images or study.damaged):
            file, name = study.niftis[0]
            return read_nifti(file, name=name, path=place, is_scan=False)
    return load_volume(place)


@contextmanager
def opened_study(place: Path, *, progress: Progress | None = None) -> Iterator[StudyFiles]:
    """The files of a study, unpacked for as long as the context lasts.

    Raises
    ------
    StudyError
        If `place` does not exist or is no kind of study.
    """
    if not place.exists():
        raise StudyError(f"Expected a DICOM folder, a zip, a DICOM file or a NIfTI file; {place} does not exist.")
    if place.is_dir():
        yield scan_files(walk_files(place), progress=progress)
        return
    if not place.is_file():
        raise StudyError(
            f"Expected a DICOM folder, a zip, a DICOM file or a NIfTI file; {place} is no regular file (a pipe, "
            "socket or device). Save what comes from it to a file first."
        )
    try:
        kind = file_kind(place)
    except OSError as error:
        raise StudyError(f"{place} cannot be opened: {error.strerror or error}.") from error
    if kind == "zip":
        with tempfile.TemporaryDirectory(prefix="medsam-planner-") as folder:
            yield scan_files(unpack_archive(place, Path(folder), progress=progress), progress=progress)
        return
    if kind == "other":
        raise StudyError(
            f"Expected a DICOM folder, a zip, a DICOM file or a NIfTI file; by its content {place.name} is "
            "none of these."
        )
    yield scan_files([(place, place.name)], progress=progress)


def _refuse_damaged(study: StudyFiles, place: Path) -> None:
    if study.damaged:
        listed = name_files((f"{name} ({reason})" for name, reason in study.damaged), most=3)
        raise StudyError(
            f"{len(study.damaged)} DICOM file(s) in {place} are damaged: {listed}. A slice may be lost with them: "
            "copy the study again, or move these files away if they do not belong to it."
        )


def _nothing_to_read(study: StudyFiles, place: Path) -> str:
    ignored = study.ignored_text()
    if not ignored:
        return f"Expected the DICOM files of a series, {place} is empty."
    return f"Expected the DICOM images of a CT or MR series in {place}, found only: {ignored}."
