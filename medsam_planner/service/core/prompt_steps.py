"""The prompts of one structure as a prompt file states them, with undo and redo; the log is read from them strictly.

A step is an entry of a prompt file, whatever its kind, so a new kind of entry needs no code here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from medsam_planner.errors import NotThereError, PromptError
from prompts import Prompt, PromptFile, PromptLog
from prompts.json_text import plain_json
from prompts.schema import SCHEMA_VERSION, prompt_file_document, prompt_file_from_node
from prompts.strict import Node

__all__ = ["PromptSteps", "entry_of"]


@dataclass(frozen=True, slots=True)
class PromptSteps:
    """The steps of one structure; replaced, never edited."""

    structure: str
    entries: tuple[Mapping[str, Any], ...] = ()
    """Every entry in order, those that are undone last."""
    applied: int = 0
    """How many of them hold."""
    numbers: tuple[int, ...] = ()
    """Number of the change that each entry was; 0 for those that came together, as from a file."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", self.numbers or (0,) * len(self.entries))

    @classmethod
    def of_log(cls, log: PromptLog) -> PromptSteps:
        """The steps of a log, undone ones included."""
        document = plain_json(prompt_file_document(PromptFile((log,))), "prompt")
        entries = document["structures"][log.structure]
        for entry in entries:
            entry.pop("undone", None)
        return cls(log.structure, tuple(entries), len(entries) - log.undone)

    def added(self, entry: Mapping[str, Any], n: int = 0) -> PromptSteps:
        """With one more entry, which was change `n`; undone ones can then no longer be redone."""
        return replace(
            self,
            entries=(*self.entries[: self.applied], entry),
            numbers=(*self.numbers[: self.applied], n),
            applied=self.applied + 1,
        )

    def without(self, n: int) -> Mapping[str, Any]:
        """The entry that removes the prompt of change `n`.

        Raises
        ------
        NotThereError
            If that change was no prompt of this structure that holds.
        """
        holding = [self.numbers[place] for place in self.log().places]
        if n not in holding:
            raise NotThereError(f"Change {n} is no prompt of {self.structure!r} that holds: {_listed(holding)}.")
        return {"kind": "removal", "prompt": holding.index(n)}

    def undone(self) -> PromptSteps:
        """Without the last step that holds.

        Raises
        ------
        PromptError
            If there is none.
        """
        if not self.applied:
            raise PromptError(f"Nothing to undo for {self.structure!r}: no step is left.")
        return replace(self, applied=self.applied - 1)

    def redone(self) -> PromptSteps:
        """With the last undone step again.

        Raises
        ------
        PromptError
            If there is none.
        """
        if self.applied == len(self.entries):
            raise PromptError(f"Nothing to redo for {self.structure!r}: no step was undone since the last prompt.")
        return replace(self, applied=self.applied + 1)

    @property
    def is_prompted(self) -> bool:
        """Whether a prompt may hold: a step does, and the last one did not clear all."""
        return self.applied > 0 and self.entries[self.applied - 1]["kind"] != "clear"

    @property
    def stated(self) -> list[dict[str, Any]]:
        """The entries as a prompt file states them: those that are undone say so."""
        return [
            {**entry, "undone": True} if number >= self.applied else dict(entry)
            for number, entry in enumerate(self.entries)
        ]

    def log(self) -> PromptLog:
        """A log of its own for each caller.

        Raises
        ------
        PromptError
            If the entries do not follow the schema of prompt files.
        """
        document = {
            "schema_version": SCHEMA_VERSION,
            "frame": "LPS",
            "unit": "mm",
            "structures": {self.structure: self.stated},
        }
        return prompt_file_from_node(Node(document, "prompts")).logs[0]

    @property
    def digest(self) -> str:
        """SHA-256 of the steps that hold: results of equal digests are of the same prompts."""
        text = json.dumps(self.entries[: self.applied], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def _listed(numbers: list[int]) -> str:
    return f"those are {', '.join(map(str, numbers))}" if numbers else "there is none"


def entry_of(prompt: Prompt) -> Mapping[str, Any]:
    """The entry of a prompt file that states a prompt."""
    return PromptSteps.of_log(PromptLog.from_history("structure", [prompt])).entries[0]
