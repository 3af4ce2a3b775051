"""A screen as values of the page's components, by the component's name."""

from __future__ import annotations

from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.held_session import ElsewhereError
from medsam_planner.service.pages import EvictedError
from ui import wording
from ui.canvas import closed_scene
from ui.screen import Screen

__all__ = ["SHOWN", "Updates", "late_updates", "no_workbench", "unchanged", "updates"]

Updates = dict[str, Any]
"""New values by name of a component; the other components stay as they are."""


def updates(screen: Screen) -> Updates:
    """Every component that shows the state of a workbench, with its value."""
    return {
        "viewer": screen.scene,
        "notice": screen.notice,
        "study": screen.study,
        "series": gr.update(choices=list(screen.series or ()), value=None, visible=screen.series is not None),
        "straighten": gr.update(visible=screen.offers_straightening, value=False),
        "undo": gr.update(interactive=screen.can_undo),
        "redo": gr.update(interactive=screen.can_redo),
        "clear": gr.update(interactive=screen.can_clear),
        "run": gr.update(interactive=screen.can_run),
        "structures": screen.structures,
        "result": screen.result,
        "tabs": gr.skip() if screen.tab is None else gr.update(selected=screen.tab),
        "plan_summary": screen.plan_summary,
        "choice": gr.update(choices=list(screen.alternatives), value=screen.chosen, visible=bool(screen.alternatives)),
        "links": screen.links,
        "download": screen.download,
    }


SHOWN = tuple(updates(Screen(scene={}, notice="", study="", structures={}, result="")))
"""Names of the components in :func:`updates`."""
_SAID = ("viewer", "notice", "tabs")


def late_updates(screen: Screen) -> Updates:
    """What remains of a screen that is older than one the page was given: its words, and what it asks of the viewer.

    One without words leaves those of the newer one.
    """
    said = {name: value for name, value in updates(screen).items() if name in _SAID}
    return said | ({"notice": gr.skip()} if screen.notice == wording.notice("done", "") else {})


def unchanged() -> Updates:
    """Leave every component as it is."""
    return {"notice": gr.skip()}  # Gradio does not accept an empty dictionary


def no_workbench(error: MedsamPlannerError) -> Updates:
    """Say why the page has no workbench, and show no slice, because it could be neither scrolled nor prompted."""
    is_evicted = isinstance(error, EvictedError)
    message = wording.EVICTED if is_evicted else str(error)
    flags = {"is_evicted": is_evicted, "is_elsewhere": isinstance(error, ElsewhereError)}
    return {"notice": wording.notice("error", message), "viewer": closed_scene(message) | flags}
