"""What persons have done to a plan since it was made: lines placed by hand, and the decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medsam_planner.errors import PlanningError
from medsam_planner.report.decision import Decision, DecisionKind
from medsam_planner.service.core.journal import Record

__all__ = ["REVIEWING", "PlanReview"]

REVIEWING = ("line", "line-undo", "line-redo", "decision")
"""Kinds of records that :class:`PlanReview` follows; each names its ``plan``."""


@dataclass(frozen=True, slots=True)
class PlanReview:
    """The review of one plan; replaced, never edited."""

    placed: tuple[Mapping[str, Any], ...] = ()
    """Lines that a person placed, as ``plan.json`` has paths, each with its ``tool``; undone ones included."""
    applied: int = 0
    """How many of them hold."""
    decision: Decision | None = None
    is_written: bool = True
    """Whether the report, if there is one, tells the plan as it stands."""
    n: int = 0
    """Number of the last change."""

    @property
    def lines(self) -> Mapping[int, Mapping[str, Any]]:
        """The placed lines that hold, by their number in `placed`; one that was moved again has replaced another."""
        holding = self.placed[: self.applied]
        replaced = {one.get("replaces") for one in holding}
        return {number: one for number, one in enumerate(holding) if number not in replaced}

    @property
    def can_undo(self) -> bool:
        """Whether there is a placed line."""
        return self.applied > 0

    @property
    def can_redo(self) -> bool:
        """Whether one was undone."""
        return self.applied < len(self.placed)

    def after(self, record: Record) -> PlanReview:
        """The review after one of the records :data:`REVIEWING`.

        Raises
        ------
        PlanningError
            If there is nothing to undo or redo.
        """
        match record["kind"]:
            case "decision":
                entry = {"ended": "", "by": record.get("actor", ""), "at": record["at"], **record["decision"]}
                return replace(self, decision=Decision.from_entry(entry), is_written=False, n=record["n"])
            case "line":
                placed = (*self.placed[: self.applied], record["line"])
                changed = replace(self, placed=placed, applied=len(placed))
                return changed.ended(record, "A path was placed by hand")
            case "line-undo" if self.can_undo:
                return replace(self, applied=self.applied - 1).ended(record, "A path placed by hand was taken back")
            case "line-redo" if self.can_redo:
                return replace(self, applied=self.applied + 1).ended(record, "A path placed by hand was put back")
        raise PlanningError("There is no path placed by hand to undo or redo.")

    def written(self, job: Record) -> PlanReview:
        """The review once a job has written the report, of the plan as it stood when the job began."""
        return replace(self, is_written=True) if self.n < job["n"] else self

    def ended(self, record: Record, why: str) -> PlanReview:
        """The review after a change of the plan: an acceptance no longer holds."""
        changed, decision = replace(self, is_written=False, n=record["n"]), self.decision
        if decision is None or decision.kind is not DecisionKind.ACCEPTED:
            return changed
        who = f" by {record['actor']}" if record.get("actor") else ""
        when = record["at"][:16].replace("T", " ")
        ended = f"{why}{who} on {when} UTC." if when else f"{why}{who}."
        return replace(changed, decision=replace(decision, kind=DecisionKind.WITHDRAWN, ended=ended))
