"""What the buttons of a plan do, free of Gradio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from medsam_planner.progress import Progress
from medsam_planner.service import results
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.handlers import attempt
from ui.screen import Screen

__all__ = ["choose_alternative", "find_paths", "pack"]


def find_paths(
    workbench: Workbench,
    numbers: Mapping[str, Any],
    *,
    avoid_bone: bool = True,
    calibration: Path | None = None,
    after: int = 0,
    progress: Progress | None = None,
) -> Screen:
    """Search for paths, with calibrated margins where there is a `calibration`, and write the report.

    `avoid_bone` keeps off bone that nobody segmented, in a CT.
    """

    def change() -> str:
        draft = replace(workbench.draft.with_numbers(numbers), avoid_bone=avoid_bone, calibration=calibration)
        workbench.publish(draft=draft)
        results.find_paths(workbench, progress=progress)
        return wording.after_plan(workbench.plan, workbench.snapshot.assessment)

    def kind() -> str:
        assessment = workbench.snapshot.assessment
        return "done" if assessment is not None and not wording.has_doubt(assessment) else "caution"

    def notes() -> tuple[str, ...]:
        return workbench.snapshot.notes

    return attempt(workbench, change, kind=kind, notes=notes, after=after, is_long=True, shows_path=True)


def choose_alternative(workbench: Workbench, number: int) -> Screen:
    """Draw another alternative."""

    def change() -> None:
        workbench.choose_alternative(number)

    return attempt(workbench, change, shows_path=True)


def pack(workbench: Workbench, *, progress: Progress | None = None) -> Screen:
    """Write the results and pack them for download."""

    def change() -> str:
        results.pack(workbench, progress=progress)
        return f"Packed. The same files lie in {results.results_folder(workbench)} on the server."

    return attempt(workbench, change, notes=lambda: workbench.snapshot.notes, is_long=True)
