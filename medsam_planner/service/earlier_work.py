"""How a page finds sessions: the one in its address, and those that the person may continue."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.core.actors import LOCAL, Actor
from medsam_planner.service.core.on_behalf import OnBehalf
from medsam_planner.service.core.work import Work
from medsam_planner.service.pages import Pages
from medsam_planner.service.workbench import Workbench

__all__ = ["Remembered", "begin", "earlier_work"]

_MOST_OFFERED = 8
_KEY = re.compile(r"[A-Za-z0-9_-]{24,64}")


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a page that was opened or returned knows."""

    here: str = ""
    """:attr:`Workbench.key`, from its address."""
    shows_study: bool = False
    """Whether the page already shows a study, and so stays on its tab."""

    @classmethod
    def from_browser(cls, text: str) -> Remembered:
        """Parse what the page sent; malformed text counts as nothing."""
        try:
            document = json.loads(text)
            here = str(document["here"])
            return cls(here if _KEY.fullmatch(here) else "", document.get("shows") is True)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()


def begin(pages: Pages, page: str, remembered: Remembered, actor: Actor = LOCAL) -> Workbench:
    """The workbench for a page that was opened, reloaded or reached again: with the session in its address, if any.

    A page that still holds that session keeps its workbench: what it has asked for is not refused, but answered yet.

    Raises
    ------
    AtCapacityError
        If as many sessions are held as the server allows.
    """
    known = pages.of_page(page)
    is_own = known is not None and known.work is not None and known.own.actor == actor
    if known is not None and is_own and known.key == remembered.here and not known.is_elsewhere:
        with suppress(MedsamPlannerError):  # it is then told when the page acts
            known.refresh()
        return known
    return pages.take_up(page, remembered.here, actor) or pages.of_page(page) or pages.begin(page, actor)


def earlier_work(pages: Pages, actor: Actor, *, but: str) -> list[tuple[str, str]]:
    """Label and identifier of the sessions that the person worked on last, except the one with identifier `but`."""
    own = (work for work in OnBehalf(pages.service, actor).sessions() if work.state.n > 1 and work.identifier != but)
    return [(_label(work), work.identifier) for work, _ in zip(own, range(_MOST_OFFERED), strict=False)]


def _label(work: Work) -> str:
    """Text by which a person can tell a session from others."""
    names = ", ".join(work.state.listed) or "no prompts"
    at = datetime.fromisoformat(work.state.at).astimezone()
    return f"{work.study.name}: {names} ({at:%d %b %Y, %H:%M})"
