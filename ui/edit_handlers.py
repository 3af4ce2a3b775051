"""What brush, eraser and operations on the mask do, free of Gradio: a workbench in, a message or a screen out."""

from __future__ import annotations

from collections.abc import Callable

from medsam_planner.errors import PromptError
from medsam_planner.segmentation.mask_operations import (
    FillHoles,
    KeepIslandAt,
    KeepLargestIsland,
    MaskOperation,
    RemoveSmallIslands,
    Smooth,
)
from medsam_planner.service import editing, prompting
from medsam_planner.service.display import Plane
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.run_change import attempt
from ui.screen import Screen
from ui.viewer_action import ActionKind, ViewerAction

__all__ = ["OPERATIONS", "carry_out", "operate"]

OPERATIONS: dict[str, str] = {
    "largest": "Keep the largest island",
    "small": "Remove islands smaller than (ml)",
    "fill": "Fill cavities",
    **{f"fill-{plane.value}": f"Fill holes on {plane.value} slices" for plane in Plane},
    "smooth": "Smooth (mm)",
}
"""Names of the operations, as the page offers them."""


def carry_out(workbench: Workbench, action: ViewerAction) -> str:
    """A stroke, or a click on the island that is to be kept; returns the message."""
    if action.kind is ActionKind.ISLAND:
        place = prompting.position(workbench, action.plane, action.slice_index, *action.first)
        return _told(editing.change_mask(workbench, KeepIslandAt(place)))
    if action.brush is None:
        raise PromptError("The page sent a stroke without a brush. Reload the page.")
    editing.paint(
        workbench,
        action.plane,
        action.slice_index,
        action.points,
        action.brush,
        positive=action.kind is ActionKind.BRUSH,
        is_last_word=action.is_last_word,
    )
    hand = workbench.structure.hand
    return wording.EDITED if hand is not None and hand.is_exact else wording.EDITED_BEFORE_3D


def operate(workbench: Workbench, name: str, amount: float | None, *, step: int | None = None) -> Screen:
    """Apply one of :data:`OPERATIONS` to the mask of the active structure.

    Parameters
    ----------
    workbench : Workbench
    name : str
    amount : float or None
        ml or mm, where the operation has one.
    step : int, optional
        Number of the change among the steps of the page.
    """

    def change() -> str:
        workbench.require_work()
        return _told(editing.change_mask(workbench, _operation(workbench, name, amount)))

    return attempt(workbench, change, step=step)


def _operation(workbench: Workbench, name: str, amount: float | None) -> MaskOperation:
    with_amount: dict[str, Callable[[float], MaskOperation]] = {"small": RemoveSmallIslands, "smooth": Smooth}
    if name in with_amount:
        if not isinstance(amount, int | float):
            raise PromptError("Enter how much: ml for islands, mm for smoothing.")
        return with_amount[name](float(amount))
    if name == "largest":
        return KeepLargestIsland()
    if name == "fill":
        return FillHoles()
    for plane, display in workbench.snapshot.displays.items():
        if name == f"fill-{plane.value}":
            return FillHoles(display.axis)
    raise PromptError(f"Expected one of the operations {', '.join(OPERATIONS)}, got {name!r}.")


def _told(changed: int) -> str:
    return wording.EDITED_VOXELS.format(changed) if changed else wording.NOTHING_CHANGED
