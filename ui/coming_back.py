"""A page that comes back, after a reload, a lost connection or a restart of the server, finds its work."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.progress import Progress
from ui import kept, wording
from ui.handlers import Screen, screen, study_notes
from ui.registry import Registry
from ui.workbench import Workbench

__all__ = ["Remembered", "begin", "earlier_work", "take_up", "welcome"]

_MOST_OFFERED = 8
_KEY = re.compile(r"[A-Za-z0-9_-]{24,64}")


@dataclass(frozen=True, slots=True)
class Remembered:
    """Keys of works that the browser remembers; whoever knows one may take that work up."""

    here: str = ""
    """Of this window."""
    others: tuple[str, ...] = ()
    """Of all its windows, the newest first."""
    shows_study: bool = False
    """Whether the page shows a study: it was there all along, and stays on its tab."""

    @classmethod
    def from_browser(cls, text: str) -> Remembered:
        """Read what the page sent; what is not understood counts as nothing."""
        try:
            told = json.loads(text)
            here, *others = (str(key) if _KEY.fullmatch(str(key)) else "" for key in (told["here"], *told["others"]))
            return cls(here, tuple(others[:_MOST_OFFERED]), told.get("shows") is True)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()


_NOTHING = Remembered()


def begin(registry: Registry, page: str, remembered: Remembered) -> Workbench:
    """The workbench for a page that was opened or comes back: that of its work before, where there is one."""
    return registry.take_up(page, remembered.here) or registry.of_page(page) or registry.begin(page)


def earlier_work(registry: Registry, remembered: Remembered, *, but: str) -> list[tuple[str, str]]:
    """Label and key of works that can be offered, but for the one the page has."""
    offered = []
    for key in remembered.others:
        folder = None if key == but else kept.find_work(registry.settings.out, key)
        if folder is not None:
            try:
                offered.append((kept.read_work(folder).label, key))
            except MedsamPlannerError:
                continue  # damaged: it cannot be taken up
    return offered


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
