"""Which event of the page calls which handler. The functions here find the workbench and pass values on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service.pages import Pages
from medsam_planner.service.uploads import SHOWN_AS, UploadKind
from medsam_planner.service.workbench import Workbench
from ui import plan_handlers, segment_handlers, study_handlers, wording
from ui.events import LONG, QUICK, STEP, connect, on_step, on_workbench
from ui.layout import Parts, build_parts, source_choices
from ui.plan_tab import DRAFT_CONTROLS, NUMBERS
from ui.progress_bar import PageProgress
from ui.review_wiring import wire_review
from ui.screen import Screen
from ui.updates import SHOWN, Updates
from ui.view3d_wiring import wire_view3d
from ui.viewer_action import event_payload
from ui.wiring_begin_from import wire_begin_from
from ui.wiring_edits import wire_edits
from ui.wiring_entrance import wire_entrance
from ui.wiring_export import wire_export
from ui.wiring_live import wire_live
from ui.wiring_pacs import wire_pacs
from ui.wiring_procedure import wire_procedure
from ui.wiring_project import wire_project
from ui.wiring_structures import wire_structure_list

__all__ = ["build_page"]

_LAST_STEP = "(step, ...rest) => [window.medsamPlanner.lastStep(), ...rest]"
"""The first input becomes the number of the last step before this action."""
_SHOW_PATHS = "() => document.querySelector('#links').scrollIntoView({ block: 'start' })"
"""What was found is below the numbers that were entered."""


def build_page(pages: Pages) -> gr.Blocks:
    """Build the whole page on the workbenches of `pages`."""
    page = gr.Blocks(title=wording.TITLE, analytics_enabled=False, fill_width=True)
    with page:
        parts = build_parts()
        wire_entrance(page, pages, parts)
        _wire_study(pages, parts)
        _wire_segment(pages, parts)
        wire_structure_list(pages, parts)
        wire_begin_from(pages, parts)
        wire_edits(pages, parts)
        wire_export(pages, parts)
        wire_live(pages, parts)
        _wire_plan(pages, parts)
        wire_procedure(pages, parts)
        wire_view3d(pages, parts)
        wire_pacs(pages, parts)
        wire_project(pages, parts)
        wire_review(pages, parts)
    return page


def _wire_study(pages: Pages, parts: Parts) -> None:
    def open_path(
        token: str,
        path: str,
        modality: str,
        straighten: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - Gradio's own way
    ) -> Updates:
        return on_workbench(pages, _opening(path, progress, modality=modality, resample_tilt=straighten))(token)

    def open_series(
        token: str,
        path: str,
        modality: str,
        series: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Updates:
        return on_workbench(pages, _opening(path, progress, modality=modality, series=series))(token)

    def open_upload(
        token: str,
        modality: str,
        event: gr.EventData,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Updates:
        path = f"{SHOWN_AS}{event_payload(event, 'name').get('name', '')}"
        return {"path": path, **on_workbench(pages, _opening(path, progress, modality=modality))(token)}

    long: dict[str, Any] = {**LONG, "show_progress_on": parts["notice"]}
    opened = [parts["open"].click, parts["path"].submit]
    connect(parts, opened, open_path, ("token", "path", "modality", "straighten"), SHOWN, **long)
    connect(parts, parts["series"].input, open_series, ("token", "path", "modality", "series"), SHOWN, **long)
    connect(parts, parts["upload"].uploaded, open_upload, ("token", "modality"), ("path", *SHOWN), **long)
    resume = on_workbench(pages, study_handlers.resume_uploaded)
    connect(parts, parts["resume"].uploaded, resume, ("token",), SHOWN, **long)


def _opening(path: str, bar: gr.Progress, **options: Any) -> Callable[[Workbench], Screen]:
    def act(workbench: Workbench) -> Screen:
        return study_handlers.open_study(workbench, path, progress=PageProgress(workbench, bar), **options)

    return act


def _wire_segment(pages: Pages, parts: Parts) -> None:
    def on_viewer(token: str, event: gr.EventData) -> Updates:
        payload = event_payload(
            event, "kind", "plane", "index", "first", "last", "points", "low", "high", "brush", "candidate", "step"
        )
        return on_workbench(pages, lambda workbench: segment_handlers.on_viewer(workbench, payload))(token)

    connect(parts, parts["viewer"].viewer_action, on_viewer, ("token",), SHOWN, trigger_mode="multiple", **QUICK)
    for name, act in (
        ("undo", segment_handlers.undo),
        ("redo", segment_handlers.redo),
        ("clear", segment_handlers.clear),
    ):
        connect(parts, parts[name].click, on_step(pages, act), ("step", "token"), SHOWN, **STEP)

    def run(
        step: float,
        token: str,
        samples: float,
        sources: list[str],
        saliency: bool,
        triplanar: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Updates:
        def act(workbench: Workbench) -> Screen:
            return segment_handlers.run_to_3d(
                workbench,
                int(samples),
                sources,
                saliency=saliency,
                triplanar=triplanar,
                after=int(step),
                progress=PageProgress(workbench, progress),
            )

        return on_workbench(pages, act)(token)

    options = ("step", "token", "samples", "sources", "saliency", "triplanar")
    connect(parts, parts["run"].click, run, options, SHOWN, js=_LAST_STEP, show_progress_on=parts["result"], **LONG)

    def offer_sources(samples: float, triplanar: bool, ticked: list[str]) -> Updates:
        choices = source_choices(triplanar=triplanar)
        still_ticked = [name for _, name in choices if name in ticked]
        return {"sources": gr.update(choices=choices, value=still_ticked, interactive=samples > 0)}

    changed = [parts["samples"].change, parts["triplanar"].input]
    connect(parts, changed, offer_sources, ("samples", "triplanar", "sources"), ("sources",), **QUICK)

    def stop(token: str) -> Updates:
        try:
            return {"notice": segment_handlers.stop(pages.find(token))}
        except MedsamPlannerError as error:
            return {"notice": wording.notice("error", str(error))}

    connect(
        parts,
        [parts[name].click for name in ("stop", "stop_plan", "stop_export")],
        stop,
        ("token",),
        ("notice",),
        **QUICK,
    )


def _wire_plan(pages: Pages, parts: Parts) -> None:
    def find(
        step: float,
        token: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *values: Any,
    ) -> Updates:
        entered = dict(zip(DRAFT_CONTROLS, values, strict=True))

        def act(workbench: Workbench) -> Screen:
            return plan_handlers.find_paths(
                workbench,
                {name: entered[name] for name in NUMBERS},
                avoid_bone=bool(entered["avoid_bone"]),
                calibration=workbench.uploads.find(UploadKind.CALIBRATION),
                after=int(step),
                progress=PageProgress(workbench, progress),
            )

        return on_workbench(pages, act)(token)

    long: dict[str, Any] = {**LONG, "show_progress_on": parts["notice"]}
    inputs = ("step", "token", *DRAFT_CONTROLS)
    found = connect(parts, parts["find"].click, find, inputs, SHOWN, js=_LAST_STEP, **long)
    found.then(fn=None, js=_SHOW_PATHS)
    choose = on_workbench(pages, plan_handlers.choose_alternative)
    connect(parts, parts["choice"].input, choose, ("token", "choice"), SHOWN, **QUICK)
