"""The list of structures of a workbench: which is active, names, order, role, colour, visibility, anatomy."""

from __future__ import annotations

from typing import Any

from medsam_planner.errors import PromptError
from medsam_planner.service.core.work import Work
from medsam_planner.service.structure import FIRST_STRUCTURE
from medsam_planner.service.workbench import Workbench

__all__ = ["begin", "choose", "delete", "describe", "move", "rename", "restore"]


def begin(workbench: Workbench, name: str) -> None:
    """Begin a structure and make it the active one; it takes the place of a first one that was never prompted.

    Raises
    ------
    PromptError
        If there is a structure of that name, or the name cannot be used.
    """
    work, name = workbench.require_work(), name.strip()
    active = workbench.structure
    if active.name == FIRST_STRUCTURE and active.name in work.state.listed and not active.steps.entries:
        workbench.own.rename(work, FIRST_STRUCTURE, name)
    else:
        workbench.own.begin(work, name)
    workbench.record(active=name)


def choose(workbench: Workbench, name: str) -> None:
    """Make another structure the active one.

    Raises
    ------
    PromptError
        If there is no structure of that name.
    """
    _require(workbench, name)
    workbench.record(active=name)


def describe(workbench: Workbench, name: str, **looks: Any) -> None:
    """Change role, colour, visibility or anatomy; parameters and errors as of
    :func:`medsam_planner.service.core.structure_changes.describe`."""
    work = _listed(workbench, name)
    workbench.own.describe(work, name, **looks)
    workbench.refresh()


def rename(workbench: Workbench, name: str, to: str) -> None:
    """Give a structure another name; prompts, result and role stay with it.

    Raises
    ------
    PromptError
        If there is another one of the new name, or it cannot be used.
    """
    workbench.own.rename(_listed(workbench, name), name, to.strip())
    workbench.refresh()


def delete(workbench: Workbench, name: str) -> None:
    """Delete a structure with its prompts and result; :func:`restore` brings it back."""
    workbench.own.delete(_listed(workbench, name), name)
    workbench.refresh()


def restore(workbench: Workbench, n: int) -> None:
    """Bring back the structure that change `n` deleted.

    Raises
    ------
    NotThereError, PromptError
        If there is none, or another structure has its name.
    """
    work = workbench.require_work()
    name = next((one.name for one in work.state.deleted if one.n == n), None)
    workbench.own.restore(work, n)
    workbench.record(active=name)


def move(workbench: Workbench, name: str, by: int) -> None:
    """Move a structure up (negative) or down in the list; at its ends nothing moves."""
    names = list(_listed(workbench, name).state.listed)
    place = names.index(name)
    names.insert(min(max(place + by, 0), len(names) - 1), names.pop(place))
    workbench.own.order(workbench.require_work(), names)
    workbench.refresh()


def _require(workbench: Workbench, name: str) -> Work:
    work, names = workbench.require_work(), workbench.snapshot.structures
    if name not in names:
        raise PromptError(f"Expected one of the structures {', '.join(names)}, got {name!r:.100}.")
    return work


def _listed(workbench: Workbench, name: str) -> Work:
    """The session, with the structure in its list: one that the page only offers is begun."""
    work = _require(workbench, name)
    if name not in work.state.listed:
        workbench.own.begin(work, name)
    return work
