"""Earlier work of a browser: the keys it remembers, and the workbench it gets back."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import saved_work
from medsam_planner.service.sessions import Sessions
from medsam_planner.service.workbench import Workbench

__all__ = ["Remembered", "begin", "earlier_work"]

_MOST_OFFERED = 8
_KEY = re.compile(r"[A-Za-z0-9_-]{24,64}")


@dataclass(frozen=True, slots=True)
class Remembered:
    """Keys of works that a browser remembers; whoever knows a key may take that work up."""

    here: str = ""
    """Key of the work in this window."""
    others: tuple[str, ...] = ()
    """Keys of the works in all its windows, newest first."""
    shows_study: bool = False
    """Whether the page already shows a study, and so stays on its tab."""

    @classmethod
    def from_browser(cls, text: str) -> Remembered:
        """Parse what the page sent; malformed text counts as no key."""
        try:
            document = json.loads(text)
            here, *others = (
                str(key) if _KEY.fullmatch(str(key)) else "" for key in (document["here"], *document["others"])
            )
            return cls(here, tuple(others[:_MOST_OFFERED]), document.get("shows") is True)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()


def begin(sessions: Sessions, page: str, remembered: Remembered) -> Workbench:
    """The workbench for a page that was opened or reloaded: that of its earlier work, if there is any."""
    return sessions.restore_work(page, remembered.here) or sessions.of_page(page) or sessions.begin(page)


def earlier_work(sessions: Sessions, remembered: Remembered, *, but: str) -> list[tuple[str, str]]:
    """Label and key of each work that can be restored, except the one with key `but`."""
    offered = []
    for key in remembered.others:
        folder = None if key == but else saved_work.find_work(sessions.settings.out, key)
        if folder is not None:
            try:
                offered.append((saved_work.read_work(folder).label, key))
            except MedsamPlannerError:
                continue  # damaged: it cannot be restored
    return offered
