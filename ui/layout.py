"""The page: what stands where. What each part does is told in :mod:`ui.wiring`."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.sessions import ElsewhereError, PutAsideError
from medsam_planner.service.structure import ROLES
from medsam_planner.service.uploads import UploadKind
from ui import html_parts, wording
from ui.canvas import closed_scene
from ui.plan_panel import PlanPanel
from ui.screen import Screen
from ui.upload_button import upload_button

__all__ = ["CSS", "Parts", "build_parts", "gone", "source_choices", "unchanged", "updates"]

_HERE = Path(__file__).parent
CSS = (_HERE / "viewer.css").read_text(encoding="utf-8")
_SHOWN = (
    "viewer",
    "notice",
    "study",
    "series",
    "straighten",
    "names",
    "role",
    "undo",
    "redo",
    "clear",
    "run",
    "structures",
    "result",
    "tabs",
)
"""Parts of a screen, in the order of :func:`updates`."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Every component a person sees or a handler reads."""

    token: gr.Textbox
    """Of the page's workbench. The page keeps it: what the server keeps for a page is gone after a lost connection."""
    remembered: gr.Textbox
    """Keys of works, as :meth:`~medsam_planner.service.earlier_work.Remembered.from_browser` reads them."""
    step: gr.Number
    """Number of what is being done among the steps of the page; the browser counts."""
    notice: gr.HTML
    viewer: gr.HTML
    path: gr.Textbox
    open: gr.Button
    upload: gr.HTML
    series: gr.Radio
    straighten: gr.Checkbox
    earlier: gr.Radio
    """Works of this browser that can be taken up, by key."""
    study: gr.HTML
    resume: gr.HTML
    names: gr.Dropdown
    new_name: gr.Textbox
    undo: gr.Button
    redo: gr.Button
    clear: gr.Button
    samples: gr.Slider
    sources: gr.CheckboxGroup
    saliency: gr.Checkbox
    triplanar: gr.Checkbox
    run: gr.Button
    stop: gr.Button
    role: gr.Radio
    structures: gr.HTML
    result: gr.HTML
    tabs: gr.Tabs
    plan: PlanPanel

    def doors(self) -> list[Any]:
        """What lets files in. Shut until the page has its workbench: a click before that would find none."""
        return [self.open, self.upload, self.resume, self.plan.calibration]

    def shown(self) -> list[Any]:
        """The components of :func:`updates`, in its order."""
        return [*(getattr(self, name) for name in _SHOWN), self.plan.answer, self.plan.choice, self.plan.links]


def updates(screen: Screen) -> list[Any]:
    """A screen as values of :meth:`Parts.shown`."""
    is_open = bool(screen.names)
    return [
        screen.scene,
        screen.notice,
        screen.study,
        gr.update(choices=list(screen.series or ()), value=None, visible=screen.series is not None),
        gr.update(visible=screen.offers_straightening, value=False),
        gr.update(choices=list(screen.names), value=screen.active or None, interactive=is_open),
        gr.update(value=screen.role, interactive=is_open),
        gr.update(interactive=screen.can_undo),
        gr.update(interactive=screen.can_redo),
        gr.update(interactive=screen.can_clear),
        gr.update(interactive=screen.can_run),
        screen.structures,
        screen.result,
        gr.skip() if screen.tab is None else gr.update(selected=screen.tab),
        screen.answer,
        gr.update(choices=list(screen.alternatives), value=screen.chosen, visible=bool(screen.alternatives)),
        screen.links,
    ]


def unchanged() -> list[Any]:
    """Leave everything as it is shown."""
    return [gr.skip()] * len((*_SHOWN, "answer", "choice", "links"))


def gone(error: MedsamPlannerError) -> list[Any]:
    """Say why the page has no workbench (any more), and show no slice: none of it could be scrolled or corrected."""
    told = wording.PUT_ASIDE if isinstance(error, PutAsideError) else str(error)
    flags = {"is_aside": isinstance(error, PutAsideError), "is_elsewhere": isinstance(error, ElsewhereError)}
    values = {"notice": wording.notice("error", told), "viewer": closed_scene(told) | flags}
    return [values.get(name, gr.skip()) for name in (*_SHOWN, "answer", "choice", "links")]


def source_choices(*, triplanar: bool) -> list[tuple[str, str]]:
    """Label and name of the sources of uncertainty that a run can have: planes differ only where there are several."""
    return [(label, name) for name, label in wording.SOURCE_LABELS.items() if triplanar or name != "triplanar"]


def build_parts() -> Parts:
    """Lay the page out; call inside ``gr.Blocks``."""
    token, remembered = gr.Textbox("", visible=False), gr.Textbox("", visible=False)
    step = gr.Number(0, visible=False)
    head = f'<h1>{wording.TITLE}</h1><span class="mv-research">{wording.RESEARCH_USE}</span>'
    gr.HTML(f'<div class="mv-head">{head}</div>', elem_id="head", apply_default_css=False)
    notice = gr.HTML(wording.notice("info", wording.NO_STUDY), elem_id="notice", apply_default_css=False)
    with gr.Row():
        with gr.Column(scale=7, min_width=560):
            viewer = gr.HTML(
                value=None,
                html_template=_viewer_html(),
                js_on_load=(_HERE / "viewer.js").read_text(encoding="utf-8"),
                apply_default_css=False,
                elem_id="viewer",
            )
            gr.HTML(f'<div class="mv-hint">{wording.HINT}</div>', apply_default_css=False)
        with gr.Column(scale=4, min_width=380), gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab("Study", id="study"):
                study = _study_tab()
            with gr.Tab("Segment", id="segment"):
                segment = _segment_tab()
            with gr.Tab("Plan", id="plan"):
                plan = PlanPanel.build()
    hidden: dict[str, Any] = {"token": token, "remembered": remembered, "step": step}
    return Parts(**hidden, notice=notice, viewer=viewer, tabs=tabs, plan=plan, **study, **segment)


def _viewer_html() -> str:
    words = ("LOST_TITLE", "LOST_TEXT", "ELSEWHERE_TITLE", "ELSEWHERE_TEXT", "TAKE_BACK")
    return Template((_HERE / "viewer.html").read_text(encoding="utf-8")).substitute(
        {name: html.escape(getattr(wording, name)) for name in words}
    )


def _study_tab() -> dict[str, Any]:
    earlier = gr.Radio(label=wording.EARLIER, info=wording.EARLIER_INFO, choices=[], visible=False, elem_id="earlier")
    path = gr.Textbox(
        label="Path of a study",
        placeholder="DICOM folder, zip, DICOM file or NIfTI",
        max_lines=1,
        interactive=False,
        elem_id="path",
    )
    with gr.Row():
        open_button = gr.Button("Open", variant="primary", interactive=False, elem_id="open")
        upload = upload_button(UploadKind.STUDY, "Upload zip or NIfTI", accept=".zip,.nii,.gz,.dcm", elem_id="upload")
    series = gr.Radio(label="Which series?", choices=[], visible=False, elem_id="series")
    straighten = gr.Checkbox(label="Straighten the gantry tilt (resamples the study)", visible=False)
    study = gr.HTML(html_parts.study_html(None), elem_id="study-facts", apply_default_css=False)
    resume = upload_button(UploadKind.PROMPTS, "Resume from prompts.json", accept=".json", elem_id="resume")
    return {
        "earlier": earlier,
        "path": path,
        "open": open_button,
        "upload": upload,
        "series": series,
        "straighten": straighten,
        "study": study,
        "resume": resume,
    }


def _segment_tab() -> dict[str, Any]:
    with gr.Row():
        names = gr.Dropdown(label="Structure", choices=[], interactive=False, elem_id="names")
        new_name = gr.Textbox(label="New structure", placeholder="name, then Enter", elem_id="new-name")
    with gr.Row():
        undo = gr.Button("Undo", size="sm", interactive=False, min_width=60, elem_id="undo")
        redo = gr.Button("Redo", size="sm", interactive=False, min_width=60, elem_id="redo")
        clear = gr.Button("Clear", size="sm", interactive=False, min_width=60, elem_id="clear")
    samples = gr.Slider(0, 32, value=16, step=2, label="Runs for the uncertainty (0: none)", elem_id="samples")
    sources = gr.CheckboxGroup(
        label=wording.SOURCES_FROM,
        info=wording.SOURCES_INFO,
        choices=source_choices(triplanar=False),
        value=["dropout"],
        elem_id="sources",
    )
    with gr.Row():
        saliency = gr.Checkbox(label="Saliency", value=False, min_width=100, elem_id="saliency")
        triplanar = gr.Checkbox(label="Along all three planes", value=False, min_width=160, elem_id="triplanar")
    with gr.Row():
        run = gr.Button("Run to 3D", variant="primary", interactive=False, scale=3, elem_id="run")
        stop = gr.Button("Stop", variant="stop", scale=1, min_width=80, elem_id="stop")
    result = gr.HTML(html_parts.result_html(None), elem_id="result", min_height=96, apply_default_css=False)
    roles = [(wording.ROLE_LABELS[value], value) for value in ROLES]
    role = gr.Radio(
        label="This structure in the plan", choices=roles, value="ignore", interactive=False, elem_id="role"
    )
    structures = gr.HTML(html_parts.structures_html((), ""), elem_id="structures", apply_default_css=False)
    return {
        "names": names,
        "new_name": new_name,
        "undo": undo,
        "redo": redo,
        "clear": clear,
        "samples": samples,
        "sources": sources,
        "saliency": saliency,
        "triplanar": triplanar,
        "run": run,
        "stop": stop,
        "role": role,
        "structures": structures,
        "result": result,
    }
