"""Which event of the review panel calls which handler."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.pages import Pages
from medsam_planner.service.workbench import Workbench
from ui import review_handlers
from ui.events import LONG, QUICK, connect, on_workbench
from ui.layout import Parts
from ui.plan_tab import DRAFT_CONTROLS
from ui.progress_bar import PageProgress
from ui.screen import Screen
from ui.updates import SHOWN, Updates
from ui.viewer_action import event_payload

__all__ = ["wire_review"]

_LINE = ("entry_lps_mm", "target_lps_mm", "tool", "plan", "on_surface")
_NAMES = ("kind", "step", "number", "verdict", "comment", "name", "numbers", *_LINE)


def wire_review(pages: Pages, parts: Parts) -> None:
    """Connect the events of the panel."""

    def on_review(token: str, event: gr.EventData) -> Updates:
        payload = event_payload(event, *_NAMES)
        return on_workbench(pages, lambda workbench: review_handlers.on_review(workbench, payload))(token)

    def on_long(token: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008
        payload = event_payload(event, *_NAMES)
        return on_workbench(pages, partial(_long, payload, progress))(token)

    def show_numbers(token: str) -> Updates:
        """Enter the plan draft under “Plan”, too, because a slider changed it."""
        try:
            draft = pages.find(token).snapshot.draft
        except MedsamPlannerError:  # the page has been told
            return {"avoid_bone": gr.skip()}
        return {name: getattr(draft, name) for name in DRAFT_CONTROLS}

    viewer = parts["viewer"]
    done = connect(parts, viewer.review_action, on_review, ("token",), SHOWN, trigger_mode="multiple", **QUICK)
    connect(parts, done.then, show_numbers, ("token",), DRAFT_CONTROLS, **QUICK)
    long: dict[str, Any] = {**LONG, "show_progress_on": parts["notice"], "trigger_mode": "always_last"}
    done = connect(parts, viewer.review_long, on_long, ("token",), SHOWN, **long)
    connect(parts, done.then, show_numbers, ("token",), DRAFT_CONTROLS, **QUICK)


def _long(payload: Mapping[str, Any], bar: gr.Progress, workbench: Workbench) -> Screen:
    return review_handlers.on_review_long(workbench, payload, progress=PageProgress(workbench, bar))
