"""What a person decided on a plan: accepted, rejected, or accepted before it changed."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from medsam_planner.errors import PlanningError
from medsam_planner.io.objects.plan_sr import NOT_DECIDED

__all__ = ["LONGEST_COMMENT", "NOT_DECIDED", "Decision", "DecisionKind", "decision_html", "with_decision"]

LONGEST_COMMENT = 1000
_BLOCK = re.compile(r"<!-- decision -->.*?<!-- end of decision -->", re.DOTALL)


class DecisionKind(StrEnum):
    """What was decided."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    """It was accepted, and has changed since: the acceptance no longer holds."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision on one path of a plan."""

    kind: DecisionKind
    by: str
    """Name of the person, as the server knows it."""
    at: str
    """When, ISO 8601 in UTC."""
    comment: str = ""
    path: str = ""
    """What it is about, such as ``path 2``."""
    ended: str = ""
    """Why it no longer holds, as a sentence; of a withdrawn one."""

    @property
    def sentence(self) -> str:
        """What was decided, by whom and when."""
        when = self.at[:16].replace("T", " ")
        about = f" {self.path}" if self.path else ""
        if self.kind is DecisionKind.WITHDRAWN:
            return f"No longer accepted. {self.by} accepted{about} on {when} UTC. {self.ended}".strip()
        return f"{self.kind.value.capitalize()}:{about} by {self.by} on {when} UTC."

    @property
    def text(self) -> str:
        """The sentence with the comment."""
        return f"{self.sentence} Comment: {self.comment}" if self.comment else self.sentence

    def as_entry(self) -> dict[str, Any]:
        """For plan.json."""
        return {
            "kind": self.kind.value,
            "by": self.by,
            "at": self.at,
            "path": self.path,
            "comment": self.comment,
            "ended": self.ended,
            "text": self.text,
        }

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> Decision:
        """Of plan.json.

        Raises
        ------
        PlanningError
            If it is no decision.
        """
        try:
            parts = {name: str(entry[name]) for name in ("by", "at", "path", "comment", "ended")}
            return cls(kind=DecisionKind(entry["kind"]), **parts)
        except (KeyError, TypeError, ValueError) as error:
            raise PlanningError(f"Expected a decision on a plan, got {entry!r}.") from error


def decision_html(decision: Decision | None) -> str:
    """The section of a report that tells the decision; it can be replaced by :func:`with_decision`."""
    kind = "undecided" if decision is None else decision.kind.value
    sentence = NOT_DECIDED if decision is None else decision.sentence
    comment = "" if decision is None or not decision.comment else f"<p>Comment: {html.escape(decision.comment)}</p>"
    return (
        f'<!-- decision --><section class="decision {kind}" aria-label="Decision"><p><strong>{html.escape(sentence)}'
        f"</strong></p>{comment}</section><!-- end of decision -->"
    )


def with_decision(report: str, decision: Decision | None) -> str:
    """A written report with another decision in it.

    Raises
    ------
    PlanningError
        If the report has no place for one: it was written by an older version.
    """
    changed, count = _BLOCK.subn(lambda _: decision_html(decision), report, count=1)
    if not count:
        raise PlanningError("The report has no place for a decision. Find paths again, then decide.")
    return changed
