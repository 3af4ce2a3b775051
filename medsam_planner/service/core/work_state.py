"""What the journal of a session says, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from medsam_planner.errors import ConfigError, NotThereError, StaleError
from medsam_planner.service.core.journal import Record
from medsam_planner.service.core.prompt_steps import PromptSteps

__all__ = ["StoredResult", "WorkState"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A 3D result on the disk."""

    job: str
    """Identifier of the job that made it; its folder has that name."""
    digest: str
    """Of the prompts that it was made from, see :attr:`PromptSteps.digest`."""
    summary: Mapping[str, Any]
    """``mask_sha256``, ``volume_ml`` and the settings."""


@dataclass(frozen=True, slots=True)
class WorkState:
    """A session at one moment; replaced as a whole, never edited."""

    n: int = 0
    """Number of the last record."""
    at: str = ""
    """When that was, for people."""
    owner: str = ""
    """Name of the actor who began it; see :class:`~medsam_planner.service.core.actors.Actor`."""
    model: str = ""
    seed: int = 0
    steps: Mapping[str, PromptSteps] = field(default_factory=lambda: _NOTHING)
    """By structure, in the order they were begun."""
    results: Mapping[str, StoredResult] = field(default_factory=lambda: _NOTHING)
    """The last one of each structure."""
    jobs: Mapping[str, Record] = field(default_factory=lambda: _NOTHING)
    """By identifier: how each began."""
    ends: Mapping[str, Record] = field(default_factory=lambda: _NOTHING)
    """By identifier: how each ended."""
    record_by_event: Mapping[str, Record] = field(default_factory=lambda: _NOTHING)
    """Changes by the identifiers that clients gave them."""
    plan: str | None = None
    """Identifier of the last plan, until a client asks for a structure to be segmented again or says that it no longer
    holds."""
    page: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """What only a page knows of: plain JSON values, each replaced by a later one of the same name."""

    def after(self, record: Record) -> WorkState:
        """The state after a record of the journal; unknown kinds change nothing but the number.

        Raises
        ------
        PromptError
            If there is nothing to undo or redo.
        """
        state = replace(self, n=record["n"], at=record["at"])
        if record.get("event") is not None:
            state = replace(state, record_by_event={**state.record_by_event, record["event"]: record})
        match record["kind"]:
            case "opened":
                return replace(state, owner=record.get("actor", ""), model=record["model"], seed=record["seed"])
            case "prompt":
                return state._with(self._of(record["structure"]).added(record["entry"], record["n"]))
            case "undo":
                return state._with(self._of(record["structure"]).undone())
            case "redo":
                return state._with(self._of(record["structure"]).redone())
            case "replaced":
                return state._with(PromptSteps(record["structure"], tuple(record["entries"]), record["applied"]))
            case "page":
                state = replace(state, page={**state.page, **record["page"]})
                return replace(state, plan=None) if record.get("ends_plan") else state
            case "job":
                return replace(state, jobs={**state.jobs, record["job"]: record})
            case "job-ended":
                return state._with_end(record)
        return state

    def repeated(self, event: str | None, kind: str, **entries: Any) -> Record | None:
        """The change that a client made under this identifier before; None if it has not.

        Parameters
        ----------
        event : str or None
            The client's identifier of the change.
        kind : str
        **entries
            What the client asks for.

        Raises
        ------
        ConfigError
            If what it did under the identifier was something else.
        """
        known = None if event is None else self.record_by_event.get(event)
        if known is not None and any(known.get(name) != value for name, value in {"kind": kind, **entries}.items()):
            raise ConfigError(f"Expected an event_id of its own for each request, got {event!r} of another change.")
        return known

    def is_stale(self, structure: str) -> bool:
        """Whether the prompts of a structure have changed since its 3D result."""
        return self.results[structure].digest != self.steps[structure].digest

    def is_newer_than_plan(self, structure: str) -> bool:
        """Whether the 3D result of a structure came after the last plan was begun."""
        if self.plan is None or structure not in self.results:
            return False
        return bool(self.ends[self.results[structure].job]["n"] > self.jobs[self.plan]["n"])

    def result(self, structure: str, *, allow_stale: bool = False) -> StoredResult:
        """The 3D result of a structure.

        Raises
        ------
        NotThereError, StaleError
        """
        self.require(structure)
        if structure not in self.results:
            raise StaleError(f"Structure {structure!r} has no 3D result yet. Segment it first.")
        if not allow_stale and self.is_stale(structure):
            raise StaleError(
                f"The prompts of {structure!r} have changed since its 3D result. Segment it again, or ask for the old "
                "result with allow_stale."
            )
        return self.results[structure]

    def require(self, structure: str) -> PromptSteps:
        """The steps of a structure.

        Raises
        ------
        NotThereError
            If there is none of that name.
        """
        if structure not in self.steps:
            named = ", ".join(map(repr, self.steps)) or "none yet"
            raise NotThereError(f"Expected one of the structures of the session ({named}), got {structure!r}.")
        return self.steps[structure]

    def _of(self, structure: str) -> PromptSteps:
        return self.steps.get(structure, PromptSteps(structure))

    def _with(self, steps: PromptSteps) -> WorkState:
        return replace(self, steps={**self.steps, steps.structure: steps})

    def _with_end(self, record: Record) -> WorkState:
        state = replace(self, ends={**self.ends, record["job"]: record})
        begun = self.jobs.get(record["job"], {})
        if record["state"] == "done" and begun.get("task") == "segment":
            result = StoredResult(record["job"], begun["digest"], record["result"])
            plan = self.plan if begun.get("unasked") else None  # nobody asked to lose it: it is marked as out of date
            state = replace(state, results={**self.results, begun["structure"]: result}, plan=plan)
        elif record["state"] == "done" and begun.get("task") == "plan":
            state = replace(state, plan=record["job"])
        return state
