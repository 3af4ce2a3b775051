"""What a page shows that was opened, or comes back after a reload, a lost connection or a restart of the server."""

from __future__ import annotations

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.progress import Progress
from medsam_planner.service.earlier_work import Remembered
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.screen import Screen, screen, study_notes

__all__ = ["take_up", "welcome"]

_NOTHING = Remembered()


def welcome(workbench: Workbench, known: Remembered = _NOTHING) -> Screen:
    """The first screen of a page that was opened, or came back."""
    if workbench.waiting is not None:
        return screen(workbench, wording.notice("info", wording.TAKING_UP))
    if workbench.is_computing:
        said = wording.STILL_COMPUTING
    else:
        said = wording.NO_STUDY if workbench.study is None else wording.HERE_AGAIN
    tab = None if workbench.study is None else _tab(known)
    return screen(workbench, wording.notice("info", said, study_notes(workbench)), tab=tab)


def take_up(workbench: Workbench, known: Remembered = _NOTHING, *, progress: Progress | None = None) -> Screen:
    """Read the work of a page that came back where it lies on disk only, and show it."""
    if workbench.waiting is None:
        return welcome(workbench, known)
    try:
        with workbench.changing(is_long=True):
            lost = workbench.take_up(progress=progress)
    except MedsamPlannerError as error:
        told = f"{wording.NOT_TAKEN_UP} {error} {wording.OPEN_AGAIN}"
        return screen(workbench, wording.notice("error", told))
    notes = (*lost, *study_notes(workbench))
    return screen(workbench, wording.notice("error" if lost else "done", wording.HERE_AGAIN, notes), tab=_tab(known))


def _tab(known: Remembered) -> str | None:
    return None if known.shows_study else "segment"
