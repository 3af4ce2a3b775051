"""The list of structures on the Segment tab, with the prompts of the active one."""

from __future__ import annotations

import html
from collections.abc import MutableMapping
from pathlib import Path
from string import Template
from typing import Any

import gradio as gr

from medsam_planner.io.objects.structure_codes import known_terms
from ui import wording
from ui.viewer_files import boot_script

__all__ = ["add_structure_list"]

_TEMPLATE = Path(__file__).with_name("structure_list.html")


def add_structure_list(parts: MutableMapping[str, Any]) -> None:
    """Lay the list out; its value is a :func:`ui.list_document.list_document`."""
    terms = "".join(
        f'<option value="{html.escape(name)}">{html.escape(meaning)} ({code})</option>'
        for name, code, meaning in known_terms()
    )
    template = Template(_TEMPLATE.read_text(encoding="utf-8"))
    parts["structures"] = gr.HTML(
        value=None,
        html_template=template.substitute(TERMS=terms, NO_STRUCTURE=html.escape(wording.NO_STRUCTURE)),
        js_on_load=boot_script("boot_structure_list", "structure_list"),
        apply_default_css=False,
        elem_id="structures",
    )
