"""The layout of the page. What each component does is in :mod:`ui.wiring`."""

from __future__ import annotations

from typing import Any

import gradio as gr

from medsam_planner.drawing.formatting import RESEARCH_USE_NOTICE
from medsam_planner.service.uploads import UploadKind
from ui import html_parts, wording
from ui.begin_from import add_begin_from
from ui.edit_panel import add_edits
from ui.export_tab import add_export_tab
from ui.pacs_section import add_pacs_query, add_pacs_sending
from ui.plan_tab import add_plan_tab
from ui.project_tab import add_project_tab
from ui.review_tab import add_review
from ui.structure_list import add_structure_list
from ui.upload_button import upload_button
from ui.viewer_files import boot_script, viewer_html

__all__ = ["ENTRANCE_CONTROLS", "Parts", "build_parts", "source_choices"]


class Parts(dict[str, Any]):
    """The page's components by name. A new control is added where it is laid out and used by its name elsewhere."""

    def of(self, *names: str) -> list[Any]:
        """The components with these names."""
        return [self[name] for name in names]


ENTRANCE_CONTROLS = ("open", "upload", "resume", "calibration", "mask_upload", "pacs_search")
"""Components that open or upload files. They are disabled until the page has its workbench."""


def source_choices(*, triplanar: bool) -> list[tuple[str, str]]:
    """Label and name of the available sources of uncertainty; the planes are one only where there are several."""
    return [(label, name) for name, label in wording.SOURCE_LABELS.items() if triplanar or name != "triplanar"]


def build_parts() -> Parts:
    """Lay the page out; call inside ``gr.Blocks``."""
    parts = Parts()
    # Kept by the page: what the server keeps for a page is lost with the connection.
    parts["token"] = gr.Textbox("", visible=False)
    parts["remembered"] = gr.Textbox("", visible=False)  # as earlier_work.Remembered.from_browser reads it
    parts["step"] = gr.Number(0, visible=False)  # number of the action, counted by the browser
    head = f'<h1>{wording.TITLE}</h1><span class="mv-research">{RESEARCH_USE_NOTICE}</span>'
    gr.HTML(f'<div class="mv-head">{head}</div>', elem_id="head", apply_default_css=False)
    parts["notice"] = gr.HTML(wording.notice("info", wording.NO_STUDY), elem_id="notice", apply_default_css=False)
    with gr.Row():
        with gr.Column(scale=7, min_width=560):
            parts["viewer"] = gr.HTML(
                value=None,
                html_template=viewer_html(),
                js_on_load=boot_script(),
                apply_default_css=False,
                elem_id="viewer",
            )
            gr.HTML(f'<div class="mv-hint">{wording.HINT}</div>', apply_default_css=False)
        with gr.Column(scale=4, min_width=380), gr.Tabs(elem_id="tabs") as parts["tabs"]:
            with gr.Tab("Study", id="study"):
                _add_study_tab(parts)
            add_project_tab(parts)
            with gr.Tab("Segment", id="segment"):
                _add_segment_tab(parts)
            with gr.Tab("Plan", id="plan"):
                add_plan_tab(parts)
                add_pacs_sending(parts)
            with gr.Tab("Review", id="review"):
                add_review(parts)
            with gr.Tab("Export", id="export"):
                add_export_tab(parts)
    return parts


def _add_study_tab(parts: Parts) -> None:
    parts["earlier"] = gr.Radio(
        label=wording.EARLIER, info=wording.EARLIER_INFO, choices=[], visible=False, elem_id="earlier"
    )
    parts["path"] = gr.Textbox(
        label="Path of a study",
        placeholder="DICOM folder, zip, DICOM file or NIfTI",
        max_lines=1,
        interactive=False,
        elem_id="path",
    )
    with gr.Row():
        parts["modality"] = gr.Dropdown(
            label="Modality",
            choices=[("as the files say", ""), "CT", "MR"],
            value="",
            min_width=140,
            elem_id="modality",
        )
        parts["open"] = gr.Button("Open", variant="primary", interactive=False, elem_id="open")
        parts["upload"] = upload_button(
            UploadKind.STUDY, "Upload zip or NIfTI", accept=".zip,.nii,.gz,.dcm", elem_id="upload"
        )
    parts["series"] = gr.Radio(label="Which series?", choices=[], visible=False, elem_id="series")
    parts["straighten"] = gr.Checkbox(label=wording.STRAIGHTEN, visible=False)
    add_pacs_query(parts)
    parts["study"] = gr.HTML(html_parts.study_html(None), elem_id="study-info", apply_default_css=False)
    parts["resume"] = upload_button(UploadKind.PROMPTS, "Resume from prompts.json", accept=".json", elem_id="resume")


def _add_segment_tab(parts: Parts) -> None:
    add_structure_list(parts)
    add_begin_from(parts)
    with gr.Row():
        for name in ("undo", "redo", "clear"):
            parts[name] = gr.Button(name.capitalize(), size="sm", interactive=False, min_width=60, elem_id=name)
    parts["samples"] = gr.Slider(0, 32, value=16, step=2, label=wording.SAMPLES, elem_id="samples")
    parts["sources"] = gr.CheckboxGroup(
        label=wording.SOURCES_FROM,
        info=wording.SOURCES_INFO,
        choices=source_choices(triplanar=False),
        value=["dropout"],
        elem_id="sources",
    )
    with gr.Row():
        parts["saliency"] = gr.Checkbox(label="Saliency map", value=False, min_width=100, elem_id="saliency")
        parts["triplanar"] = gr.Checkbox(label=wording.TRIPLANAR, value=False, min_width=160, elem_id="triplanar")
    with gr.Row():
        parts["run"] = gr.Button("Segment in 3D", variant="primary", interactive=False, scale=3, elem_id="run")
        parts["stop"] = gr.Button("Stop", variant="stop", scale=1, min_width=80, elem_id="stop")
    add_edits(parts)
    parts["result"] = gr.HTML(html_parts.result_html(None), elem_id="result", min_height=96, apply_default_css=False)
