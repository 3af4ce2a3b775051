"""Everything a page shows after an action; :mod:`ui.updates` gives it to the components."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from medsam_planner.service.redaction import without_folders
from medsam_planner.service.settings import Settings
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.workbench import Workbench
from ui import html_parts, wording
from ui.canvas import scene
from ui.list_document import list_document

__all__ = ["Screen", "Tab", "discreet", "screen", "study_notes"]


Tab = Literal["study", "segment", "plan"]


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything a page shows after an action."""

    scene: dict[str, Any]
    notice: str
    study: str
    structures: dict[str, Any]
    """As :func:`ui.list_document.list_document` gives them."""
    result: str
    can_undo: bool = False
    can_redo: bool = False
    can_clear: bool = False
    can_run: bool = False
    series: tuple[tuple[str, str], ...] | None = None
    """Label and value of each series to choose from; None if there is no choice to make."""
    offers_straightening: bool = False
    """Whether to offer resampling of a gantry tilt."""
    tab: Tab | None = None
    """Tab to select; None keeps the current one."""
    plan_summary: str = wording.NO_PLAN
    alternatives: tuple[tuple[str, int], ...] = ()
    """Label and number of each alternative of the plan."""
    chosen: int = 0
    links: str = ""
    """To the report."""
    download: str = ""
    """Link to the archive."""


def screen(workbench: Workbench, notice: str = "", *, tab: Tab | None = None, **scene_options: Any) -> Screen:
    """The current state of a workbench as a screen.

    Parameters
    ----------
    workbench : Workbench
    notice : str
        HTML of :func:`ui.wording.notice`.
    tab : {"study", "segment", "plan"}, optional
        Tab to select.
    **scene_options
        Options of :func:`ui.canvas.scene`.

    Returns
    -------
    Screen
    """
    now = workbench.snapshot
    structure = now.structure
    shown = Screen(
        scene=scene(workbench, **scene_options),
        notice=notice,
        study=html_parts.study_html(now.study),
        structures=list_document(workbench),
        result=html_parts.result_html(structure),
        tab=tab,
    )
    if structure is None:
        return shown
    return replace(
        shown,
        can_undo=structure.can_undo,
        can_redo=structure.can_redo,
        can_clear=bool(structure.prompts),
        can_run=bool(structure.prompts),
        **_plan_parts(now, workbench.token),
    )


def _plan_parts(now: Snapshot, token: str) -> dict[str, Any]:
    plan = now.plan
    decided = html_parts.decision_banner(now.review.decision or now.lost_decision)
    found = {
        "links": html_parts.report_html(now, token),
        "download": html_parts.download_html(token, now.download_notes) if now.has_archive else "",
    }
    if plan is None:
        return found | {"plan_summary": decided + wording.NO_PLAN}
    return found | {
        "plan_summary": decided
        + html_parts.cautions_html(now.assessment)
        + html_parts.plan_html(plan, now.chosen, is_outdated=now.is_plan_outdated)
        + wording.notes_html(now.notes)
        + html_parts.margins_html(now.margin_statements),
        "alternatives": tuple((str(number + 1), number) for number in range(len(plan.alternatives))),
        "chosen": now.chosen,
    }


def study_notes(workbench: Workbench) -> tuple[str, ...]:
    """Notes on the open study that were made while it was read."""
    source = None if workbench.snapshot.study is None else workbench.snapshot.study.source
    return () if source is None else source.notes


def discreet(shown: Screen, settings: Settings) -> Screen:
    """Copy of a screen in which no text names the server's folders."""
    return replace(
        shown,
        notice=without_folders(shown.notice, settings),
        study=without_folders(shown.study, settings),
        plan_summary=without_folders(shown.plan_summary, settings),
        links=without_folders(shown.links, settings),
    )
