"""Positions, numbers and nested values as text, the same in every report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["RESEARCH_USE_NOTICE", "flat_rows", "joined", "number", "percent", "place", "plain", "slice_number"]

RESEARCH_USE_NOTICE = "Research use only. Not a medical device."


def place(position_lps_mm: ArrayLike, *, axes: Sequence[int] = (0, 1, 2)) -> str:
    """A position with the patient's letters: ``"R 12.3, A 4.0, S 88.1 mm"``, or only along some axes.

    Letter and number are joined by a no-break space.
    """
    values = np.asarray(position_lps_mm, dtype=np.float64)
    parts = []
    for axis in axes:
        positive, negative = ("LR", "PA", "SI")[axis]
        value = round(float(values[axis]), 1)
        parts.append(f"{positive if value >= 0 else negative}\N{NO-BREAK SPACE}{abs(value):.1f}")
    return ", ".join(parts) + "\N{NO-BREAK SPACE}mm"


def percent(share: float) -> str:
    """A probability in percent with the digits that matter: ``"0 %"``, ``"<0.01 %"``, ``"0.42 %"``, ``"12.0 %"``."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if 0 < value < 0.01:
        return "<0.01 %"
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %"


def slice_number(index: int) -> int:
    """Number of the slice of an index, counted from 1 as viewers do."""
    return int(index) + 1


def number(value: float | None, digits: int = 1) -> str:
    """A number with fixed digits and a true minus sign; a dash for None."""
    if value is None or not np.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) != 0 else text.lstrip("-")


def plain(value: Any) -> str:
    """Any provenance value as one line of text."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str | int | Path):
        return str(value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return json.dumps({str(key): plain(item) for key, item in value.items()}, ensure_ascii=False)
    if isinstance(value, Sequence):
        return ", ".join(f"({plain(item)})" if isinstance(item, list | tuple) else plain(item) for item in value)
    return str(value)


def joined(names: Sequence[str]) -> str:
    """``["a", "b", "c"]`` → ``"a, b and c"``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def flat_rows(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Flatten nested mappings, and lists of named mappings, to (name, text); names are joined by ``›``.

    Entries without a value are left out.
    """
    return list(_flat(values, prefix))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{prefix} › {key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
            for order, item in enumerate(value, start=1):
                rest = {entry: item[entry] for entry in item if entry != "name"}
                yield from _flat(rest, f"{name} › {item.get('name', order)}")
        elif value is not None:
            yield name, plain(value)
