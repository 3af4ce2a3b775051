"""One session on one study: prompts by structure in LPS mm, results, jobs; every change is in the journal first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medsam_planner.errors import NotThereError, OutputError, PromptError
from medsam_planner.service.core.audit import Audit
from medsam_planner.service.core.journal import Journal, Record
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.study_store import StoredStudy
from medsam_planner.service.core.work_state import WorkState
from prompts import PromptLog, validate
from prompts.names import require_different, require_free

__all__ = ["Work"]

_PROMPTING = ("prompt", "undo", "redo", "replaced", "deleted")
"""Kinds of records that change the prompts of a structure."""


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
    on_prompts : callable, optional
        Told the session and a structure, whenever the prompts of that structure have changed.

    Raises
    ------
    OutputError
        If the journal cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        identifier: str,
        study: StoredStudy,
        audit: Audit | None = None,
        *,
        on_prompts: Callable[[Work, str], None] = lambda work, structure: None,
    ) -> None:
        self.folder = folder
        self.identifier = identifier
        self.study = study
        self.state = WorkState()
        self._audit = audit
        self._on_prompts = on_prompts
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
            if (known := self.state.repeated(event, kind, **entries)) is not None:
                return int(known["n"])
            told = {key: value for key, value in (("actor", actor), ("event", event)) if value is not None} | entries
            self.state.after({"n": 0, "at": "", "kind": kind, **told})  # refuses what cannot be followed
            did = _did(kind, entries.get("page", {}))
            if actor is not None and did is not None and self._audit is not None:
                what = f"{entries.get('task', kind)} {self.state.n + 1}"
                self._audit.tell(did, actor, study=self.study.identifier, session=self.identifier, what=what)
            self.state = self.state.after(self._journal.append(kind, **told))
            n = self.state.n
            if kind in _PROMPTING:
                self._on_prompts(self, entries["structure"])
            return n

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
            if (known := self.state.repeated(event, "prompt", structure=structure, entry=entry)) is not None:
                return int(known["n"])
            require_different([*self.state.listed, require_free(structure)])
            steps = self.state.steps.get(structure, PromptSteps(structure)).added(entry)
            for prompt in steps.log().prompts[-1:]:  # the added one, or one that was checked before
                validate(prompt, self.study.affine, self.study.shape)
            return self.record("prompt", actor=actor, event=event, structure=structure, entry=dict(entry))

    def remove(self, n: int, *, actor: str | None = None, event: str | None = None) -> int:
        """Remove the prompt that change `n` was; a step that undo takes back.

        Parameters
        ----------
        n : int
            As :meth:`add` returned it.
        actor : str, optional
            As :meth:`record`.
        event : str, optional
            As :meth:`record`.

        Returns
        -------
        int
            Number of this change.

        Raises
        ------
        NotThereError
            If that change was no prompt that holds.
        """
        with self.changing():
            if (known := self.state.repeated(event, "prompt", removes=n)) is not None:
                return int(known["n"])
            for steps in self.state.steps.values():
                if n > 0 and n in steps.numbers:
                    told: Record = {"structure": steps.structure, "entry": dict(steps.without(n)), "removes": n}
                    return self.record("prompt", actor=actor, event=event, **told)
            raise NotThereError(f"Change {n} is no prompt of this session that holds. The session lists its prompts.")

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
            require_different([*self.state.listed, require_free(steps.structure)])
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


def _did(kind: str, page: Mapping[str, Any]) -> str | None:
    """What the audit log calls a record; None for what a page only shows."""
    if kind != "page":
        return "opened" if kind == "opened" else "changed"
    if "chosen" in page:  # one of the alternatives of a plan
        return "decided"
    return "changed" if page.keys() & {"draft", "structures"} else None
