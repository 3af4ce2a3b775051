"""Cells of tables that people open in a spreadsheet."""

from __future__ import annotations

__all__ = ["spreadsheet_cell"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def spreadsheet_cell(value: object) -> object:
    """The value, with an apostrophe before a text that a spreadsheet would compute."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
