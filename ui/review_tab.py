"""The Review tab: the panel that ``viewer/review.js`` fills, and the events that it sends."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from ui import review_handlers
from ui.events import LONG, QUICK, connect, on_workbench
from ui.plan_tab import DRAFT_CONTROLS
from ui.progress_bar import PageProgress
from ui.updates import SHOWN, Updates
from ui.viewer_action import event_payload

if TYPE_CHECKING:
    from medsam_planner.service.pages import Pages
    from medsam_planner.service.workbench import Workbench
    from ui.layout import Parts
    from ui.screen import Screen

__all__ = ["add_review", "wire_review"]

_PANEL = (Path(__file__).parent / "review.html").read_text(encoding="utf-8")
_NAMES = (
    "kind",
    "number",
    "tool",
    "entry",
    "target",
    "plan",
    "on_surface",
    "verdict",
    "comment",
    "name",
    "numbers",
    "step",
)


def add_review(parts: MutableMapping[str, Any]) -> None:
    """Lay the tab out; call inside ``gr.Tab``."""
    parts["review"] = gr.HTML(_PANEL, elem_id="review", apply_default_css=False)


def wire_review(pages: Pages, parts: Parts) -> None:
    """Connect the events of the panel."""

    def on_review(token: str, event: gr.EventData) -> Updates:
        payload = event_payload(event, *_NAMES)
        return on_workbench(pages, lambda workbench: review_handlers.on_review(workbench, payload))(token)

    def on_long(token: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008
        payload = event_payload(event, *_NAMES)
        return on_workbench(pages, partial(_long, payload, progress))(token)

    def show_numbers(token: str) -> Updates:
        """Enter the plan draft under “Plan”, too, because a slider or a preset changed it."""
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
