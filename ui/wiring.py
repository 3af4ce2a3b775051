"""Which part of the page calls which handler. Every function here finds the page's workbench and passes values on."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.service import earlier_work
from medsam_planner.service.earlier_work import Remembered
from medsam_planner.service.plan_draft import PlanDraft
from medsam_planner.service.sessions import Sessions
from medsam_planner.service.uploads import SHOWN_AS, UploadKind
from medsam_planner.service.workbench import Workbench
from ui import coming_back, handlers, plan_handlers, wording
from ui.layout import Parts, build_parts, gone, source_choices, unchanged, updates
from ui.progress_bar import PageProgress
from ui.screen import Screen, discreet, screen

__all__ = ["build_page"]

_log = logging.getLogger(__name__)
_REMEMBERED = """() => [JSON.stringify({
  here: sessionStorage.getItem('medsam-planner-work') || '',
  others: JSON.parse(localStorage.getItem('medsam-planner-works') || '[]'),
  shows: Boolean(window.medsamPlanner?.shows()),
})]"""
"""What the browser remembers, as :class:`Remembered` reads it; ``viewer.js`` writes it."""
_NEXT_STEP = "(step, ...rest) => [window.medsamPlanner.nextStep(), ...rest]"
_LAST_STEP = "(step, ...rest) => [window.medsamPlanner.lastStep(), ...rest]"
"""The first input becomes the number of this step, or of the last one before it."""
_QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_LONG: dict[str, Any] = {"show_progress": "full", "api_visibility": "private", "concurrency_limit": 2}
"""Two pages may compute at once; a third waits in the queue."""
_STEP: dict[str, Any] = {**_QUICK, "trigger_mode": "multiple", "js": _NEXT_STEP}
"""Each press counts, in the order of the presses."""


def build_page(sessions: Sessions) -> gr.Blocks:
    """The whole page on the workbenches of `sessions`."""
    with gr.Blocks(title=wording.TITLE, analytics_enabled=False, fill_width=True) as page:
        parts = build_parts()
        _wire_page(page, sessions, parts)
        _wire_study(sessions, parts)
        _wire_segment(sessions, parts)
        _wire_plan(sessions, parts)
    return page


def on_workbench(sessions: Sessions, act: Callable[..., Screen]) -> Callable[..., list[Any]]:
    """A Gradio handler that takes the token and values, and gives the updates of the screen."""

    def handler(token: str, *values: Any) -> list[Any]:
        try:
            workbench = sessions.find(token)
        except MedsamPlannerError as error:  # the page's workbench is gone
            return gone(error)
        page = sessions.page_of(workbench)
        try:
            shown = act(workbench, *values)
        except Exception:  # noqa: BLE001 - logged whole, and said by its number
            number = secrets.token_hex(3)
            _log.exception("Unexpected error %s on the page", number)
            shown = screen(workbench, wording.notice("error", wording.UNEXPECTED.format(number)))
        if sessions.page_of(workbench) != page:  # the page went on with other work, or another page with this
            return unchanged()
        return updates(discreet(shown, sessions.settings))

    return handler


def on_step(sessions: Sessions, act: Callable[..., Screen]) -> Callable[..., list[Any]]:
    """As :func:`on_workbench`, for what must be done in the order the person did it; the step's number comes first."""

    def handler(step: float, token: str, *values: Any) -> list[Any]:
        return on_workbench(sessions, partial(act, step=int(step)))(token, *values)

    return handler


def _wire_page(page: gr.Blocks, sessions: Sessions, parts: Parts) -> None:
    settings, asked, shown = sessions.settings, parts.plan.asked(), parts.shown()

    def entrance(workbench: Workbench, known: Remembered) -> list[Any]:
        """Values of a page that has got this workbench."""
        doors = [gr.update(interactive=True), *door_values(workbench)]
        return [workbench.token, *doors, *updates(discreet(coming_back.welcome(workbench, known), settings))]

    def begin(remembered: str, request: gr.Request) -> list[Any]:
        known = Remembered.from_browser(remembered)
        workbench = earlier_work.begin(sessions, str(request.session_hash), known)
        path = gr.update(interactive=True)
        if workbench.study is None and workbench.waiting is None:
            uploaded = workbench.uploads.find(UploadKind.STUDY)
            study = "" if settings.study is None else settings.study.name
            place = study if uploaded is None else f"{SHOWN_AS}{uploaded.name}"
            path = gr.update(interactive=True, value=place) if place else path
        earlier = earlier_work.earlier_work(sessions, known, but=workbench.key)
        offered = gr.update(choices=earlier, value=None, visible=bool(earlier))
        return [remembered, path, offered, *entrance(workbench, known)]

    def open_first(token: str, remembered: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008 - Gradio's own way
        def act(workbench: Workbench) -> Screen:
            watched = PageProgress(workbench, progress)
            known = Remembered.from_browser(remembered)
            if workbench.waiting is not None:
                return coming_back.take_up(workbench, known, progress=watched)
            shown = handlers.open_study(workbench, study, progress=watched)
            has_earlier = bool(earlier_work.earlier_work(sessions, known, but=workbench.key))
            return replace(shown, tab=None) if has_earlier else shown  # so that it is seen

        study = "" if settings.study is None else settings.study.name
        try:
            workbench = sessions.find(token)
        except MedsamPlannerError as error:
            return gone(error)
        has_study = workbench.study is not None or workbench.is_computing
        if workbench.waiting is None and (not study or has_study):
            return unchanged()
        return on_workbench(sessions, act)(token)

    def show_asked(token: str) -> list[Any]:
        """What the plan's panel shows as asked for, in a page that took up work with a plan that was asked for."""
        try:
            workbench = sessions.find(token)
        except MedsamPlannerError:
            return [gr.skip()] * len(asked)  # the page was told
        told, untouched = (
            [*(getattr(draft, name) for name in parts.plan.numbers), draft.avoid_bone]
            for draft in (workbench.draft, PlanDraft())
        )
        return [gr.skip()] * len(asked) if told == untouched else told

    def take_earlier(token: str, key: str, request: gr.Request) -> list[Any]:
        workbench = sessions.take_up(str(request.session_hash), key)
        if workbench is None:
            doors = [gr.skip()] * len(parts.doors())
            return [gr.skip(), token, *doors, *gone(MedsamPlannerError(wording.NOT_TAKEN_UP))]
        return [gr.update(visible=False), *entrance(workbench, Remembered())]

    def leave(request: gr.Request) -> None:
        sessions.leave(str(request.session_hash))

    entered = [parts.token, *parts.doors(), *shown]
    begun = [parts.remembered, parts.path, parts.earlier, *entered]
    known = [parts.token, parts.remembered]
    first: dict[str, Any] = {"show_progress_on": parts.notice, **_LONG}
    page.load(begin, [parts.remembered], begun, js=_REMEMBERED, **_QUICK).then(open_first, known, shown, **first).then(
        show_asked, [parts.token], asked, **_QUICK
    )
    earlier = [parts.token, parts.earlier]
    parts.earlier.input(take_earlier, earlier, [parts.earlier, *entered], **_QUICK).then(
        open_first, known, shown, **first
    ).then(show_asked, [parts.token], asked, **_QUICK)
    # A page that was there all along keeps what was typed in it.
    parts.viewer.take_up(begin, [parts.remembered], begun, js=_REMEMBERED, **_QUICK).then(
        open_first, known, shown, **first
    )
    page.unload(leave)


def door_values(workbench: Workbench) -> list[dict[str, str]]:
    """Where each upload button sends its file, and what the page keeps of it."""
    address = f"uploads/{workbench.token}"
    kept = workbench.uploads.find(UploadKind.CALIBRATION)
    return [{"address": address, "kept": ""}] * 2 + [{"address": address, "kept": "" if kept is None else kept.name}]


def opened(
    sessions: Sessions, token: str, path: str, series: str | None, straighten: bool, bar: gr.Progress
) -> list[Any]:
    """Open a study by what was typed, chosen or uploaded."""

    def act(workbench: Workbench) -> Screen:
        watched = PageProgress(workbench, bar)
        return handlers.open_study(workbench, path, series=series, resample_tilt=straighten, progress=watched)

    return on_workbench(sessions, act)(token)


def _wire_study(sessions: Sessions, parts: Parts) -> None:
    def open_path(token: str, path: str, straighten: bool, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        return opened(sessions, token, path, None, straighten, progress)

    def open_series(token: str, path: str, series: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        return opened(sessions, token, path, series, False, progress)

    def open_upload(token: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        path = f"{SHOWN_AS}{event._data.get('name', '')}"
        return [path, *opened(sessions, token, path, None, False, progress)]

    long: dict[str, Any] = {**_LONG, "show_progress_on": parts.notice}
    shown = parts.shown()
    gr.on([parts.open.click, parts.path.submit], open_path, [parts.token, parts.path, parts.straighten], shown, **long)
    parts.series.input(open_series, [parts.token, parts.path, parts.series], shown, **long)
    parts.upload.uploaded(open_upload, [parts.token], [parts.path, *shown], **long)
    parts.resume.uploaded(on_workbench(sessions, handlers.resume_uploaded), [parts.token], shown, **long)


def _wire_segment(sessions: Sessions, parts: Parts) -> None:
    shown = parts.shown()

    def on_viewer(token: str, event: gr.EventData) -> list[Any]:
        return on_workbench(sessions, lambda workbench: handlers.on_viewer(workbench, event._data))(token)

    parts.viewer.viewer_action(on_viewer, [parts.token], shown, trigger_mode="multiple", **_QUICK)
    for button, act in (
        (parts.undo, handlers.step_back),
        (parts.redo, handlers.step_forward),
        (parts.clear, handlers.clear),
    ):
        button.click(on_step(sessions, act), [parts.step, parts.token], shown, **_STEP)

    def begin_structure(step: float, token: str, name: str) -> list[Any]:
        return ["", *on_step(sessions, handlers.begin_structure)(step, token, name)]

    named = [parts.step, parts.token, parts.new_name]
    parts.new_name.submit(begin_structure, named, [parts.new_name, *shown], **_STEP)
    for chooser, choose in ((parts.names, handlers.choose_structure), (parts.role, handlers.choose_role)):
        chooser.input(on_step(sessions, choose), [parts.step, parts.token, chooser], shown, **_STEP)

    def run(
        step: float,
        token: str,
        samples: float,
        sources: list[str],
        saliency: bool,
        triplanar: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        def act(workbench: Workbench) -> Screen:
            watched = PageProgress(workbench, progress)
            return handlers.run_to_3d(
                workbench,
                int(samples),
                sources,
                saliency=saliency,
                triplanar=triplanar,
                after=int(step),
                progress=watched,
            )

        return on_workbench(sessions, act)(token)

    inputs = [parts.step, parts.token, parts.samples, parts.sources, parts.saliency, parts.triplanar]
    parts.run.click(run, inputs, shown, js=_LAST_STEP, show_progress_on=parts.result, **_LONG)

    def offer_sources(samples: float, triplanar: bool, ticked: list[str]) -> Any:
        choices = source_choices(triplanar=triplanar)
        kept = [name for _, name in choices if name in ticked]
        return gr.update(choices=choices, value=kept, interactive=samples > 0)

    asked = [parts.samples, parts.triplanar, parts.sources]
    gr.on([parts.samples.change, parts.triplanar.input], offer_sources, asked, parts.sources, **_QUICK)

    def stop(token: str) -> str:
        try:
            return handlers.stop(sessions.find(token))
        except MedsamPlannerError as error:
            return wording.notice("error", str(error))

    for button in (parts.stop, parts.plan.stop):
        button.click(stop, [parts.token], parts.notice, **_QUICK)


def _wire_plan(sessions: Sessions, parts: Parts) -> None:
    panel, shown = parts.plan, parts.shown()

    def find(
        step: float,
        token: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *asked: Any,
    ) -> list[Any]:
        def act(workbench: Workbench) -> Screen:
            watched = PageProgress(workbench, progress)
            *numbers, avoid_bone = asked
            return plan_handlers.find_paths(
                workbench,
                dict(zip(panel.numbers, numbers, strict=True)),
                avoid_bone=bool(avoid_bone),
                calibration=workbench.uploads.find(UploadKind.CALIBRATION),
                after=int(step),
                progress=watched,
            )

        return on_workbench(sessions, act)(token)

    def pack(token: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        def act(workbench: Workbench) -> Screen:
            return plan_handlers.pack(workbench, progress=PageProgress(workbench, progress))

        return on_workbench(sessions, act)(token)

    long: dict[str, Any] = {**_LONG, "show_progress_on": parts.notice}
    panel.find.click(find, [parts.step, parts.token, *panel.asked()], shown, js=_LAST_STEP, **long)
    panel.export.click(pack, [parts.token], shown, **long)
    choose = on_workbench(sessions, plan_handlers.choose_alternative)
    panel.choice.input(choose, [parts.token, panel.choice], shown, **_QUICK)
