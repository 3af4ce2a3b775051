"""Operations on the whole mask: islands, holes, smoothing. Brush and eraser are tools of the viewer."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import gradio as gr

from ui import wording
from ui.edit_handlers import OPERATIONS

__all__ = ["add_edits"]


def add_edits(parts: MutableMapping[str, Any]) -> None:
    """Lay the section out and add its components to `parts`; call inside the Segment tab."""
    with gr.Accordion(wording.EDIT_TITLE, open=False, elem_id="edit-mask"):
        with gr.Row():
            parts["operation"] = gr.Dropdown(
                label=wording.OPERATION,
                choices=[(label, name) for name, label in OPERATIONS.items()],
                value="largest",
                scale=4,
                elem_id="operation",
            )
            parts["amount"] = gr.Number(
                None, label=wording.AMOUNT, minimum=0, scale=2, min_width=70, visible=False, elem_id="amount"
            )
            parts["operate"] = gr.Button("Apply", scale=1, min_width=70, elem_id="operate")
        gr.HTML(f'<div class="mv-hint">{wording.EDIT_HINT}</div>', apply_default_css=False)
