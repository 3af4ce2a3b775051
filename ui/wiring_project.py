"""What the controls of the Project tab do; they are laid out in :mod:`ui.project_tab`."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable
from typing import Any

import gradio as gr

from medsam_planner.errors import MedsamPlannerError, NotThereError
from medsam_planner.lab.project.ordering import Order
from medsam_planner.lab.project.records import State
from medsam_planner.progress import Progress
from medsam_planner.service.core.actors import called
from medsam_planner.service.core.on_behalf_project import ListedStudy, project_study_of
from medsam_planner.service.core.project_order import OPEN_STATES
from medsam_planner.service.pages import Pages
from medsam_planner.service.project_page import open_from_project, project_of, save_to_project
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.events import LONG, QUICK, connect, on_workbench
from ui.layout import Parts
from ui.progress_bar import PageProgress
from ui.run_change import attempt
from ui.screen import Screen
from ui.updates import SHOWN, Updates

__all__ = ["wire_project"]

_log = logging.getLogger(__name__)
_LISTED = ("project_told", "project_studies", "project_here")
_VIEW = ("token", "project_order", "project_shown", "project_studies")
MOST_ROWS = 200


def wire_project(pages: Pages, parts: Parts) -> None:
    """Connect the tab, where the server was started with a project; else it stays hidden."""
    if pages.service.project is None:
        return
    parts["project"].visible = True

    def listed(token: str, order: str, shown: str, chosen: str | None) -> Updates:
        return _told(pages, token, lambda workbench: _list(workbench, order, shown, chosen))

    def exclude(token: str, order: str, shown: str, chosen: str | None, reason: str) -> Updates:
        def act(workbench: Workbench) -> Updates:
            study = project_of(workbench).exclude(_chosen(chosen), str(reason or "")[:1000])
            return _list(workbench, order, shown, None, told=f"{study.name} is excluded.")

        return {"project_reason": "", **_told(pages, token, act)}

    def reopen(token: str, order: str, shown: str, chosen: str | None) -> Updates:
        def act(workbench: Workbench) -> Updates:
            study = project_of(workbench).reopen(_chosen(chosen))
            return _list(workbench, order, shown, study.name, told=f"{study.name} is open again: {study.state.value}.")

        return _told(pages, token, act)

    def reorder(token: str, order: str, shown: str, chosen: str | None) -> Updates:
        def act(workbench: Workbench) -> Updates:
            project = project_of(workbench)
            if order == Order.WORTH.value and project.listed(Order.WORTH)[1] in ("absent", "outdated", "failed"):
                project.begin_order()
            return _list(workbench, order, shown, chosen)

        return _told(pages, token, act)

    def open_chosen(token: str, chosen: str | None, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008 - Gradio's own way
        return on_workbench(pages, lambda workbench: _open(workbench, chosen, PageProgress(workbench, progress)))(token)

    def save(token: str, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008
        return on_workbench(pages, lambda one: _save(one, PageProgress(one, progress), is_reviewed=False))(token)

    def accept(token: str, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008
        return on_workbench(pages, lambda one: _save(one, PageProgress(one, progress), is_reviewed=True))(token)

    quick: dict[str, Any] = {**QUICK}
    triggers = [
        parts["token"].change,
        parts["project"].select,
        parts["project_refresh"].click,
        parts["project_shown"].input,
    ]
    connect(parts, triggers, listed, _VIEW, _LISTED, **quick)
    connect(parts, parts["project_order"].input, reorder, _VIEW, _LISTED, **quick)
    excluded = [parts["project_exclude"].click, parts["project_reason"].submit]
    connect(parts, excluded, exclude, (*_VIEW, "project_reason"), ("project_reason", *_LISTED), **quick)
    connect(parts, parts["project_reopen"].click, reopen, _VIEW, _LISTED, **quick)
    long: dict[str, Any] = {**LONG, "show_progress_on": parts["notice"]}
    opening = connect(parts, parts["project_open"].click, open_chosen, ("token", "project_studies"), SHOWN, **long)
    for event in (
        opening,
        connect(parts, parts["project_save"].click, save, ("token",), SHOWN, **long),
        connect(parts, parts["project_accept"].click, accept, ("token",), SHOWN, **long),
    ):
        connect(parts, event.then, listed, _VIEW, _LISTED, **quick)


def _open(workbench: Workbench, chosen: str | None, progress: Progress) -> Screen:
    def change() -> str:
        name = _chosen(chosen)
        open_from_project(workbench, name, progress=progress)
        return wording.PROJECT_OPENED.format(name)

    return attempt(workbench, change, notes=lambda: workbench.snapshot.lost, is_long=True, tab="segment")


def _save(workbench: Workbench, progress: Progress, *, is_reviewed: bool) -> Screen:
    def change() -> str:
        study, recorded = save_to_project(workbench, is_reviewed=is_reviewed, progress=progress)
        what = ", ".join(f"‘{name}’" for name in recorded) or "no mask, for none is new"
        return f"{study.name} is {study.state.value}. Recorded: {what}."

    return attempt(workbench, change, is_long=True)


def _list(workbench: Workbench, order: str, shown: str, chosen: str | None, *, told: str = "") -> Updates:
    project = project_of(workbench)
    try:
        studies, condition = project.listed(Order(order))
    except ValueError as error:
        raise NotThereError("The page sent an order that is not understood. Reload the page.") from error
    work = workbench.work
    here = None if work is None else project_study_of(work)
    rows = [one for one in studies if _is_shown(one, shown)]
    settings = project.served.records.settings
    counted = ", ".join(
        f"{sum(one.study.state is state for one in studies)} {state.value}"
        for state in State
        if any(one.study.state is state for one in studies)
    )
    notes = [wording.ORDER_CONDITIONS[condition]] if order == Order.WORTH.value and condition != "current" else []
    if condition == "failed":
        notes.append(project.served.order.failure)
    if len(rows) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(rows)} studies. Show fewer states.")
    words = told or f"{settings.name}: {counted or 'no study yet'}. Structures: {', '.join(settings.names)}."
    choices = [(_row(one, workbench.own.actor.name), one.study.name) for one in rows[:MOST_ROWS]]
    known = chosen if chosen in {value for _, value in choices} else None
    return {
        "project_told": wording.notice("done" if told else "info", words, notes),
        "project_studies": gr.update(choices=choices, value=known),
        "project_here": "" if here is None else f'<div class="mv-hint">Open here: <b>{html.escape(here)}</b></div>',
    }


def _row(one: ListedStudy, who: str) -> str:
    held = (
        ""
        if one.held_by is None
        else "you have it open"
        if one.held_by == who
        else f"{called(one.held_by)} has it open"
    )
    bits = "" if one.uncertainty_bits is None else f"{one.uncertainty_bits:.2f} bit at the surface"
    state = one.study.state.value + (f" ({one.reason})" if one.reason else "")
    return " · ".join(part for part in (one.study.name, one.study.modality, state, bits, held) if part)


def _is_shown(one: ListedStudy, shown: str) -> bool:
    return shown == "all" or (one.study.state in OPEN_STATES if shown == "open" else one.study.state.value == shown)


def _chosen(name: str | None) -> str:
    if not name:
        raise NotThereError("No study is chosen. Choose one in the list.")
    return str(name)


def _told(pages: Pages, token: str, act: Callable[[Workbench], Updates]) -> Updates:
    """What `act` shows; an error is said above the list, and the rest stays."""
    rest = {"project_studies": gr.skip(), "project_here": gr.skip()}
    try:
        return {**rest, **act(pages.find(token))}
    except MedsamPlannerError as error:
        return {**rest, "project_told": wording.notice("error", str(error))}
    except Exception:  # noqa: BLE001 - logged in full
        _log.exception("Unexpected error in the Project tab")
        return {**rest, "project_told": wording.notice("error", wording.UNEXPECTED.format("project"))}
