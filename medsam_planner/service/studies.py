"""Open a study on a page, or take up the session on one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from medsam_planner.progress import Progress
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.uploads import require_free
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.study_reading import PLAIN_READING, ReadingOptions

__all__ = ["open_study", "place_of"]


def place_of(workbench: Workbench, text: str) -> Path:
    """Path of the study that was typed or uploaded.

    Raises
    ------
    StudyError, UploadRefusedError
        If it may not be read, or is not there.
    """
    return workbench.uploads.study(text.strip()) or workbench.service.settings.allowed(text)


def open_study(
    workbench: Workbench,
    text: str,
    *,
    reading: ReadingOptions = PLAIN_READING,
    progress: Progress | None = None,
) -> None:
    """Read a study and begin a session on it; the one before stays on the server.

    Parameters
    ----------
    workbench : Workbench
    text : str
        A path within the allowed folders, or the displayed name of an upload.
    reading : ReadingOptions, optional
        Which of several series and volumes, and how it is corrected.
    progress : Progress, optional

    Raises
    ------
    StudyError
        If the study cannot be read as one volume, or its folder contains the server's data.
    WeightsError, AtCapacityError
    """
    workbench.own.require_annotator()
    service, uploaded = workbench.service, workbench.uploads.study(text.strip())
    study: StoredStudy
    if uploaded is None:
        study = workbench.own.open_path(text, reading=reading, progress=progress)
    else:
        size = sum(one.stat().st_size for one in (uploaded, *uploaded.rglob("*")))
        require_free(service.data, size)
        with service.upload_folder() as (identifier, folder):
            place = _linked(uploaded, folder)
            study = workbench.own.open_upload(identifier, place, reading=reading, progress=progress)
    workbench.give_back()  # first, so that a server with room for one more has it
    workbench.refresh(workbench.own.open_session(study.identifier), progress=progress)


def _linked(source: Path, folder: Path) -> Path:
    """A file, or a folder of files, in another folder, too."""
    place = folder / source.name
    if source.is_dir():
        shutil.copytree(source, place, copy_function=_link)
    else:
        _link(source, place)
    return place


def _link(file: str | Path, place: str | Path) -> None:
    """Link a file; copy it where the two are on different disks."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)
