"""What a click in the 3D view calls."""

from __future__ import annotations

import gradio as gr

from medsam_planner.service.pages import Pages
from ui import plan_handlers
from ui.events import QUICK, connect, on_workbench
from ui.layout import Parts
from ui.updates import SHOWN, Updates
from ui.viewer_action import event_payload

__all__ = ["wire_view3d"]


def wire_view3d(pages: Pages, parts: Parts) -> None:
    """A click on a trajectory chooses it, as the list of alternatives does."""

    def choose(token: str, event: gr.EventData) -> Updates:
        number = event_payload(event, "number").get("number")
        chosen = number if isinstance(number, int) and not isinstance(number, bool) else -1
        return on_workbench(pages, lambda workbench: plan_handlers.choose_alternative(workbench, chosen))(token)

    connect(parts, parts["viewer"].choose_trajectory, choose, ("token",), SHOWN, **QUICK)
