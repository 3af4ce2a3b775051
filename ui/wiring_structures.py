"""Which event of the list of structures calls which handler."""

from __future__ import annotations

import gradio as gr

from medsam_planner.service.pages import Pages
from ui import structure_handlers
from ui.events import QUICK, connect, on_workbench
from ui.layout import Parts
from ui.updates import SHOWN, Updates
from ui.viewer_action import event_payload

__all__ = ["wire_structure_list"]


def wire_structure_list(pages: Pages, parts: Parts) -> None:
    """Connect what a person does in the list."""

    def on_list(token: str, event: gr.EventData) -> Updates:
        payload = event_payload(event, "kind", "structure", "value", "step")
        return on_workbench(pages, lambda workbench: structure_handlers.on_list(workbench, payload))(token)

    acted = parts["structures"].structure_action
    connect(parts, acted, on_list, ("token",), SHOWN, trigger_mode="multiple", **QUICK)
