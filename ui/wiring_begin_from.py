"""Which event of the section on masks to begin from calls which handler."""

from __future__ import annotations

from typing import Any

import gradio as gr

from medsam_planner.errors import PromptError
from medsam_planner.service import begin_from
from medsam_planner.service.pages import Pages
from medsam_planner.service.uploads import SHOWN_AS
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.events import LONG, connect, on_workbench
from ui.layout import Parts
from ui.run_change import attempt
from ui.screen import Screen
from ui.updates import SHOWN, Updates
from ui.viewer_action import event_payload
from ui.wording import NoticeKind

__all__ = ["wire_begin_from"]


def wire_begin_from(pages: Pages, parts: Parts) -> None:
    """Connect the section of :func:`ui.begin_from.add_begin_from`."""

    def begin(token: str, path: str, segment: Any = None) -> Updates:
        offered: list[tuple[str, int]] = []
        notes: list[str] = []

        def change(workbench: Workbench) -> str:
            if segment is not None and not (isinstance(segment, int) and not isinstance(segment, bool)):
                raise PromptError("The page sent a segment that is not understood. Reload the page.")
            labels = begin_from.segments_of(workbench, path) if segment is None else {}
            if len(labels) > 1 and list(labels.values()).count(workbench.structure.name) != 1:
                offered.extend((f"{number}: {label}", number) for number, label in labels.items())
                return wording.CHOOSE_SEGMENT.format(len(labels))
            notes.extend(begin_from.from_file(workbench, path, segment))
            return wording.BEGUN_FROM.format(workbench.structure.name)

        def kind() -> NoticeKind:
            return "info" if offered else "done"

        def act(workbench: Workbench) -> Screen:
            return attempt(workbench, lambda: change(workbench), kind=kind, notes=lambda: notes)

        shown = on_workbench(pages, act)(token)
        return {"mask_segment": gr.update(choices=offered, value=None, visible=bool(offered)), **shown}

    def begin_uploaded(token: str, event: gr.EventData) -> Updates:
        path = f"{SHOWN_AS}{event_payload(event, 'name').get('name', '')}"
        return {"mask_path": path, **begin(token, path)}

    long: dict[str, Any] = {**LONG, "show_progress_on": parts["notice"]}
    outputs = ("mask_segment", *SHOWN)
    connect(parts, parts["mask_path"].submit, begin, ("token", "mask_path"), outputs, **long)
    connect(parts, parts["mask_segment"].input, begin, ("token", "mask_path", "mask_segment"), outputs, **long)
    connect(parts, parts["mask_upload"].uploaded, begin_uploaded, ("token",), ("mask_path", *outputs), **long)
