"""Which event of the Export tab calls which handler."""

from __future__ import annotations

import gradio as gr

from medsam_planner.service.pages import Pages
from medsam_planner.service.workbench import Workbench
from ui import export_handlers
from ui.events import LONG, connect, on_workbench
from ui.layout import Parts
from ui.progress_bar import PageProgress
from ui.screen import Screen
from ui.updates import SHOWN, Updates

__all__ = ["wire_export"]


def wire_export(pages: Pages, parts: Parts) -> None:
    """Connect the tab of :func:`ui.export_tab.add_export_tab`; its Stop is that of all computations."""

    def pack(
        token: str,
        contents: list[str],
        ignores_unreviewed: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio's own way
    ) -> Updates:
        def act(workbench: Workbench) -> Screen:
            bar = PageProgress(workbench, progress)
            return export_handlers.pack(workbench, contents, ignores_unreviewed=ignores_unreviewed, progress=bar)

        return on_workbench(pages, act)(token)

    chosen = ("token", "contents", "ignores_unreviewed")
    connect(parts, parts["export"].click, pack, chosen, SHOWN, **LONG, show_progress_on=parts["notice"])
