"""The PACS on the page: a query form with its worklist in the Study tab, and the sending of results in the Plan tab.

What they do is in :mod:`ui.wiring_pacs`; without a pacs file they stay hidden.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import gradio as gr

__all__ = ["FORM", "add_pacs_query", "add_pacs_sending"]

FORM = {
    "pacs_id": ("PatientID", "Patient ID", "4711"),
    "pacs_name": ("PatientName", "Name", "MÜLLER*"),
    "pacs_date": ("StudyDate", "Study date", "2026-01-31 or 20260101-20260131"),
    "pacs_modality": ("ModalitiesInStudy", "Modality", "CT"),
    "pacs_accession": ("AccessionNumber", "Accession", ""),
}
"""By name of a field: keyword, label, example."""


def add_pacs_query(parts: MutableMapping[str, Any]) -> None:
    """Lay the query form out; call inside the Study tab."""
    with gr.Accordion("From the PACS", open=True, visible=False, elem_id="pacs") as parts["pacs"]:
        parts["pacs_node"] = gr.Dropdown(label="Archive", choices=[], elem_id="pacs-node")
        names = list(FORM)
        for row in (names[:3], names[3:]):
            with gr.Row():
                for name in row:
                    _, label, example = FORM[name]
                    parts[name] = gr.Textbox(
                        label=label, placeholder=example, max_lines=1, min_width=110, elem_id=name.replace("_", "-")
                    )
                if row[0] == "pacs_modality":
                    parts["pacs_search"] = gr.Button("Search", interactive=False, min_width=100, elem_id="pacs-search")
        parts["pacs_told"] = gr.HTML("", elem_id="pacs-told", apply_default_css=False)
        parts["pacs_studies"] = gr.Radio(label="Studies", choices=[], visible=False, elem_id="pacs-studies")
        parts["pacs_series"] = gr.Radio(
            label="Series: one that is chosen is fetched and opened", choices=[], visible=False, elem_id="pacs-series"
        )


def add_pacs_sending(parts: MutableMapping[str, Any]) -> None:
    """Lay the sending of results out; call inside the Plan tab."""
    with gr.Group(visible=False, elem_id="send") as parts["send"]:
        with gr.Row():
            parts["send_node"] = gr.Dropdown(label="Archive", choices=[], min_width=120, elem_id="send-node")
            parts["send_results"] = gr.Button("Send results ...", min_width=120, elem_id="send-results")
        parts["send_told"] = gr.HTML("", elem_id="send-told", apply_default_css=False)
        with gr.Row():
            parts["send_now"] = gr.Button("Send", variant="primary", visible=False, elem_id="send-now")
            parts["send_cancel"] = gr.Button("Do not send", visible=False, elem_id="send-cancel")
