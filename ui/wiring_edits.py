"""Which event of the section on edits calls which handler."""

from __future__ import annotations

import gradio as gr

from medsam_planner.service.pages import Pages
from ui import edit_handlers
from ui.edit_handlers import OPERATIONS
from ui.events import QUICK, STEP, connect, on_step
from ui.layout import Parts
from ui.updates import SHOWN, Updates

__all__ = ["wire_edits"]

_AMOUNTS = {"small": 0.1, "smooth": 1.0}
"""First value by operation; the others have none."""


def wire_edits(pages: Pages, parts: Parts) -> None:
    """Connect the section of :func:`ui.edit_panel.add_edits`."""

    def offer_amount(name: str) -> Updates:
        value = _AMOUNTS.get(name)
        return {"amount": gr.update(visible=value is not None, value=value, label=OPERATIONS.get(name, ""))}

    connect(parts, parts["operation"].input, offer_amount, ("operation",), ("amount",), **QUICK)
    operate = on_step(pages, edit_handlers.operate)
    connect(parts, parts["operate"].click, operate, ("step", "token", "operation", "amount"), SHOWN, **STEP)
