"""What the server proposes for a structure: where to click next, and the model's other answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medsam_planner.client.session_part import SessionPart, structure_path

__all__ = ["Proposals"]


class Proposals(SessionPart):
    """The part of a remote session that asks for proposals."""

    def next_clicks(self, structure: str) -> list[Mapping[str, Any]]:
        """Where the next click would help most, the best first.

        Parameters
        ----------
        structure : str

        Returns
        -------
        list of mapping
            ``position_lps_mm``, ``why`` and ``value``, and the reason in ``words``.

        Raises
        ------
        NotThereError, StaleError
            If there is no 3D result of the present prompts.
        """
        answer: list[Mapping[str, Any]] = self._ask("GET", f"{structure_path(structure)}/next-clicks")
        return answer

    def alternatives(self, structure: str) -> Mapping[str, Any]:
        """The model's answers to the last prompt of a structure.

        Parameters
        ----------
        structure : str

        Returns
        -------
        mapping
            ``answers``, best first, each with the number ``answer`` and its predicted IoU ``quality``; ``chosen``, and
            ``axis`` and ``slice_index`` of the slice.

        Raises
        ------
        NotThereError
            If there is no such structure.
        """
        answer: Mapping[str, Any] = self._ask("GET", f"{structure_path(structure)}/alternatives")
        return answer

    def choose(self, structure: str, answer: int) -> int:
        """Choose one of :meth:`alternatives`, as one step that can be undone; returns the number of the change.

        Raises
        ------
        PromptError
            If the last prompt is neither a box nor a click inside.
        """
        return self._number("POST", "/prompts", structure=structure, prompt={"kind": "choice", "answer": answer})
