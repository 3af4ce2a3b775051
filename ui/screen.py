"""Everything a page shows after an action, as values; :mod:`ui.layout` gives them to the components."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from medsam_planner.service.redaction import without_folders
from medsam_planner.service.settings import Settings
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.workbench import Workbench
from ui import html_parts, wording
from ui.canvas import scene

__all__ = ["Screen", "discreet", "screen", "study_notes"]


@dataclass(frozen=True, slots=True)
class Screen:
    """Everything a page shows after an action."""

    scene: dict[str, Any]
    notice: str
    study: str
    structures: str
    result: str
    names: tuple[str, ...] = ()
    active: str = ""
    role: str = "ignore"
    can_undo: bool = False
    can_redo: bool = False
    can_clear: bool = False
    can_run: bool = False
    has_result: bool = False
    series: tuple[tuple[str, str], ...] | None = None
    """Label and value of the series to choose from; None when there is nothing to choose."""
    offers_straightening: bool = False
    """Whether the study has a gantry tilt that may be resampled."""
    tab: str | None = None
    """Tab to turn to; None stays."""
    answer: str = wording.NO_PLAN
    alternatives: tuple[tuple[str, int], ...] = ()
    """Label and number of each alternative of the plan."""
    chosen: int = 0
    links: str = ""


def screen(workbench: Workbench, notice: str = "", *, tab: str | None = None, **scene_options: Any) -> Screen:
    """The page as it stands."""
    now = workbench.snapshot
    structure = now.structure
    shown = Screen(
        scene=scene(workbench, **scene_options),
        notice=notice,
        study=html_parts.study_html(now.study),
        structures=html_parts.structures_html(tuple(now.structures.values()), now.active),
        result=html_parts.result_html(structure),
        tab=tab,
    )
    if structure is None:
        return shown
    return replace(
        shown,
        names=tuple(now.structures),
        active=now.active,
        role=structure.role,
        can_undo=structure.can_undo,
        can_redo=structure.can_redo,
        can_clear=bool(structure.prompts),
        can_run=bool(structure.prompts),
        has_result=any(one.result is not None for one in now.structures.values()),
        **_plan_parts(now, workbench.token),
    )


def _plan_parts(now: Snapshot, token: str) -> dict[str, Any]:
    plan = now.plan
    links = html_parts.links_html(token, has_report=now.has_report, has_archive=now.has_archive)
    if plan is None:
        return {"links": links}
    is_outdated = any(one.is_stale for one in now.structures.values() if one.role != "ignore")
    return {
        "answer": html_parts.cautions_html(now.assessment)
        + html_parts.plan_html(plan, now.chosen, is_outdated=is_outdated)
        + wording.notes_html(now.notes)
        + html_parts.margins_html(now.margin_statements),
        "alternatives": tuple((str(number + 1), number) for number in range(len(plan.alternatives))),
        "chosen": now.chosen,
        "links": links,
    }


def study_notes(workbench: Workbench) -> tuple[str, ...]:
    """What was noticed while the open study was read."""
    source = None if workbench.study is None else workbench.study.source
    return () if source is None else source.notes


def discreet(shown: Screen, settings: Settings) -> Screen:
    """The screen without the server's folders."""
    return replace(
        shown,
        notice=without_folders(shown.notice, settings),
        study=without_folders(shown.study, settings),
        answer=without_folders(shown.answer, settings),
    )
