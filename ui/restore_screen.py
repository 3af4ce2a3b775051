"""What a page shows when it is opened, or returns after a reload, a lost connection or a restart of the server."""

from __future__ import annotations

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.progress import Progress
from medsam_planner.service.earlier_work import Remembered
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.screen import Screen, Tab, screen, study_notes

__all__ = ["restore_work", "welcome"]

_NOTHING = Remembered()


def welcome(workbench: Workbench, known: Remembered = _NOTHING) -> Screen:
    """The first screen of a page that was opened or returned."""
    if workbench.is_waiting:
        return screen(workbench, wording.notice("info", wording.RESTORING))
    has_study = workbench.work is not None
    message = wording.RESTORED if has_study else wording.NO_STUDY
    if workbench.is_computing:
        message = wording.STILL_COMPUTING
    notice = wording.notice("info", message, study_notes(workbench))
    return screen(workbench, notice, tab=_tab(known) if has_study else None)


def restore_work(workbench: Workbench, known: Remembered = _NOTHING, *, progress: Progress | None = None) -> Screen:
    """Read the saved work that the workbench has waiting on disk, and show it."""
    if not workbench.is_waiting:
        return welcome(workbench, known)
    try:
        with workbench.changing(is_long=True):
            workbench.refresh(progress=progress)
    except ElsewhereError:
        raise
    except MedsamPlannerError as error:
        return screen(workbench, wording.notice("error", f"{wording.NOT_RESTORED} {error}"))
    lost = workbench.snapshot.lost
    notice = wording.notice("error" if lost else "done", wording.RESTORED, (*lost, *study_notes(workbench)))
    return screen(workbench, notice, tab=_tab(known))


def _tab(known: Remembered) -> Tab | None:
    return None if known.shows_study else "segment"
