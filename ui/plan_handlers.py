"""What the controls of the Plan tab do, free of Gradio: a workbench and values in, a screen out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsam_planner.progress import Progress
from medsam_planner.service import results
from medsam_planner.service.presets import Preset
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.run_change import attempt
from ui.screen import Screen
from ui.wording import NoticeKind

__all__ = ["choose_alternative", "enter_preset", "find_paths"]


def find_paths(
    workbench: Workbench,
    numbers: Mapping[str, Any],
    *,
    avoid_bone: bool = True,
    calibration: Path | None = None,
    after: int = 0,
    progress: Progress | None = None,
) -> Screen:
    """Search for paths and write the report.

    Parameters
    ----------
    workbench : Workbench
    numbers : mapping
        Entered values by field of :class:`medsam_planner.service.plan_draft.PlanDraft`.
    avoid_bone : bool
        Whether to avoid unsegmented bone in a CT.
    calibration : Path, optional
        Calibration file; margins are then calibrated.
    after : int
        Last step of the page that must be carried out before.
    progress : Progress, optional

    Returns
    -------
    Screen
    """

    def change() -> str:
        workbench.require_work()
        draft = workbench.draft.with_numbers(numbers)
        workbench.set_draft(replace(draft, avoid_bone=avoid_bone, calibration=calibration))
        results.find_paths(workbench, progress=progress)
        return wording.after_plan(workbench.snapshot.plan, workbench.snapshot.assessment)

    def kind() -> NoticeKind:
        assessment = workbench.snapshot.assessment
        return "done" if assessment is not None and not wording.needs_caution(assessment) else "caution"

    def notes() -> tuple[str, ...]:
        return workbench.snapshot.notes

    return attempt(workbench, change, kind=kind, notes=notes, after=after, is_long=True, shows_path=True)


def choose_alternative(workbench: Workbench, number: int) -> Screen:
    """Show another alternative of the plan."""

    def change() -> None:
        workbench.choose_alternative(number)

    return attempt(workbench, change, shows_path=True)


def enter_preset(workbench: Workbench, preset: Preset) -> Screen:
    """Enter the starting values of a procedure."""

    def change() -> str:
        workbench.set_draft(workbench.draft.with_numbers(preset.numbers))
        return wording.PRESET_ENTERED.format(preset.label)

    return attempt(workbench, change)
