"""The tab of an annotation project: its studies in the order of their worth, and what is done with one.

What its controls do is in :mod:`ui.wiring_project`; without a project the tab stays hidden.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import gradio as gr

from ui import wording

__all__ = ["add_project_tab"]


def add_project_tab(parts: MutableMapping[str, Any]) -> None:
    """Lay the tab out; call inside ``gr.Tabs``."""
    with gr.Tab("Project", id="project", visible=False) as parts["project"]:
        parts["project_told"] = gr.HTML("", elem_id="project-told", apply_default_css=False)
        with gr.Row():
            parts["project_order"] = gr.Dropdown(
                label="Order",
                choices=[(label, name) for name, label in wording.ORDER_LABELS.items()],
                value="name",
                min_width=150,
                elem_id="project-order",
            )
            parts["project_shown"] = gr.Dropdown(
                label="Show",
                choices=[(label, name) for name, label in wording.SHOWN_LABELS.items()],
                value="open",
                min_width=150,
                elem_id="project-shown",
            )
        parts["project_studies"] = gr.Radio(label="Studies", choices=[], elem_id="project-studies")
        with gr.Row():
            parts["project_open"] = gr.Button("Open", variant="primary", min_width=90, elem_id="project-open")
            parts["project_refresh"] = gr.Button("Refresh", min_width=90, elem_id="project-refresh")
        parts["project_here"] = gr.HTML("", elem_id="project-here", apply_default_css=False)
        with gr.Row():
            parts["project_save"] = gr.Button("Save masks", min_width=120, elem_id="project-save")
            parts["project_accept"] = gr.Button("Save as reviewed", min_width=120, elem_id="project-accept")
        with gr.Accordion("Exclude or reopen the chosen study", open=False, elem_id="project-state"):
            parts["project_reason"] = gr.Textbox(
                label="Reason", placeholder="motion; not the structure; …", max_lines=1, elem_id="project-reason"
            )
            with gr.Row():
                parts["project_exclude"] = gr.Button("Exclude", min_width=90, elem_id="project-exclude")
                parts["project_reopen"] = gr.Button("Reopen", min_width=90, elem_id="project-reopen")
