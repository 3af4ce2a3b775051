"""A button that uploads a file into the page's private folder, by a route of our own.

Gradio's file components copy whatever file an event names; this one sends the bytes to ``/uploads/TOKEN/KIND`` and then
tells only that they came.
"""

from __future__ import annotations

import html
from pathlib import Path

import gradio as gr

from medsam_planner.service.uploads import UploadKind

__all__ = ["upload_button"]

_HERE = Path(__file__).parent


def upload_button(kind: UploadKind, label: str, *, accept: str, elem_id: str, is_removable: bool = False) -> gr.HTML:
    """A button with its progress and its error.

    Its value is None until the page has its workbench, then the ``address`` of the page's uploads and the name of the
    file that is ``kept``. After an upload it triggers ``uploaded``, after the file was taken off ``removed``.
    """
    template = (_HERE / "upload.html").read_text(encoding="utf-8")
    for name, text in (("LABEL", label), ("ACCEPT", accept), ("KIND", kind.value)):
        template = template.replace(name, html.escape(text))
    return gr.HTML(
        value=None,
        html_template=template.replace("REMOVABLE", "true" if is_removable else "false"),
        js_on_load=(_HERE / "upload.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id=elem_id,
    )
