"""What the canvas and the controls of the Segment tab do, free of Gradio: a workbench and values in, a screen out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from medsam_planner.errors import PromptError
from medsam_planner.progress import Progress
from medsam_planner.service import live, prompting
from medsam_planner.service.answers import choose_answer
from medsam_planner.service.core.options import SegmentOptions
from medsam_planner.service.workbench import Workbench
from ui import edit_handlers, wording
from ui.run_change import attempt
from ui.screen import Screen, screen
from ui.viewer_action import ActionKind, ViewerAction

__all__ = [
    "clear",
    "on_viewer",
    "redo",
    "run_to_3d",
    "stop",
    "undo",
]


def on_viewer(workbench: Workbench, payload: Mapping[str, Any]) -> Screen:
    """Carry out an action on the canvas."""
    try:
        action = ViewerAction.from_browser(payload)
    except PromptError as error:
        return screen(workbench, wording.notice("error", str(error)))

    def change() -> str:
        where = (action.plane, action.slice_index)
        match action.kind:
            case ActionKind.BOX:
                prompting.draw_box(workbench, *where, action.first, action.last)
            case ActionKind.BOX_3D:
                prompting.draw_box_3d(workbench, action.low, action.high)
            case ActionKind.LASSO:
                prompting.lasso(workbench, *where, action.points)
            case ActionKind.POSITIVE | ActionKind.NEGATIVE:
                is_positive = action.kind is ActionKind.POSITIVE
                prompting.click(workbench, *where, *action.first, positive=is_positive)
            case ActionKind.SCRIBBLE | ActionKind.SCRIBBLE_OUT:
                is_positive = action.kind is ActionKind.SCRIBBLE
                prompting.scribble(workbench, *where, action.points, positive=is_positive)
            case ActionKind.UNDO:
                prompting.undo(workbench)
            case ActionKind.REDO:
                prompting.redo(workbench)
            case ActionKind.CHOICE:
                choose_answer(workbench, action.candidate)
            case ActionKind.TARGET:
                workbench.set_end(target=prompting.position(workbench, *where, *action.first))
                return wording.TARGET_SET
            case ActionKind.ENTRY:
                workbench.set_end(entry=prompting.position(workbench, *where, *action.first))
                return wording.ENTRY_SET
            case ActionKind.BRUSH | ActionKind.ERASE | ActionKind.ISLAND:
                return edit_handlers.carry_out(workbench, action)
        return wording.after_prompt(workbench.structure)

    needs_entry = action.kind is ActionKind.TARGET and workbench.snapshot.draft.entry_lps_mm is None
    return attempt(workbench, change, step=action.step, tool="entry" if needs_entry else None)


def undo(workbench: Workbench, *, step: int | None = None) -> Screen:
    """Undo the last prompt."""
    return attempt(workbench, partial(prompting.undo, workbench), step=step)


def redo(workbench: Workbench, *, step: int | None = None) -> Screen:
    """Redo the last undone prompt."""
    return attempt(workbench, partial(prompting.redo, workbench), step=step)


def clear(workbench: Workbench, *, step: int | None = None) -> Screen:
    """Remove all prompts of the active structure."""
    return attempt(workbench, partial(prompting.clear, workbench), step=step, message=wording.CLEARED)


def stop(workbench: Workbench) -> str:
    """Ask the running computation to stop; returns the notice."""
    if not workbench.is_computing:
        return wording.notice("info", wording.NOTHING_RUNS)
    if workbench.work is not None:
        live.stop(workbench)
    workbench.stop()
    return wording.notice("info", wording.STOPPING)


def run_to_3d(
    workbench: Workbench,
    samples: int,
    sources: Sequence[str] = ("dropout",),
    *,
    saliency: bool,
    triplanar: bool,
    after: int = 0,
    progress: Progress | None = None,
) -> Screen:
    """Segment the active structure in 3D; the order in which sources of uncertainty were ticked has no effect."""

    def change() -> str:
        uncertainty = "+".join(name for name in wording.SOURCE_LABELS if name in sources)
        if samples and not uncertainty:
            raise PromptError(wording.NO_SOURCE)
        options = SegmentOptions(samples, uncertainty or "dropout", saliency, triplanar)
        workbench.segment(options, progress=progress)
        structure = workbench.structure
        return f"‘{structure.name}’: {structure.volume_ml:.2f} ml. Scroll through the slices and check its uncertainty."

    return attempt(workbench, change, after=after, is_long=True, shows_structure=True)
