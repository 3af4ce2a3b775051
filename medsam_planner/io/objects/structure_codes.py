"""SNOMED CT codes of a structure, found by its name in an editable table (``structure_codes.toml``).

Names are compared token by token, without capitals, sides and the plural's s. The longest end of a name that the table
has decides, because the last noun of an English name says what it is: a ``supra_acetabular_bone`` is a bone, a
``liver lesion`` a lesion, and the liver is where it lies.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from medsam_planner.errors import ConfigError

__all__ = ["CODES_VARIABLE", "StructureCodes", "code_table", "known_terms", "structure_codes"]

CODES_VARIABLE = "MEDSAM_PLANNER_CODES"
"""Environment variable that names a table whose entries come before the package's."""

_TABLE = Path(__file__).with_name("structure_codes.toml")
_SIDES = {"left": "L", "l": "L", "right": "R", "r": "R"}
_OF = ("of", "in", "at")
_ANATOMY = "91723000"


@dataclass(frozen=True, slots=True, eq=False)
class StructureCodes:
    """What a structure is, in codes."""

    category: CodedConcept
    type: CodedConcept
    region: CodedConcept | None = None
    """Where it lies; None where the table does not say."""
    laterality: str | None = None
    """``"L"`` or ``"R"``, where the name states a side that the type does not."""
    is_known: bool = True
    """Whether the name, or its end, is in the table."""

    @property
    def modifier(self) -> CodedConcept | None:
        """Left or right."""
        side = {"L": codes.SCT.Left, "R": codes.SCT.Right}.get(self.laterality or "")
        return None if side is None else CodedConcept.from_code(side)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    category: CodedConcept
    type: CodedConcept
    region: CodedConcept | None


def structure_codes(name: str) -> StructureCodes:
    """Codes of a structure by its name; ``Tissue`` for what the table does not have.

    Raises
    ------
    ConfigError
        If the table that ``$MEDSAM_PLANNER_CODES`` names cannot be read.
    """
    table = code_table()
    tokens = _tokens(name)
    head, rest = _head_and_rest(tokens)
    found = _found(head, table)
    if found is None and head and head[-1].isdigit():  # the second of several, where a rib's number is its name
        found = _found(head[:-1], table)
    if found is None:
        tissue = CodedConcept.from_code(codes.SCT.Tissue)
        return StructureCodes(tissue, tissue, is_known=False)
    entry, used = found
    sides = {_SIDES[token] for token in tokens if token in _SIDES and token not in used}
    place = _found([*rest, *(token for token in head if token not in used)], table)
    is_place = place is not None and place[0].category.value == _ANATOMY
    region = place[0].type if place is not None and is_place else entry.region
    return StructureCodes(entry.category, entry.type, region, sides.pop() if len(sides) == 1 else None)


def known_terms() -> list[tuple[str, str, str]]:
    """Name, code and meaning of every entry, the names as a person writes them, sorted by meaning.

    Raises
    ------
    ConfigError
        As :func:`structure_codes`.
    """
    found: dict[tuple[str, str], str] = {}
    for tokens, entry in code_table().items():
        found.setdefault((entry.type.value, entry.type.meaning), " ".join(tokens))
    return sorted(((name, *coded) for coded, name in found.items()), key=lambda one: one[2].casefold())


def code_table() -> Mapping[tuple[str, ...], _Entry]:
    """Entries by the tokens of their names: the package's, and before them the user's."""
    own = os.environ.get(CODES_VARIABLE)
    return _read(own)


@lru_cache(maxsize=4)
def _read(own: str | None) -> Mapping[tuple[str, ...], _Entry]:
    package = tomllib.loads(_TABLE.read_text(encoding="utf-8"))
    found = dict(_entries(package, package))
    if own:
        try:
            document = tomllib.loads(Path(own).read_text(encoding="utf-8"))
            found |= dict(_entries(document, package))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"Expected a table of codes in {own} (${CODES_VARIABLE}), in the form of the package's "
                f"structure_codes.toml; got {type(error).__name__}: {error}."
            ) from error
    return found


def _entries(document: Mapping[str, Any], package: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], _Entry]]:
    categories = package["categories"] | document.get("categories", {})
    regions = package["regions"] | document.get("regions", {})
    for group in document["structures"].values():
        for one in group:
            entry = _Entry(
                category=_concept(*categories[one.get("category", "anatomy")]),
                type=_concept(one["code"], one["meaning"], one.get("scheme", "SCT")),
                region=_concept(*regions[one["region"]]) if "region" in one else None,
            )
            for name in one["names"]:
                yield tuple(_tokens(name)), entry


def _concept(value: str, meaning: str, scheme: str = "SCT") -> CodedConcept:
    return CodedConcept(value, scheme, meaning)


def _tokens(name: str) -> list[str]:
    # "rib3" and "rib 3" are one name; "vertebrae_L1" keeps its level.
    words = re.findall(r"[^\W\d_]+\d*|\d+", name.casefold())
    split = [part for word in words for part in (re.findall(r"[^\W\d]{2,}|\d+|[^\W\d]\d+|[^\W\d]", word))]
    return [
        word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
        for word in split
    ]


def _head_and_rest(tokens: list[str]) -> tuple[list[str], list[str]]:
    """A lesion *of the liver* is a lesion."""
    for number, token in enumerate(tokens):
        if token in _OF and number:
            return tokens[:number], tokens[number + 1 :]
    return tokens, []


def _found(tokens: list[str], table: Mapping[tuple[str, ...], _Entry]) -> tuple[_Entry, tuple[str, ...]] | None:
    """Entry of the longest end of a name, and its tokens."""
    plain = [token for token in tokens if token not in _SIDES]
    for size in range(len(tokens), 0, -1):
        for some in (tokens, plain):
            key = tuple(some[-size:])
            if len(key) == size and key in table:
                return table[key], key
    return None
