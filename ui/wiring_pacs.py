"""What the PACS controls of the page do; they are laid out in :mod:`ui.pacs_section`."""

from __future__ import annotations

import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr

from medsam_planner.errors import MedsamPlannerError, NotThereError
from medsam_planner.service import pacs
from medsam_planner.service.pages import Pages
from medsam_planner.service.workbench import Workbench
from ui import study_handlers, wording
from ui.events import LONG, connect, on_workbench
from ui.layout import Parts
from ui.pacs_section import FORM
from ui.progress_bar import PageProgress
from ui.screen import Screen, screen
from ui.updates import SHOWN, Updates

__all__ = ["wire_pacs"]

_log = logging.getLogger(__name__)
_LISTED = ("pacs_told", "pacs_studies", "pacs_series")
_SENDING = ("send_told", "send_now", "send_cancel")


@dataclass(slots=True)
class _Worklist:
    """What a page was shown: a row that it names is one of these."""

    studies: tuple[pacs.FoundStudy, ...] = ()
    series: tuple[pacs.FoundSeries, ...] = ()
    consignment: pacs.Consignment | None = None


_worklists: WeakKeyDictionary[Workbench, _Worklist] = WeakKeyDictionary()


def wire_pacs(pages: Pages, parts: Parts) -> None:
    """Connect both, where the server was started with a pacs file; else they stay hidden."""
    known = pages.service.settings.pacs
    if known is None or not known.nodes:
        return
    nodes = list(known.nodes)
    for section, node in (("pacs", "pacs_node"), ("send", "send_node")):
        parts[section].visible = True
        parts[node].choices = [(name, name) for name in nodes]
        parts[node].value = nodes[0]
    _wire_query(pages, parts)
    _wire_sending(pages, parts)


def _wire_query(pages: Pages, parts: Parts) -> None:
    def search(token: str, node: str, *values: str) -> Updates:
        def act(workbench: Workbench) -> Updates:
            match = {keyword: str(value or "") for (keyword, _, _), value in zip(FORM.values(), values, strict=True)}
            found = pacs.find_studies(workbench, str(node), match)
            listed = _worklist(workbench)
            listed.studies, listed.series = found[: pacs.MOST_ROWS], ()
            told = wording.notice("info", _counted(len(found)))
            return {"pacs_told": told, "pacs_studies": _shown(listed.studies, _study_row)}

        return _told(pages, token, act, "pacs_told", {"pacs_studies": _shown((), str), "pacs_series": _shown((), str)})

    def choose(token: str, row: str) -> Updates:
        def act(workbench: Workbench) -> Updates:
            listed = _worklist(workbench)
            listed.series = pacs.find_series(workbench, _row(listed.studies, row))
            told = "" if listed.series else wording.notice("info", "The study has no series.")
            return {"pacs_told": told, "pacs_series": _shown(listed.series, _series_row)}

        return _told(pages, token, act, "pacs_told", {"pacs_series": _shown((), str)})

    def fetch(token: str, row: str, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008 - Gradio's own way
        path: list[str] = []

        def act(workbench: Workbench) -> Screen:
            bar = PageProgress(workbench, progress)
            try:
                with workbench.changing(is_long=True):
                    path.append(pacs.fetch(workbench, _row(_worklist(workbench).series, row), progress=bar))
            except MedsamPlannerError as error:
                return screen(workbench, wording.notice("error", str(error)))
            return study_handlers.open_study(workbench, path[0], progress=bar)

        shown = on_workbench(pages, act)(token)
        return {**shown, "path": path[0] if path else gr.skip()}

    quick: dict[str, Any] = {**LONG, "show_progress_on": parts["pacs_told"]}
    form = ("token", "pacs_node", *FORM)
    triggers = [parts["pacs_search"].click, *(parts[name].submit for name in FORM)]
    connect(parts, triggers, search, form, _LISTED, **quick)
    connect(
        parts, parts["pacs_studies"].input, choose, ("token", "pacs_studies"), ("pacs_told", "pacs_series"), **quick
    )
    long: dict[str, Any] = {**LONG, "show_progress_on": parts["notice"]}
    connect(parts, parts["pacs_series"].input, fetch, ("token", "pacs_series"), ("path", *SHOWN), **long)


def _wire_sending(pages: Pages, parts: Parts) -> None:
    closed = {"send_now": gr.update(visible=False), "send_cancel": gr.update(visible=False)}

    def preview(token: str, node: str, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008
        def act(workbench: Workbench) -> Updates:
            with workbench.changing(is_long=True):
                ready = pacs.consign(workbench, str(node), progress=PageProgress(workbench, progress))
            _worklist(workbench).consignment = ready
            label = f"Send {len(ready.files)} objects to {ready.node}"
            return {
                "send_told": _consignment_html(ready),
                "send_now": gr.update(visible=True, value=label),
                "send_cancel": gr.update(visible=True),
            }

        return _told(pages, token, act, "send_told", closed)

    def send(token: str, progress: gr.Progress = gr.Progress()) -> Updates:  # noqa: B008
        def act(workbench: Workbench) -> Updates:
            ready = _worklist(workbench).consignment
            if ready is None:
                raise NotThereError("Nothing was shown that could be sent. Look at the results first.")
            with workbench.changing(is_long=True):
                receipt = pacs.send(workbench, ready, progress=PageProgress(workbench, progress))
            _worklist(workbench).consignment = None
            return {"send_told": _receipt_html(receipt), **closed}

        return _told(pages, token, act, "send_told", closed)

    def cancel(token: str) -> Updates:
        def act(workbench: Workbench) -> Updates:
            _worklist(workbench).consignment = None
            return {"send_told": wording.notice("info", "Nothing was sent."), **closed}

        return _told(pages, token, act, "send_told", closed)

    long: dict[str, Any] = {**LONG, "show_progress_on": parts["send_told"]}
    connect(parts, parts["send_results"].click, preview, ("token", "send_node"), _SENDING, **long)
    connect(parts, parts["send_now"].click, send, ("token",), _SENDING, **long)
    connect(parts, parts["send_cancel"].click, cancel, ("token",), _SENDING, **long)


def _told(pages: Pages, token: str, act: Callable[[Workbench], Updates], place: str, otherwise: Updates) -> Updates:
    """What `act` shows; an error is said at `place`, and the rest is then as `otherwise`."""
    try:
        return {**otherwise, **act(pages.find(token))}
    except MedsamPlannerError as error:
        return {**otherwise, place: wording.notice("error", str(error))}
    except Exception:  # noqa: BLE001 - logged in full
        _log.exception("Unexpected error in the PACS section")
        return {**otherwise, place: wording.notice("error", wording.UNEXPECTED.format("PACS"))}


def _worklist(workbench: Workbench) -> _Worklist:
    return _worklists.setdefault(workbench, _Worklist())


def _row(listed: Sequence[Any], row: str) -> Any:
    """The row that the browser names.

    Raises
    ------
    NotThereError
    """
    number = int(row) if str(row).isdecimal() and len(str(row)) < 4 else -1
    if not 0 <= number < len(listed):
        raise NotThereError("That row is no longer on the server. Search again.")
    return listed[number]


def _shown(listed: Sequence[Any], label: Callable[[Any], str]) -> Any:
    choices = [(label(one), str(number)) for number, one in enumerate(listed)]
    return gr.update(choices=choices, value=None, visible=bool(choices))


def _counted(count: int) -> str:
    if count > pacs.MOST_ROWS:
        return f"The first {pacs.MOST_ROWS} of {count} studies. Narrow the search."
    return f"{count} {'study' if count == 1 else 'studies'} found." if count else "No study found."


def _study_row(study: pacs.FoundStudy) -> str:
    name = study.texts["PatientName"].replace("^", " ").strip()
    rest = [_day(study.texts["StudyDate"]), study.texts["ModalitiesInStudy"], study.texts["StudyDescription"]]
    accession = study.texts["AccessionNumber"]
    shown = [name, study.texts["PatientID"], *rest, f"acc. {accession}" if accession else ""]
    return " · ".join(one for one in shown if one) or study.uid


def _series_row(series: pacs.FoundSeries) -> str:
    keywords = ("SeriesNumber", "Modality", "SeriesDescription", "BodyPartExamined")
    return " · ".join(series.texts[one] for one in keywords if series.texts[one]) or series.uid


def _day(text: str) -> str:
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 and text.isdecimal() else text


def _consignment_html(ready: pacs.Consignment) -> str:
    rows = [("To", ready.node), *((label, _day(value)) for label, value in ready.patient if value)]
    rows += [(one.path.name, text) for one, text in zip(ready.files, ready.descriptions, strict=True)]
    head = f"<p><b>To be sent, {ready.size_bytes / 1e3:,.0f} kB. Check patient and archive.</b></p>"
    return head + _table(rows)


def _receipt_html(receipt: pacs.Receipt) -> str:
    told = (
        f"{receipt.node} has the results: {receipt.sent} objects sent, {receipt.already_there} were there, "
        f"{receipt.checked} read back and equal ({receipt.at})."
    )
    notes = [f"{receipt.node} changed: {', '.join(receipt.changed)}."] if receipt.changed else []
    return wording.notice("done", told, notes)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f'<table class="mv-table mv-study">{lines}</table>'
