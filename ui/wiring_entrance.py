"""How a page gets its workbench: when it is opened, when it returns, and when it takes up earlier work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import earlier_work
from medsam_planner.service.core.actors import LOCAL, Actor, actor_of
from medsam_planner.service.earlier_work import Remembered
from medsam_planner.service.pages import Pages
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.uploads import SHOWN_AS, UploadKind
from medsam_planner.service.workbench import Workbench
from ui import restore_screen, study_handlers, wording
from ui.events import LONG, QUICK, connect, on_workbench
from ui.layout import ENTRANCE_CONTROLS, Parts
from ui.plan_tab import DRAFT_CONTROLS
from ui.progress_bar import PageProgress
from ui.screen import Screen, discreet
from ui.updates import SHOWN, Updates, no_workbench, unchanged, updates
from ui.wiring_live import PASSES_CONTROLS, entered_passes

__all__ = ["wire_entrance"]

_REMEMBERED = """() => [JSON.stringify({
  here: location.hash.slice(1),
  shows: Boolean(window.medsamPlanner?.shows()),
})]"""
"""What the page knows, as :class:`Remembered` reads it; ``viewer/main.js`` writes the address."""


def wire_entrance(page: gr.Blocks, pages: Pages, parts: Parts) -> None:
    """Connect the events by which the page gets a workbench, and the one by which it leaves."""
    settings = pages.service.settings
    study = settings.study_name

    def entrance(workbench: Workbench, known: Remembered) -> Updates:
        """Values of a page that has got this workbench."""
        shown = updates(discreet(restore_screen.welcome(workbench, known), settings))
        return {"token": workbench.token, **_entrance_controls(workbench), **shown}

    def begin(remembered: str, request: gr.Request) -> Updates:
        known, actor = Remembered.from_browser(remembered), _actor_of(request)
        try:
            workbench = earlier_work.begin(pages, str(request.session_hash), known, actor)
        except MedsamPlannerError as error:
            return {"remembered": remembered, **no_workbench(error)}
        path = gr.update(interactive=True)
        if workbench.work is None:
            uploaded = workbench.uploads.find(UploadKind.STUDY)
            place = study if uploaded is None else f"{SHOWN_AS}{uploaded.name}"
            path = gr.update(interactive=True, value=place) if place else path
        works = earlier_work.earlier_work(pages, actor, but=workbench.key)
        offered = gr.update(choices=works, value=None, visible=bool(works))
        return {"remembered": remembered, "path": path, "earlier": offered, **entrance(workbench, known)}

    def open_first(token: str, remembered: str, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008 - Gradio's own way
        def act(workbench: Workbench) -> Screen:
            watched = PageProgress(workbench, progress)
            known = Remembered.from_browser(remembered)
            if workbench.is_waiting:
                return restore_screen.restore_work(workbench, known, progress=watched)
            shown = study_handlers.open_study(workbench, study, progress=watched)
            has_earlier = bool(earlier_work.earlier_work(pages, workbench.own.actor, but=workbench.key))
            return replace(shown, tab=None) if has_earlier else shown  # stay where the earlier work is offered

        try:
            workbench = pages.find(token)
        except MedsamPlannerError as error:
            return no_workbench(error)
        has_study = workbench.work is not None or workbench.is_computing
        if not workbench.is_waiting and (not study or has_study):
            return unchanged()
        return on_workbench(pages, act)(token)

    def show_draft(token: str) -> Updates:
        """Enter the plan draft of work that was restored, and its passes, unless they are the default ones."""
        try:
            workbench = pages.find(token)
        except MedsamPlannerError:  # the page has been told
            return {"avoid_bone": gr.skip()}
        draft = workbench.snapshot.draft
        entered = {name: getattr(draft, name) for name in DRAFT_CONTROLS}
        default = {name: getattr(PlanDraft(), name) for name in DRAFT_CONTROLS}
        shown: Updates = {"avoid_bone": gr.skip()} if entered == default else entered
        return {**shown, **entered_passes(workbench)}

    def take_earlier(token: str, key: str, request: gr.Request) -> Updates:
        try:
            workbench = pages.take_up(str(request.session_hash), key, _actor_of(request))
        except MedsamPlannerError as error:
            return no_workbench(error)
        if workbench is None:
            return no_workbench(MedsamPlannerError(wording.NOT_RESTORED))
        return {"earlier": gr.update(visible=False), **entrance(workbench, Remembered())}

    def leave(request: gr.Request) -> None:
        pages.leave(str(request.session_hash))

    entered = ("token", *ENTRANCE_CONTROLS, *SHOWN)
    begun = ("remembered", "path", "earlier", *entered)
    first: dict[str, Any] = {"show_progress_on": parts["notice"], **LONG}

    def then_open(event: Any) -> Any:
        return connect(parts, event.then, open_first, ("token", "remembered"), SHOWN, **first)

    def then_show_draft(event: Any) -> None:
        connect(parts, event.then, show_draft, ("token",), (*DRAFT_CONTROLS, *PASSES_CONTROLS), **QUICK)

    loaded = connect(parts, page.load, begin, ("remembered",), begun, js=_REMEMBERED, **QUICK)
    then_show_draft(then_open(loaded))
    chosen = connect(parts, parts["earlier"].input, take_earlier, ("token", "earlier"), ("earlier", *entered), **QUICK)
    then_show_draft(then_open(chosen))
    # A page that stayed open keeps what was entered in its plan tab.
    then_open(connect(parts, parts["viewer"].restore_work, begin, ("remembered",), begun, js=_REMEMBERED, **QUICK))
    page.unload(leave)


def _actor_of(request: gr.Request) -> Actor:
    return LOCAL if request.request is None else actor_of(request.request.scope)


def _entrance_controls(workbench: Workbench) -> Updates:
    """Enable the controls that open or upload files: each upload button gets its address and the name of its file."""
    address = f"uploads/{workbench.token}"
    calibration = workbench.uploads.find(UploadKind.CALIBRATION)
    return {
        "open": gr.update(interactive=True),
        "pacs_search": gr.update(interactive=True),
        "upload": {"address": address, "kept": ""},
        "resume": {"address": address, "kept": ""},
        "mask_upload": {"address": address, "kept": ""},
        "calibration": {"address": address, "kept": "" if calibration is None else calibration.name},
    }
