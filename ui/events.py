"""Connect the page's events to functions of a workbench, with inputs and outputs by the names of components."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.pages import Pages
from ui import wording
from ui.layout import Parts
from ui.screen import Screen, discreet, screen
from ui.updates import Updates, late_updates, no_workbench, unchanged, updates

__all__ = ["LONG", "QUICK", "STEP", "connect", "on_step", "on_workbench"]

_log = logging.getLogger(__name__)
QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
LONG: dict[str, Any] = {"show_progress": "full", "api_visibility": "private", "concurrency_limit": 8}
"""So many pages may read a study, or wait for a job, at once; one more waits in the queue of the page."""
STEP: dict[str, Any] = {
    **QUICK,
    "trigger_mode": "multiple",  # each press counts
    "js": "(step, ...rest) => [window.medsamPlanner.nextStep(), ...rest]",  # the first input becomes the step's number
}


def connect(
    parts: Parts,
    trigger: Any,
    act: Callable[..., Updates],
    inputs: Sequence[str],
    outputs: Sequence[str],
    **options: Any,
) -> Any:
    """Call a function when an event occurs.

    Parameters
    ----------
    parts : Parts
    trigger : callable or list of callable
        Gradio's events, such as ``parts["run"].click``.
    act : callable
        Takes the values of `inputs` in their order, then what Gradio adds by type (progress, request, event); returns
        new values by the names of components.
    inputs, outputs : sequence of str
        Names of components.
    **options
        Further options of the event.

    Returns
    -------
    gradio.events.Dependency
    """

    @wraps(act)  # Gradio reads the signature
    def on_event(*values: Any) -> dict[Any, Any]:
        return {parts[name]: value for name, value in act(*values).items()}

    connected = partial(gr.on, trigger) if isinstance(trigger, list) else trigger
    return connected(on_event, parts.of(*inputs), parts.of(*outputs), **options)


def on_workbench(pages: Pages, act: Callable[..., Screen]) -> Callable[..., Updates]:
    """Make an event function of `act`: it takes the token in place of the workbench and returns the screen's values."""

    def on_event(token: str, *values: Any) -> Updates:
        try:
            workbench = pages.find(token)
        except MedsamPlannerError as error:
            return no_workbench(error)
        page = pages.page_of(workbench)
        try:
            shown = act(workbench, *values)
        except ElsewhereError as error:
            return no_workbench(error)
        except Exception:  # noqa: BLE001 - logged in full, and shown by its number
            number = secrets.token_hex(3)
            _log.exception("Unexpected error %s on the page", number)
            shown = screen(workbench, wording.notice("error", wording.UNEXPECTED.format(number)))
        if not pages.is_of(page, workbench):  # meanwhile the page got other work, or another page got this work
            return unchanged()
        shown = discreet(shown, pages.service.settings)
        return updates(shown) if workbench.gives(shown.scene["version"]) else late_updates(shown)

    return on_event


def on_step(pages: Pages, act: Callable[..., Screen]) -> Callable[..., Updates]:
    """As :func:`on_workbench`, for an action that is carried out in its order; its number comes before the token."""

    def on_event(step: float, token: str, *values: Any) -> Updates:
        return on_workbench(pages, partial(act, step=int(step)))(token, *values)

    return on_event
