"""Which part of the page calls which handler. Every function here finds the page's workbench and passes values on."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError
from ui import handlers, plan_handlers, wording
from ui.handlers import Screen
from ui.hiding import discreet
from ui.layout import Parts, build_parts, gone, source_choices, updates
from ui.registry import Registry
from ui.uploads import SHOWN_AS, UploadKind
from ui.watching import WatchedByPage
from ui.workbench import Workbench

__all__ = ["build_page"]

_log = logging.getLogger(__name__)
_QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_LONG: dict[str, Any] = {"show_progress": "full", "api_visibility": "private", "concurrency_limit": 2}
"""Two pages may compute at once; a third waits in the queue."""


def build_page(registry: Registry) -> gr.Blocks:
    """The whole page on the workbenches of `registry`."""
    with gr.Blocks(title=wording.TITLE, analytics_enabled=False, fill_width=True) as page:
        parts = build_parts()
        _wire_page(page, registry, parts)
        _wire_study(registry, parts)
        _wire_segment(registry, parts)
        _wire_plan(registry, parts)
    return page


def on_workbench(registry: Registry, act: Callable[..., Screen]) -> Callable[..., list[Any]]:
    """A Gradio handler that takes the token and values, and gives the updates of the screen."""

    def handler(token: str, *values: Any) -> list[Any]:
        try:
            workbench = registry.find(token)
        except MedsamPlannerError as error:  # the page's workbench is gone
            return gone(str(error))
        try:
            shown = act(workbench, *values)
        except Exception:  # noqa: BLE001 - logged whole, and said by its number
            number = secrets.token_hex(3)
            _log.exception("Unexpected error %s on the page", number)
            shown = handlers.screen(workbench, wording.notice("error", wording.UNEXPECTED.format(number)))
        return updates(discreet(shown, registry.settings))

    return handler


def _wire_page(page: gr.Blocks, registry: Registry, parts: Parts) -> None:
    def begin(request: gr.Request) -> list[Any]:
        workbench = registry.begin(str(request.session_hash))
        welcome = handlers.screen(workbench, wording.notice("info", wording.NO_STUDY))
        study = registry.settings.study
        path = gr.update(value="" if study is None else study.name, interactive=True)
        doors = [gr.update(interactive=True), *[f"uploads/{workbench.token}"] * (len(parts.doors()) - 1)]
        return [workbench.token, path, *doors, *updates(discreet(welcome, registry.settings))]

    def open_first(token: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008 - Gradio's own way
        if registry.settings.study is None:
            return [gr.skip()] * len(parts.shown())
        return opened(registry, token, registry.settings.study.name, None, False, progress)

    def end(request: gr.Request) -> None:
        registry.close(str(request.session_hash))

    page.load(begin, None, [parts.token, parts.path, *parts.doors(), *parts.shown()], **_QUICK).then(
        open_first, [parts.token], parts.shown(), show_progress_on=parts.notice, **_LONG
    )
    page.unload(end)


def opened(
    registry: Registry, token: str, path: str, series: str | None, straighten: bool, bar: gr.Progress
) -> list[Any]:
    """Open a study by what was typed, chosen or uploaded."""

    def act(workbench: Workbench) -> Screen:
        watched = WatchedByPage(workbench, bar)
        workbench.is_cancelled = False
        return handlers.open_study(workbench, path, series=series, resample_tilt=straighten, progress=watched)

    return on_workbench(registry, act)(token)


def _wire_study(registry: Registry, parts: Parts) -> None:
    def open_path(token: str, path: str, straighten: bool, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        return opened(registry, token, path, None, straighten, progress)

    def open_series(token: str, path: str, series: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        return opened(registry, token, path, series, False, progress)

    def open_upload(token: str, event: gr.EventData, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        path = f"{SHOWN_AS}{event._data.get('name', '')}"
        return [path, *opened(registry, token, path, None, False, progress)]

    long: dict[str, Any] = {**_LONG, "show_progress_on": parts.notice}
    shown = parts.shown()
    gr.on([parts.open.click, parts.path.submit], open_path, [parts.token, parts.path, parts.straighten], shown, **long)
    parts.series.input(open_series, [parts.token, parts.path, parts.series], shown, **long)
    parts.upload.uploaded(open_upload, [parts.token], [parts.path, *shown], **long)
    parts.resume.uploaded(on_workbench(registry, handlers.resume_uploaded), [parts.token], shown, **long)


def _wire_segment(registry: Registry, parts: Parts) -> None:
    shown = parts.shown()

    def on_viewer(token: str, event: gr.EventData) -> list[Any]:
        return on_workbench(registry, lambda workbench: handlers.on_viewer(workbench, event._data))(token)

    parts.viewer.viewer_action(on_viewer, [parts.token], shown, trigger_mode="multiple", **_QUICK)
    for button, act in (
        (parts.undo, handlers.step_back),
        (parts.redo, handlers.step_forward),
        (parts.clear, handlers.clear),
    ):
        button.click(on_workbench(registry, act), [parts.token], shown, trigger_mode="multiple", **_QUICK)

    def begin_structure(token: str, name: str) -> list[Any]:
        return ["", *on_workbench(registry, lambda workbench: handlers.begin_structure(workbench, name))(token)]

    parts.new_name.submit(begin_structure, [parts.token, parts.new_name], [parts.new_name, *shown], **_QUICK)
    for chooser, choose in ((parts.names, handlers.choose_structure), (parts.role, handlers.choose_role)):
        chooser.input(on_workbench(registry, choose), [parts.token, chooser], shown, **_QUICK)

    def run(
        token: str,
        samples: float,
        sources: list[str],
        saliency: bool,
        triplanar: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> list[Any]:
        def act(workbench: Workbench) -> Screen:
            watched = WatchedByPage(workbench, progress)
            return handlers.run_to_3d(
                workbench, int(samples), sources, saliency=saliency, triplanar=triplanar, progress=watched
            )

        return on_workbench(registry, act)(token)

    inputs = [parts.token, parts.samples, parts.sources, parts.saliency, parts.triplanar]
    parts.run.click(run, inputs, shown, show_progress_on=parts.result, **_LONG)

    def offer_sources(samples: float, triplanar: bool, ticked: list[str]) -> Any:
        choices = source_choices(triplanar=triplanar)
        kept = [name for _, name in choices if name in ticked]
        return gr.update(choices=choices, value=kept, interactive=samples > 0)

    asked = [parts.samples, parts.triplanar, parts.sources]
    gr.on([parts.samples.change, parts.triplanar.input], offer_sources, asked, parts.sources, **_QUICK)

    def stop(token: str) -> str:
        try:
            registry.find(token).is_cancelled = True
        except MedsamPlannerError as error:
            return wording.notice("error", str(error))
        return wording.notice("info", wording.STOPPING)

    for button in (parts.stop, parts.plan.stop):
        button.click(stop, [parts.token], parts.notice, **_QUICK)


def _wire_plan(registry: Registry, parts: Parts) -> None:
    panel, shown = parts.plan, parts.shown()
    names = tuple(panel.numbers)

    def find(
        token: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
        *numbers: float,
    ) -> list[Any]:
        def act(workbench: Workbench) -> Screen:
            watched = WatchedByPage(workbench, progress)
            typed = dict(zip(names, numbers, strict=True))
            file = workbench.uploads.find(UploadKind.CALIBRATION)
            return plan_handlers.find_paths(workbench, typed, calibration=file, progress=watched)

        return on_workbench(registry, act)(token)

    def pack(token: str, progress: gr.Progress = gr.Progress()) -> list[Any]:  # noqa: B008
        def act(workbench: Workbench) -> Screen:
            return plan_handlers.pack(workbench, progress=WatchedByPage(workbench, progress))

        return on_workbench(registry, act)(token)

    long: dict[str, Any] = {**_LONG, "show_progress_on": panel.answer}
    panel.find.click(find, [parts.token, *panel.numbers.values()], shown, **long)
    panel.export.click(pack, [parts.token], shown, **long)
    choose = on_workbench(registry, plan_handlers.choose_alternative)
    panel.choice.input(choose, [parts.token, panel.choice], shown, **_QUICK)
