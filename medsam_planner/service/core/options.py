"""What a server takes on, and the options of what it computes."""

from __future__ import annotations

from dataclasses import dataclass

from medsam_planner.service.core.leases import IDLE_S

__all__ = ["MOST_LINES", "Limits", "SegmentOptions"]

MOST_LINES = 1000
"""Most trajectories whose clearance is measured at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on."""

    sessions: int = 16
    """Most sessions that clients may hold at once."""
    idle_s: float = IDLE_S
    """A session is freed after so long without a sign of life."""
    liveness_s: float = 60.0
    """A client that beats on its own is gone after so long without a beat. It beats twice as often, and never more
    often than every 5 s."""
    loaded_bytes: int = 8 << 30
    """Private memory of the server's results, and of each worker. Studies are mapped files and do not count."""
    session_bytes: int = 2 << 30
    """Private memory of one session in its worker; what was computed for one that takes more is forgotten."""


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """As the parameters of :meth:`medsam_planner.Session.segment`."""

    samples: int = 16
    uncertainty: str = "dropout"
    saliency: bool = False
    triplanar: bool = False
