"""Parsed JSON with the path of every value, so that errors state the place, what was expected and what was found."""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Mapping, Set
from typing import Any, NoReturn, TypeVar

from prompts.errors import PromptError
from prompts.json_text import key_path

__all__ = ["Node"]

_T = TypeVar("_T")
_LONGEST_QUOTE = 80


class Node:
    """One value of a JSON document, with its path.

    Parameters
    ----------
    value : plain JSON
        As :func:`prompts.json_text.parse_json` returns it.
    source : str
        What a message calls the document.
    path : str
        Where `value` stands in it; empty for the whole.
    """

    __slots__ = ("path", "source", "value")

    def __init__(self, value: Any, source: str, path: str = "") -> None:
        self.value = value
        self.source = source
        self.path = path

    def refuse(self, expected: str, advice: str = "") -> NoReturn:
        """Raise a PromptError for this value."""
        came = json.dumps(self.value, ensure_ascii=False)
        if len(came) > _LONGEST_QUOTE:
            came = came[:_LONGEST_QUOTE] + " …"
        raise PromptError(f"{self._where()}: expected {expected}, got {came}.{' ' if advice else ''}{advice}")

    def attempt(self, make: Callable[[], _T]) -> _T:
        """Call `make`, and state this value's path in a PromptError that it raises."""
        try:
            return make()
        except PromptError as error:
            raise PromptError(f"{self._where()}: {error}") from error

    def __contains__(self, key: str) -> bool:
        """Whether this object has `key`."""
        return key in self.value

    def __getitem__(self, key: str) -> Node:
        """The entry `key` of this object, after :meth:`require_keys`."""
        return Node(self.value[key], self.source, key_path(self.path, key))

    def require_keys(
        self, required: Set[str], *, optional: Set[str] = frozenset(), others_allowed: bool = False
    ) -> None:
        """Refuse anything but an object with all `required` keys and no others than `optional` ones."""
        known = required | optional
        for key in self.object():
            if key not in known and not others_allowed:
                close = difflib.get_close_matches(key, known, n=1)
                advice = f" Did you mean {close[0]!r}?" if close else ""
                raise PromptError(f"{self._where()}: expected the keys {sorted(known)}, got {key!r}.{advice}")
        for key in sorted(required):
            if key not in self.value:
                raise PromptError(f"{self._where()}: expected the key {key!r}, got only {sorted(self.value)}.")

    def require_values(self, expected: Mapping[str, str | int], advice: str = "") -> None:
        """Refuse other values of these entries, after :meth:`require_keys`: a file's kind, version and frame."""
        for key, value in expected.items():
            if self[key].value != value:
                self[key].refuse(repr(value), advice)

    def object(self) -> dict[str, Any]:
        """An object with any keys."""
        if not isinstance(self.value, dict):
            self.refuse("an object {...}")
        return self.value

    def items(self) -> list[tuple[str, Node]]:
        """Keys and values of an object's entries, in order."""
        return [(key, self[key]) for key in self.object()]

    def elements(self, count: int | None = None) -> list[Node]:
        """Elements of a list."""
        if not isinstance(self.value, list) or count not in (None, len(self.value)):
            self.refuse("a list [...]" if count is None else f"a list of {count} elements")
        return [Node(value, self.source, f"{self.path}[{number}]") for number, value in enumerate(self.value)]

    def numbers(self, count: int) -> tuple[float, ...]:
        """A list of `count` numbers."""
        if not isinstance(self.value, list) or len(self.value) != count or not all(map(_is_number, self.value)):
            self.refuse(f"a list of {count} numbers")
        return tuple(float(value) for value in self.value)

    def integer(self, *, at_least: int | None = None) -> int:
        """A whole number."""
        if (
            not isinstance(self.value, int)
            or isinstance(self.value, bool)
            or not -(2**63) <= self.value < 2**63
            or (at_least is not None and self.value < at_least)
        ):
            self.refuse("a whole number" if at_least is None else f"a whole number of at least {at_least}")
        return self.value

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value:
            self.refuse("a text")
        return self.value

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.refuse("true or false")
        return self.value

    def _where(self) -> str:
        return f"{self.source}: {self.path}" if self.path else self.source


def _is_number(value: Any) -> bool:
    """Whether it is finite as a float, too: JSON knows whole numbers of any size."""
    largest = sys.float_info.max
    return isinstance(value, int | float) and not isinstance(value, bool) and -largest <= value <= largest
