"""The section of the Segment tab in which a structure is begun from the mask in a file."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import gradio as gr

from medsam_planner.service.uploads import UploadKind
from ui import wording
from ui.upload_button import upload_button

__all__ = ["add_begin_from"]


def add_begin_from(parts: MutableMapping[str, Any]) -> None:
    """Lay the section out; call inside ``gr.Tab``."""
    with gr.Accordion(wording.BEGIN_FROM, open=False, elem_id="begin-from"):
        gr.HTML(f'<div class="mv-hint">{wording.BEGIN_FROM_INFO}</div>', apply_default_css=False)
        parts["mask_upload"] = upload_button(
            UploadKind.MASK, "Upload a mask", accept=".nii,.gz,.dcm", elem_id="mask-upload"
        )
        parts["mask_path"] = gr.Textbox(
            label="or its path, then Enter",
            placeholder="NIfTI, DICOM Segmentation or RT Structure Set",
            max_lines=1,
            elem_id="mask-path",
        )
        parts["mask_segment"] = gr.Radio(label="Which segment?", choices=[], visible=False, elem_id="mask-segment")
