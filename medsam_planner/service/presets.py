"""Starting values of a plan by procedure, from ``presets.toml``; each number has its source."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Preset", "presets"]


@dataclass(frozen=True, slots=True)
class Preset:
    """The starting values of one procedure."""

    name: str
    label: str
    numbers: Mapping[str, float]
    """By field of :class:`~medsam_planner.service.plan_draft.PlanDraft`."""
    sources: Mapping[str, str]
    """By the same fields: where the number is from."""


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    tables = tomllib.loads((Path(__file__).parent / "presets.toml").read_text(encoding="utf-8"))
    found = {}
    for name, table in tables.items():
        label = table.pop("label")
        numbers = {field: float(value) for field, (value, _) in table.items()}
        found[name] = Preset(name, label, numbers, {field: source for field, (_, source) in table.items()})
    return found
