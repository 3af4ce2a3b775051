"""What the parts of a session on the server have in common."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["SessionPart", "structure_path"]


class SessionPart(ABC):
    """A part of a remote session: how it asks the server, and how it changes the session."""

    @abstractmethod
    def _ask(self, method: str, path: str, *, body: Mapping[str, Any] | None = None) -> Any: ...

    def _number(self, method: str, path: str, /, **entries: Any) -> int:
        """Number of a change that is made; without an ``event_id`` of its own it gets a new one."""
        return int(self._ask(method, path, body={"event_id": secrets.token_hex(16), **entries})["n"])


def structure_path(structure: str) -> str:
    """Where a structure is, below its session."""
    return f"/structures/{quote(structure, safe='')}"
