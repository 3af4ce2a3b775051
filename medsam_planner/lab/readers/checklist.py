"""CLAIM and CONSORT-AI, answered from the records of a study where they answer, and by people elsewhere."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medsam_planner.errors import ConfigError

__all__ = ["CheckedItem", "filled_checklist"]


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """One item of a check-list."""

    item: str
    """Its name, ``CLAIM 14``: the key of a statement in the study file."""
    asks: str
    answer: str
    """Empty where nobody has answered."""
    source: str
    """``records``, ``statement``, or empty."""


def filled_checklist(answers: Mapping[str, str], statements: Mapping[str, str]) -> list[CheckedItem]:
    """Fill the check-lists; a statement of a person comes before the records.

    Parameters
    ----------
    answers : mapping
        By the names of the records in ``checklist.toml``; what a study has no record of is absent.
    statements : mapping
        By item.

    Raises
    ------
    ConfigError
        If a statement names no item.
    """
    document = tomllib.loads(Path(__file__).with_name("checklist.toml").read_text(encoding="utf-8"))
    items = []
    for standard, entries in document.items():
        for number, entry in entries.items():
            name = f"{standard} {number}"
            stated, recorded = statements.get(name, ""), answers.get(entry.get("record", ""), "")
            source = "statement" if stated else "records" if recorded else ""
            items.append(CheckedItem(name, entry["asks"], stated or recorded, source))
    unknown = sorted(set(statements) - {item.item for item in items})
    if unknown:
        known = f"{items[0].item} … {items[-1].item}"
        raise ConfigError(f"[statements] names no item of a check-list: {', '.join(unknown)}. Items are {known}.")
    return items
