"""What the controls of the Study tab do, free of Gradio: a workbench and values in, a screen out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from medsam_planner.errors import AmbiguousSeriesError, GantryTiltError, MedsamPlannerError
from medsam_planner.io import inspect_study
from medsam_planner.progress import Progress
from medsam_planner.service import prompting, studies
from medsam_planner.service.uploads import UploadKind
from medsam_planner.service.workbench import Workbench
from medsam_planner.workflow.study_reading import ReadingOptions
from ui import wording
from ui.run_change import attempt
from ui.screen import Screen, screen, study_notes

__all__ = ["open_study", "resume", "resume_uploaded"]

_NUMBERED = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
"""A series by its number, and perhaps a volume in it."""


def open_study(
    workbench: Workbench,
    path_text: str,
    *,
    series: str | None = None,
    resample_tilt: bool = False,
    modality: str | None = None,
    progress: Progress | None = None,
) -> Screen:
    """Open a study by path; if it holds several series, list them and open none."""

    def change() -> str:
        choice = None if series is None else _NUMBERED.fullmatch(series)
        is_file = series is not None and choice is None  # one of several NIfTI files, not a series number
        number, volume = (None, None) if choice is None else choice.groups()
        studies.open_study(
            workbench,
            f"{path_text.strip()}/{series}" if is_file else path_text,
            reading=ReadingOptions(number, None if volume is None else int(volume), resample_tilt, modality or None),
            progress=progress,
        )
        return f"Opened {workbench.require_work().study.name}. {wording.OPENED}"

    def notes() -> tuple[str, ...]:
        return (*workbench.snapshot.lost, *study_notes(workbench))

    shown_here = (AmbiguousSeriesError, GantryTiltError)
    try:
        return attempt(workbench, change, notes=notes, is_long=True, raises=shown_here, tab="segment")
    except AmbiguousSeriesError as error:
        return _offer_series(workbench, path_text, error, progress)
    except GantryTiltError as error:
        shown = screen(workbench, wording.notice("error", f"{error} {wording.TILTED}"))
        return replace(shown, offers_straightening=True)


def _offer_series(
    workbench: Workbench, path_text: str, error: AmbiguousSeriesError, progress: Progress | None
) -> Screen:
    try:
        path = studies.place_of(workbench, path_text)
        found = inspect_study(path, progress=progress)
    except MedsamPlannerError as other:
        return screen(workbench, wording.notice("error", str(other)))
    choices = []
    for one in found.series:
        is_file = one.encoding == "NIfTI"
        if is_file and not path.is_dir():  # a file in a zip has no path of its own
            continue
        for volume, label in one.choices:
            name = f"{one.number}" if volume is None else f"{one.number}, volume {volume}"
            value = f"{one.number}" if volume is None else f"{one.number}.{volume}"
            choices.append(
                (f"{name}: {one.modality}, {label}, {one.description}", one.description if is_file else value)
            )
    if not choices:
        return screen(workbench, wording.notice("error", str(error)))
    unreadable = sum(not one.choices for one in found.series)
    rest = f" ({unreadable} more cannot be read as a volume.)" if unreadable else ""
    message = f"This study holds {len(choices)} volumes. Choose one below.{rest}"
    return replace(screen(workbench, wording.notice("info", message)), series=tuple(choices))


def resume(workbench: Workbench, path: Path) -> Screen:
    """Load the prompts of a saved file."""

    def change() -> str:
        prompting.resume(workbench, path)
        return f"Loaded the prompts of {len(workbench.snapshot.structures)} structure(s) from {path.name}."

    return attempt(workbench, change)


def resume_uploaded(workbench: Workbench) -> Screen:
    """Load the prompts of the uploaded file."""
    path = workbench.uploads.find(UploadKind.PROMPTS)
    if path is None:
        return screen(workbench, wording.notice("error", "No prompts were uploaded. Choose the file again."))
    return resume(workbench, path)
