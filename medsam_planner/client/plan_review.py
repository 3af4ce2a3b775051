"""Review of a plan on the server: lines placed by hand, the decision, the report that tells them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medsam_planner.client.session_part import SessionPart

__all__ = ["PlanReviewing"]


class PlanReviewing(SessionPart):
    """The part of a remote session that reviews a plan. A plan is named by the job that made it."""

    def review(self, plan: str) -> Mapping[str, Any]:
        """``paths`` by tool, those placed by hand last; the ``decision``; whether the plan ``holds``."""
        answer: Mapping[str, Any] = self._ask("GET", f"/plans/{plan}/review")
        return answer

    def measure_line(
        self,
        plan: str,
        entry_lps_mm: Sequence[float],
        target_lps_mm: Sequence[float],
        *,
        tool: str | None = None,
        on_surface: bool = True,
    ) -> Mapping[str, Any]:
        """Measure a line as the planner measures its own paths; nothing is changed.

        Parameters
        ----------
        plan : str
        entry_lps_mm, target_lps_mm : (3,) float
        tool : str, optional
            Of several; by default the first.
        on_surface : bool
            Whether the entry is moved along the line to the surface that is entered.

        Returns
        -------
        mapping
            ``line`` as ``plan.json`` has paths; ``not_certified`` and ``broken_limits`` in sentences.

        Raises
        ------
        StaleError
            If the plan no longer holds.
        """
        body = _line(entry_lps_mm, target_lps_mm, tool, on_surface)
        answer: Mapping[str, Any] = self._ask("POST", f"/plans/{plan}/measures", body=body)
        return answer

    def place_line(
        self,
        plan: str,
        entry_lps_mm: Sequence[float],
        target_lps_mm: Sequence[float],
        *,
        tool: str | None = None,
        on_surface: bool = True,
    ) -> int:
        """Keep a line as a path of the plan, whose acceptance ends; parameters as :meth:`measure_line`.

        Returns
        -------
        int
            Number of the change.

        Raises
        ------
        PlanningError
            If it does not begin at the surface that is entered.
        StaleError
            If the plan no longer holds.
        """
        return self._step(plan, "lines", **_line(entry_lps_mm, target_lps_mm, tool, on_surface))

    def undo_line(self, plan: str) -> int:
        """Take the line placed last back."""
        return self._step(plan, "undo")

    def redo_line(self, plan: str) -> int:
        """Put the line back that was taken back."""
        return self._step(plan, "redo")

    def decide(
        self,
        plan: str,
        decision: str,
        *,
        path: int = 1,
        tool: str | None = None,
        comment: str = "",
        name: str = "",
    ) -> int:
        """Accept or reject a path; ``plan.json`` and the report tell it at once.

        Parameters
        ----------
        plan : str
        decision : {"accepted", "rejected"}
        path : int
            As the report numbers them, from 1.
        tool : str, optional
            Of several; by default the first.
        comment : str
            Needed to reject a path, and to accept one that breaks a limit.
        name : str
            Of the person, where the server has no users.

        Returns
        -------
        int
            Number of the change.

        Raises
        ------
        PlanningError
            If there is no such path, it rests on prompts that changed since, or comment or name is missing.
        StaleError
            If the plan no longer holds.
        ForbiddenError
            If you may not plan on the study.
        """
        return self._step(plan, "decision", decision=decision, path=path, tool=tool, comment=comment, name=name)

    def begin_report(self, plan: str) -> str:
        """Begin to write the report anew, the path decided on or placed last before the others. Returns the job."""
        return str(self._ask("POST", f"/plans/{plan}/report")["job"])

    def _step(self, plan: str, what: str, **entries: Any) -> int:
        return self._number("POST", f"/plans/{plan}/{what}", **entries)


def _line(entry: Sequence[float], target: Sequence[float], tool: str | None, on_surface: bool) -> dict[str, Any]:
    ends = {name: [float(value) for value in end] for name, end in (("entry_lps_mm", entry), ("target_lps_mm", target))}
    return {**ends, "tool": tool, "on_surface": on_surface}
