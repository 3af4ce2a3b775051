"""The Export tab: what of the work is downloaded, as one zip."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import gradio as gr

from medsam_planner.workflow.export_archive import Content
from ui import wording

__all__ = ["add_export_tab"]


def add_export_tab(parts: MutableMapping[str, Any]) -> None:
    """Lay the tab out and add its components to `parts`; call inside ``gr.Tab``."""
    parts["contents"] = gr.CheckboxGroup(
        label=wording.EXPORT,
        info=wording.EXPORT_INFO,
        choices=[(wording.CONTENT_LABELS[content], content.value) for content in Content],
        value=[Content.RESULTS.value],
        elem_id="contents",
    )
    parts["ignores_unreviewed"] = gr.Checkbox(
        False, label=wording.IGNORE_UNREVIEWED, info=wording.IGNORE_UNREVIEWED_INFO, elem_id="ignore-unreviewed"
    )
    with gr.Row():
        parts["export"] = gr.Button("Prepare download", variant="primary", scale=3, elem_id="export")
        parts["stop_export"] = gr.Button("Stop", variant="stop", scale=1, min_width=80)
    parts["download"] = gr.HTML("", elem_id="download", min_height=24, apply_default_css=False)
