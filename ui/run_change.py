"""Make one change to a workbench and show the page; an error becomes a message on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from medsam_planner.errors import MedsamPlannerError, OperationCancelledError
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.screen import Screen, screen
from ui.wording import NoticeKind

__all__ = ["attempt"]


def attempt(
    workbench: Workbench,
    change: Callable[[], str | None],
    *,
    message: str = "",
    kind: Callable[[], NoticeKind] = lambda: "done",
    notes: Callable[[], Iterable[str]] = tuple,
    step: int | None = None,
    after: int = 0,
    is_long: bool = False,
    raises: tuple[type[MedsamPlannerError], ...] = (),
    **screen_options: Any,
) -> Screen:
    """Make one change and show the page. An error of this software is shown in words, and nothing is lost.

    Parameters
    ----------
    workbench : Workbench
    change : callable
        May return a message that replaces `message`.
    message : str
        Shown when the change is made.
    kind : callable
        Gives the kind of the notice, after the change.
    notes : callable
        Gives notes on the change, after it.
    step : int, optional
        Number of the change among the steps of the page, which are carried out in their order.
    after : int
        Last step that must come before a change without a number of its own.
    is_long : bool
        Whether Stop can cancel it.
    raises : tuple of type
        Errors that the caller shows.
    **screen_options
        Options of :func:`ui.screen.screen`.

    Returns
    -------
    Screen
    """
    try:
        workbench.steps.wait_after(after)
        with workbench.changing(step=step, is_long=is_long):
            message = change() or message
            shown = screen(workbench, wording.notice(kind(), message, notes()), **screen_options)
    except OperationCancelledError:
        return screen(workbench, wording.notice("info", wording.STOPPED))
    except MedsamPlannerError as error:
        if isinstance(error, (ElsewhereError, *raises)):
            raise
        return screen(workbench, wording.notice("error", str(error)))
    return shown
