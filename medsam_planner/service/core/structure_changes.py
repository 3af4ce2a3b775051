"""Changes of the list of a session's structures: check → journal → apply, as for prompts (:mod:`.work`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from medsam_planner.errors import NotThereError, PromptError
from medsam_planner.io.objects.structure_codes import structure_codes
from medsam_planner.service.core.structure_list import LOOKS, Role
from medsam_planner.service.core.work import Work
from prompts.names import require_different, require_free, require_name

__all__ = ["begin", "delete", "describe", "order", "rename", "restore"]

_COLOUR = re.compile(r"#[0-9a-f]{6}")
_LONGEST_TERM = 64
"""Characters; the longest of the table of codes has half of them."""


def begin(work: Work, structure: str, *, actor: str | None = None, event: str | None = None) -> int:
    """List a structure that has no prompts yet, at the end.

    Parameters
    ----------
    work : Work
    structure : str
    actor, event : str, optional
        As :meth:`Work.record`.

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    PromptError
        If there is one of that name, or the name cannot be used.
    """
    with work.changing():
        if (known := work.state.repeated(event, "structure", structure=structure)) is not None:
            return int(known["n"])
        _require_new(work, structure)
        return work.record("structure", actor=actor, event=event, structure=structure)


def describe(work: Work, structure: str, *, actor: str | None = None, event: str | None = None, **looks: Any) -> int:
    """Change role, colour, visibility or anatomy of a structure. Another role ends the plan.

    Parameters
    ----------
    work : Work
    structure : str
    actor, event : str, optional
        As :meth:`Work.record`.
    **looks
        ``role`` ("ignore", "avoid" or "inside"), ``colour`` ("#rrggbb"), ``hidden`` (bool), ``anatomy`` (a name that
        the table of codes has, or None to go by the structure's name).

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    NotThereError
        If there is no such structure.
    PromptError
        If a value cannot be used.
    """
    with work.changing():
        if (known := work.state.repeated(event, "structure", structure=structure, **looks)) is not None:
            return int(known["n"])
        work.state.require(structure)
        return work.record("structure", actor=actor, event=event, structure=structure, **_checked(looks))


def rename(work: Work, structure: str, name: str, *, actor: str | None = None, event: str | None = None) -> int:
    """Give a structure another name. Prompts, result and role stay with it; a plan that may name it ends.

    Parameters
    ----------
    work : Work
    structure, name : str
    actor, event : str, optional
        As :meth:`Work.record`.

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    NotThereError
        If there is no such structure.
    PromptError
        If there is another one of the new name, or it cannot be used.
    """
    with work.changing():
        if (known := work.state.repeated(event, "renamed", structure=structure, to=name)) is not None:
            return int(known["n"])
        work.state.require(structure)
        _require_new(work, name, instead_of=structure)
        return work.record("renamed", actor=actor, event=event, structure=structure, to=name)


def delete(work: Work, structure: str, *, actor: str | None = None, event: str | None = None) -> int:
    """Delete a structure with its prompts and result; :func:`restore` brings all of it back.

    Parameters
    ----------
    work : Work
    structure : str
    actor, event : str, optional
        As :meth:`Work.record`.

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    NotThereError
        If there is no such structure.
    """
    with work.changing():
        if (known := work.state.repeated(event, "deleted", structure=structure)) is not None:
            return int(known["n"])
        work.state.require(structure)
        return work.record("deleted", actor=actor, event=event, structure=structure)


def restore(work: Work, n: int, *, actor: str | None = None, event: str | None = None) -> int:
    """Bring back the structure that change `n` deleted, where it was in the list.

    Parameters
    ----------
    work : Work
    n : int
        As :func:`delete` returned it.
    actor, event : str, optional
        As :meth:`Work.record`.

    Returns
    -------
    int
        Number of this change.

    Raises
    ------
    NotThereError
        If that change deleted nothing, or it was restored since.
    PromptError
        If there is meanwhile another structure of its name.
    """
    with work.changing():
        if (known := work.state.repeated(event, "restored", deleted=n)) is not None:
            return int(known["n"])
        kept = next((one for one in work.state.deleted if one.n == n), None)
        if kept is None:
            raise NotThereError(f"Change {n} deleted no structure that can be restored. The session lists those.")
        _require_new(work, kept.name)
        return work.record("restored", actor=actor, event=event, deleted=n)


def order(work: Work, structures: Sequence[str], *, actor: str | None = None, event: str | None = None) -> int:
    """Put the structures in another order, which exports and the legend keep.

    Parameters
    ----------
    work : Work
    structures : sequence of str
        Every structure, once.
    actor, event : str, optional
        As :meth:`Work.record`.

    Returns
    -------
    int
        Number of the change.

    Raises
    ------
    PromptError
        If they are not the structures of the session.
    """
    names = list(structures)
    with work.changing():
        if (known := work.state.repeated(event, "order", structures=names)) is not None:
            return int(known["n"])
        if sorted(names) != sorted(work.state.listed):
            raise PromptError(
                f"Expected every structure of the session once ({', '.join(work.state.listed) or 'there is none'}), "
                f"got {', '.join(names) or 'none'}."
            )
        return work.record("order", actor=actor, event=event, structures=names)


def _require_new(work: Work, name: str, *, instead_of: str | None = None) -> None:
    require_free(require_name(name))
    others = [one for one in work.state.listed if one != instead_of]
    if name in others:
        raise PromptError(f"There is already a structure named '{name}'. Choose another name, or rename that one.")
    require_different([*others, name])


def _checked(looks: dict[str, Any]) -> dict[str, Any]:
    if not looks or not looks.keys() <= set(LOOKS):
        raise PromptError(f"Expected at least one of {', '.join(LOOKS)} to change, got {', '.join(looks) or 'none'}.")
    roles = [role.value for role in Role]
    if "role" in looks and looks["role"] not in roles:
        raise PromptError(f"Expected a role of {', '.join(roles)}, got {looks['role']!r:.100}.")
    if "colour" in looks and not _COLOUR.fullmatch(str(looks["colour"])):
        raise PromptError(f"Expected a colour as #rrggbb, got {looks['colour']!r:.100}.")
    if "hidden" in looks and not isinstance(looks["hidden"], bool):
        raise PromptError(f"Expected hidden to be true or false, got {looks['hidden']!r:.100}.")
    term = looks.get("anatomy")
    if term is not None and not (
        isinstance(term, str) and len(term) <= _LONGEST_TERM and structure_codes(term).is_known
    ):
        raise PromptError(
            f"Expected a name that the table of codes has, such as 'liver' or 'left kidney', got {term!r:.100}. "
            "$MEDSAM_PLANNER_CODES can name a table that has more."
        )
    return looks
