"""The ordered log of the prompts of one structure, with undo and redo over any number of steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from prompts.errors import PromptError
from prompts.names import require_name
from prompts.shapes import Box, Click, Edit, InitialMask, Prompt, Scribble, require_candidate

__all__ = ["Choice", "Clear", "Entry", "PromptLog", "Removal"]

_PROMPTS = (Click, Box, Scribble, InitialMask, Edit)


@dataclass(frozen=True, slots=True)
class Clear:
    """A step that removes every prompt before it. It is a step like the others, so undo restores them all."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A step that chooses one of the candidate predictions for the box or click before it, counted from the best as 0.

    Raises
    ------
    PromptError
        If `candidate` is not a whole number from 0.
    """

    candidate: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidate", require_candidate(self.candidate))


@dataclass(frozen=True, slots=True)
class Removal:
    """A step that removes one of the prompts that hold, counted from the first as 0, with its choice.

    Raises
    ------
    PromptError
        If `prompt` is not a whole number from 0.
    """

    prompt: int

    def __post_init__(self) -> None:
        if isinstance(self.prompt, bool) or not isinstance(self.prompt, int | np.integer) or self.prompt < 0:
            raise PromptError(f"Expected the number of a prompt, counted from the first as 0, got {self.prompt!r}.")
        object.__setattr__(self, "prompt", int(self.prompt))


Entry: TypeAlias = Prompt | Clear | Choice | Removal


class PromptLog:
    """Prompts of one structure in the order they were given.

    Parameters
    ----------
    structure : str
        Name of the structure; files are named after it, see :func:`prompts.names.require_name`.

    Raises
    ------
    PromptError
        If the name cannot be used.
    """

    __slots__ = ("_applied", "_entries", "_structure")

    def __init__(self, structure: str = "structure") -> None:
        self._structure = require_name(structure)
        self._entries: list[Entry] = []
        self._applied = 0

    @classmethod
    def from_history(cls, structure: str, history: Iterable[Entry], *, undone: int = 0) -> PromptLog:
        """Rebuild a log whose last `undone` entries can be redone.

        Raises
        ------
        PromptError
            If an entry is no prompt, a choice does not follow a box or a positive click, a removed prompt does not
            hold, or `undone` is not between 0 and the number of entries.
        """
        log = cls(structure)
        log._entries = [_require_entry(entry) for entry in history]
        _standing(log._entries)
        if not 0 <= undone <= len(log._entries):
            raise PromptError(f"Expected between 0 and {len(log._entries)} undone entries, got {undone}.")
        log._applied = len(log._entries) - undone
        return log

    def copy(self) -> PromptLog:
        """A log of the same history, undone steps included, that changes on its own."""
        return PromptLog.from_history(self._structure, self.history, undone=self.undone)

    @property
    def structure(self) -> str:
        """Name of the structure."""
        return self._structure

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompts that hold: those not undone and not removed, after the last clear and from the last initial mask
        on. A choice is stored in the prompt it refers to."""
        return tuple(prompt for _, prompt in _standing(self._entries[: self._applied]))

    @property
    def places(self) -> tuple[int, ...]:
        """Place of each of :attr:`prompts` in :attr:`history`, counted from 0."""
        return tuple(place for place, _ in _standing(self._entries[: self._applied]))

    @property
    def history(self) -> tuple[Entry, ...]:
        """Every entry in order; the last :attr:`undone` of them are undone and can be redone."""
        return tuple(self._entries)

    @property
    def undone(self) -> int:
        """Number of entries at the end of :attr:`history` that are undone."""
        return len(self._entries) - self._applied

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._applied > 0

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._applied < len(self._entries)

    def add(self, prompt: Prompt) -> None:
        """Append `prompt`; undone steps can then no longer be redone.

        Raises
        ------
        PromptError
            If `prompt` is not a prompt, or already has a chosen candidate.
        """
        if not isinstance(prompt, _PROMPTS):
            raise PromptError(f"Expected a {_listed()}, got {type(prompt).__name__}.")
        self._append(_require_entry(prompt))

    def choose(self, candidate: int) -> None:
        """Choose one of the candidate predictions for the last prompt, counted from the best as 0; a step of its own.

        Raises
        ------
        PromptError
            If the last prompt is neither a box nor a positive click, or `candidate` is not a whole number from 0.
        """
        choice = Choice(candidate)
        _standing([*self._entries[: self._applied], choice])
        self._append(choice)

    def remove(self, prompt: int) -> None:
        """Remove one of :attr:`prompts`, as one step that can be undone; later prompts keep their order.

        Parameters
        ----------
        prompt : int
            Its number in :attr:`prompts`, counted from the first as 0.

        Raises
        ------
        PromptError
            If there is no such prompt.
        """
        removal = Removal(prompt)
        _standing([*self._entries[: self._applied], removal])
        self._append(removal)

    def clear(self) -> None:
        """Remove every prompt, as one step that can be undone. A log without prompts stays as it is."""
        if self.prompts:
            self._append(Clear())

    def undo(self) -> Entry:
        """Undo the last step and return it.

        Raises
        ------
        PromptError
            If there is none.
        """
        if not self.can_undo:
            raise PromptError(f"Nothing to undo for {self._structure!r}: no step is left in its log.")
        self._applied -= 1
        return self._entries[self._applied]

    def redo(self) -> Entry:
        """Redo the last undone step and return it.

        Raises
        ------
        PromptError
            If there is none.
        """
        if not self.can_redo:
            raise PromptError(f"Nothing to redo for {self._structure!r}: no step was undone since the last prompt.")
        self._applied += 1
        return self._entries[self._applied - 1]

    def __len__(self) -> int:
        """Number of prompts that hold now."""
        return len(self.prompts)

    def __eq__(self, other: object) -> bool:
        """Whether structure, entries and the number of undone entries are equal."""
        if not isinstance(other, PromptLog):
            return NotImplemented
        return (self._structure, self._entries, self._applied) == (other._structure, other._entries, other._applied)

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        """Structure, prompts and undone steps."""
        return f"PromptLog({self._structure!r}, {len(self)} prompts, {self.undone} undone)"

    def _append(self, entry: Entry) -> None:
        del self._entries[self._applied :]
        self._entries.append(entry)
        self._applied += 1


def _require_entry(entry: Entry) -> Entry:
    if not isinstance(entry, (*_PROMPTS, Clear, Choice, Removal)):
        raise PromptError(f"Expected a {_listed(Clear, Choice, Removal)}, got {type(entry).__name__}.")
    if isinstance(entry, Click | Box) and entry.candidate is not None:
        raise PromptError("Expected a prompt as it was given; its candidate is chosen by a step of its own.")
    return entry


def _listed(*others: type) -> str:
    *first, last = (kind.__name__ for kind in (*_PROMPTS, *others))
    return f"{', '.join(first)} or {last}"


def _standing(entries: Iterable[Entry]) -> tuple[tuple[int, Prompt], ...]:
    """The prompts that hold, each with its place among the entries."""
    standing: list[tuple[int, Prompt]] = []
    for place, entry in enumerate(entries):
        if isinstance(entry, Clear):
            standing.clear()
        elif isinstance(entry, Choice):
            given_at, last = standing[-1] if standing else (0, None)
            if not (isinstance(last, Box) or (isinstance(last, Click) and last.positive)):
                came = "nothing" if last is None else f"a {type(last).__name__.lower()}"
                raise PromptError(f"Expected a box or a positive click before a choice of its candidates, got {came}.")
            standing[-1] = given_at, _with_candidate(last, entry.candidate)
        elif isinstance(entry, Removal):
            if entry.prompt >= len(standing):
                raise PromptError(
                    f"Expected the number of one of the {len(standing)} prompts that hold, counted from the first as "
                    f"0, got {entry.prompt}."
                )
            del standing[entry.prompt]
        else:
            if isinstance(entry, InitialMask):
                standing.clear()
            standing.append((place, entry))
    return tuple(standing)


def _with_candidate(prompt: Box | Click, candidate: int) -> Box | Click:
    if isinstance(prompt, Box):
        return Box(prompt.corner_lps_mm, prompt.opposite_lps_mm, candidate=candidate)
    return Click(prompt.position_lps_mm, prompt.positive, candidate=candidate)
