"""One session on one study: prompts by structure in LPS mm, results, jobs; every change is in the journal first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medsam_planner.errors import NotThereError, OutputError, PromptError, StaleError
from medsam_planner.service.core.audit import Audit
from medsam_planner.service.core.journal import Journal, Record
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.study_store import StoredStudy
from prompts import PromptLog, validate
from prompts.names import require_different, require_free

__all__ = ["StoredResult", "Work", "WorkState"]

_DID: Mapping[str, str] = {"opened": "opened", "decided": "decided"}
"""What the audit log calls a kind of record; all others are changes."""
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
    n_by_event: Mapping[str, int] = field(default_factory=lambda: _NOTHING)
    """Numbers of changes by the identifiers that clients gave them."""
    plan: str | None = None
    """Identifier of the last plan, until a structure is segmented again or a client says that it no longer holds."""
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
            state = replace(state, n_by_event={**state.n_by_event, record["event"]: record["n"]})
        match record["kind"]:
            case "opened":
                return replace(state, owner=record.get("actor", ""), model=record["model"], seed=record["seed"])
            case "prompt":
                return state._with(self._of(record["structure"]).added(record["entry"]))
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

    def is_stale(self, structure: str) -> bool:
        """Whether the prompts of a structure have changed since its 3D result."""
        return self.results[structure].digest != self.steps[structure].digest

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
            state = replace(state, results={**self.results, begun["structure"]: result}, plan=None)
        elif record["state"] == "done" and begun.get("task") == "plan":
            state = replace(state, plan=record["job"])
        return state


class Work:
    """One session.

    Parameters
    ----------
    folder : Path
        Holds ``journal.jsonl`` and the results.
    identifier : str
    study : StoredStudy
        What it is on.
    audit : Audit, optional
        Told each change of an actor, before it is made.

    Raises
    ------
    OutputError
        If the journal cannot be read.
    """

    def __init__(self, folder: Path, identifier: str, study: StoredStudy, audit: Audit | None = None) -> None:
        self.folder = folder
        self.identifier = identifier
        self.study = study
        self.state = WorkState()
        self._audit = audit
        self._lock = threading.RLock()
        self._journal = Journal(folder / "journal.jsonl")
        for record in self._journal.records_at_start:
            try:
                self.state = self.state.after(record)
            except (PromptError, KeyError, TypeError) as error:
                raise OutputError(f"The journal of session {identifier} cannot be followed: {error}.") from error

    @property
    def damage(self) -> str | None:
        """Why the session can only be read, as a sentence; None while it can be changed."""
        return self._journal.damage

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the session for one change: check → journal → apply."""
        with self._lock:
            yield

    def record(self, kind: str, *, actor: str | None = None, event: str | None = None, **entries: Any) -> int:
        """Make a change: it is on the disk when this returns.

        Parameters
        ----------
        kind : str
            See :meth:`WorkState.after`.
        actor : str, optional
            Name of who makes it; None is the server itself.
        event : str, optional
            The client's identifier of the change: the same one again changes nothing and gives the first answer.
        **entries
            Plain JSON values.

        Returns
        -------
        int
            Number of the change.

        Raises
        ------
        PromptError
            If there is nothing to undo or redo.
        OutputError, ReadOnlyError
            If the journal cannot be written.
        """
        with self.changing():
            if event is not None and event in self.state.n_by_event:
                return self.state.n_by_event[event]
            told = {key: value for key, value in (("actor", actor), ("event", event)) if value is not None} | entries
            self.state.after({"n": 0, "at": "", "kind": kind, **told})  # refuses what cannot be followed
            if actor is not None and self._audit is not None and kind != "page":
                did, what = _DID.get(kind, "changed"), f"{entries.get('task', kind)} {self.state.n + 1}"
                self._audit.tell(did, actor, study=self.study.identifier, session=self.identifier, what=what)
            self.state = self.state.after(self._journal.append(kind, **told))
            return self.state.n

    def add(
        self, structure: str, entry: Mapping[str, Any], *, actor: str | None = None, event: str | None = None
    ) -> int:
        """Append an entry to the prompts of a structure, which is begun where there is none.

        Parameters
        ----------
        structure : str
        entry : mapping
            As in a prompt file.
        actor : str, optional
            As :meth:`record`.
        event : str, optional
            As :meth:`record`.

        Returns
        -------
        int
            Number of the change.

        Raises
        ------
        PromptError, GeometryError
            If the entry does not follow the schema or does not lie in the study, or the name cannot be used.
        """
        if "undone" in entry:
            raise PromptError("Expected a prompt that holds, got one with 'undone'. Add it, then undo it.")
        with self.changing():
            if event is not None and event in self.state.n_by_event:
                return self.state.n_by_event[event]
            require_different([*self.state.steps, require_free(structure)])
            steps = self.state.steps.get(structure, PromptSteps(structure)).added(entry)
            for prompt in steps.log().prompts[-1:]:  # the added one, or one that was checked before
                validate(prompt, self.study.affine, self.study.shape)
            return self.record("prompt", actor=actor, event=event, structure=structure, entry=dict(entry))

    def replace_steps(self, steps: PromptSteps, *, actor: str | None = None) -> int:
        """Replace all prompts of a structure, undone ones included; returns the number of the change.

        Parameters
        ----------
        steps : PromptSteps
        actor : str, optional
            As :meth:`record`.

        Raises
        ------
        PromptError, GeometryError
            As :meth:`add`.
        """
        with self.changing():
            require_different([*self.state.steps, require_free(steps.structure)])
            for prompt in steps.log().prompts:
                validate(prompt, self.study.affine, self.study.shape)
            entries = [dict(entry) for entry in steps.entries]
            told: Record = {"structure": steps.structure, "entries": entries, "applied": steps.applied}
            return self.record("replaced", actor=actor, **told)

    def log(self, structure: str) -> PromptLog:
        """A copy of the prompts of a structure.

        Raises
        ------
        NotThereError
            If there is none of that name.
        """
        return self.state.require(structure).log()
