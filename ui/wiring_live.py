"""Which event of what follows a prompt calls which handler: a job that ended, and the passes that come after a mask."""

from __future__ import annotations

from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.segmentation.limits import check_samples
from medsam_planner.service import live
from medsam_planner.service.live_settings import LiveSettings
from medsam_planner.service.pages import Pages
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.events import QUICK, connect, on_workbench
from ui.layout import Parts
from ui.screen import Screen, screen
from ui.updates import SHOWN, Updates

__all__ = ["PASSES_CONTROLS", "entered_passes", "wire_live"]

PASSES_CONTROLS = ("samples", "sources", "triplanar")
"""Names of the controls that say which passes follow a mask."""
_MOVED = tuple(name for name in SHOWN if name not in ("notice", "tabs", "series", "straighten"))
"""What a result changes on the page; a message that a person is reading stays."""


def wire_live(pages: Pages, parts: Parts) -> None:
    """Connect the events."""

    def moved(token: str) -> Updates:
        shown = on_workbench(pages, _shown)(token)
        return {name: value for name, value in shown.items() if name in _MOVED or (name == "notice" and value)}

    outputs = ("notice", *_MOVED)
    connect(parts, parts["viewer"].live_moved, moved, ("token",), outputs, trigger_mode="always_last", **QUICK)

    def set_passes(token: str, samples: float, sources: list[str], triplanar: bool) -> Updates:
        try:
            workbench = pages.find(token)
            if workbench.work is None or workbench.is_waiting:  # nothing is open that could keep it
                return {"notice": gr.skip()}
            check_samples(int(samples))
            changes: dict[str, Any] = {"samples": int(samples), "triplanar": bool(triplanar)}
            named = [name for name in wording.SOURCE_LABELS if name in sources]
            live.change(workbench, **changes, **({"uncertainty": "+".join(named)} if named else {}))
        except MedsamPlannerError as error:
            return {"notice": wording.notice("error", str(error))}
        return moved(token)

    entered = [parts["samples"].change, parts["sources"].change, parts["triplanar"].input]
    inputs = ("token", *PASSES_CONTROLS)
    connect(parts, entered, set_passes, inputs, outputs, trigger_mode="always_last", **QUICK)


def entered_passes(workbench: Workbench) -> Updates:
    """The controls as the session has them, unless they are as on every new page."""
    if workbench.work is None:
        return {}
    kept, new = live.settings(workbench.work), LiveSettings()
    values = {"samples": kept.samples, "sources": kept.uncertainty.split("+"), "triplanar": kept.triplanar}
    is_new = (kept.samples, kept.uncertainty, kept.triplanar) == (new.samples, new.uncertainty, new.triplanar)
    return {} if is_new else values


def _shown(workbench: Workbench) -> Screen:
    workbench.refresh()
    return screen(workbench)
