"""What the list of structures does, free of Gradio: a workbench and the browser's values in, a screen out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from medsam_planner.service import begin_from, prompting, structure_list
from medsam_planner.service.workbench import Workbench
from ui import wording
from ui.run_change import attempt
from ui.screen import Screen, screen

__all__ = ["begin", "choose", "describe", "on_list"]


def on_list(workbench: Workbench, payload: Mapping[str, Any]) -> Screen:
    """Carry out an action in the list; `payload` is untrusted.

    Parameters
    ----------
    workbench : Workbench
    payload : mapping
        ``kind``, the ``structure`` it is about, a ``value``, and the ``step``, as ``viewer/structure_list.js`` sends
        them.
    """
    kind, structure, value, step = (payload.get(name) for name in ("kind", "structure", "value", "step"))
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    change: Callable[[], object] | None = None
    message = ""
    if isinstance(structure, str) and (step is None or isinstance(step, int)):
        match kind:
            case "begin":
                return begin(workbench, structure, step=step)
            case "choose":
                return choose(workbench, structure, step=step)
            case "rename" if isinstance(value, str):
                change, message = partial(structure_list.rename, workbench, structure, value), wording.RENAMED
            case "delete":
                change = partial(structure_list.delete, workbench, structure)
                message = wording.DELETED.format(structure)
            case "restore" if number is not None:
                change = partial(structure_list.restore, workbench, number)
                message = wording.RESTORED_STRUCTURE.format(structure)
            case "move" if number is not None:
                change = partial(structure_list.move, workbench, structure, number)
            case "remove" if number is not None:
                change, message = partial(prompting.remove, workbench, number), wording.REMOVED
            case "begin_from" if isinstance(value, str):
                change = partial(begin_from.from_structure, workbench, value)
                message = wording.BEGUN_FROM.format(structure)
            case "role" | "colour" | "hidden" | "anatomy":
                return describe(workbench, structure, step=step, **{kind: value})
    if change is None:
        refused = "The page sent an action of the list that is not understood. Reload the page."
        return screen(workbench, wording.notice("error", refused))
    return attempt(workbench, partial(_done, change), step=step, message=message)


def begin(workbench: Workbench, name: str, *, step: int | None = None) -> Screen:
    """Begin a structure and make it the active one."""
    begun = partial(structure_list.begin, workbench, name)
    return attempt(workbench, begun, step=step, message=f"Now prompting ‘{name.strip()}’.")


def choose(workbench: Workbench, name: str, *, step: int | None = None) -> Screen:
    """Make another structure the active one."""
    return attempt(workbench, partial(structure_list.choose, workbench, name), step=step)


def describe(workbench: Workbench, name: str, *, step: int | None = None, **looks: Any) -> Screen:
    """Change role, colour, visibility or anatomy of a structure."""
    return attempt(workbench, partial(structure_list.describe, workbench, name, **looks), step=step)


def _done(change: Callable[[], object]) -> None:
    change()
