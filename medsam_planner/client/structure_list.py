"""Changes of the list of structures of a session on the server."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from medsam_planner.client.session_part import SessionPart, structure_path

__all__ = ["StructureList"]


class StructureList(SessionPart):
    """The part of a remote session that changes its list of structures."""

    def rename(self, structure: str, name: str) -> int:
        """Give a structure another name; prompts, result and role stay with it. A plan that may name it ends.

        Raises
        ------
        PromptError
            If there is another structure of that name, or it cannot be used.
        NotThereError
            If there is no such structure.
        """
        return self._number("PUT", f"{structure_path(structure)}/name", name=name)

    def describe(
        self,
        structure: str,
        *,
        role: str | None = None,
        colour: str | None = None,
        hidden: bool | None = None,
        anatomy: str | None = None,
    ) -> int:
        """Change how a structure is shown, coded and planned with; what is None stays.

        Parameters
        ----------
        structure : str
        role : {"ignore", "avoid", "inside"}, optional
            In the plan. Another role ends the plan.
        colour : str, optional
            ``#rrggbb``.
        hidden : bool, optional
        anatomy : str, optional
            A name that the server's table of codes has, such as ``"left kidney"``; ``""`` goes by the structure's name.

        Raises
        ------
        PromptError
            If a value cannot be used.
        NotThereError
            If there is no such structure.
        """
        return self._number(
            "PATCH", structure_path(structure), role=role, colour=colour, hidden=hidden, anatomy=anatomy
        )

    def delete(self, structure: str) -> int:
        """Delete a structure with its prompts and result; returns the number with which :meth:`restore` brings it back.

        Raises
        ------
        NotThereError
            If there is no such structure.
        """
        return int(self._ask("DELETE", f"{structure_path(structure)}?event_id={secrets.token_hex(16)}")["n"])

    def restore(self, n: int) -> int:
        """Bring back the structure that change `n` deleted.

        Raises
        ------
        NotThereError
            If that change deleted nothing, or it was restored since.
        PromptError
            If there is meanwhile another structure of its name.
        """
        return self._number("POST", "/restore", n=n)

    def order(self, structures: Sequence[str]) -> int:
        """Put the structures in another order; each must be named once."""
        return self._number("PUT", "/order", structures=list(structures))
