"""A button that uploads a file into the page's private folder through the service's own route.

Gradio's file components copy whatever file an event names. This button sends the bytes to ``/uploads/TOKEN/KIND``, and
its event says only that they arrived.
"""

from __future__ import annotations

import html
from pathlib import Path

import gradio as gr

from medsam_planner.service.uploads import UploadKind

__all__ = ["upload_button"]

_HERE = Path(__file__).parent


def upload_button(kind: UploadKind, label: str, *, accept: str, elem_id: str, is_removable: bool = False) -> gr.HTML:
    """A button with a progress bar and an error message.

    Its value is None until the page has its workbench, then the ``address`` for uploads and the name of the file that
    the server has, as ``kept``. It triggers ``uploaded`` after an upload and ``removed`` after the file was removed.

    Parameters
    ----------
    kind : UploadKind
    label : str
    accept : str
        File endings that the browser offers, separated by commas.
    elem_id : str
    is_removable : bool
        Whether the file can be removed again.

    Returns
    -------
    gradio.HTML
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
