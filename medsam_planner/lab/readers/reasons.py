"""Statistics that may not be computable: then the reason stands in their place, as ``{"why": …}``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medsam_planner.errors import ConfigError

__all__ = ["is_missing", "tried"]


def tried(of: Callable[[], Any]) -> Any:
    """What a function returns, or the reason for which it refuses."""
    try:
        return of()
    except ConfigError as error:
        return {"why": str(error)}


def is_missing(found: Any) -> bool:
    """Whether something could not be computed; its reason is under ``why``."""
    return isinstance(found, Mapping) and "why" in found
