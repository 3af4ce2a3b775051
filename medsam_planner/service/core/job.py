"""A long computation at one moment, as everybody may know it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any, TypeAlias

from medsam_planner.progress import Progress

__all__ = ["NO_JOB", "Job", "JobState", "Task", "Urgency"]

NO_JOB = "There is no such job. The session lists its jobs."
"""Said alike of what is not there and of what an actor must not know of."""
Task: TypeAlias = "Callable[[Progress], Mapping[str, Any]]"
"""A computation; gives plain JSON values."""


class JobState(Enum):
    """Where a job is on its way. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Urgency(IntEnum):
    """Who waits for a job."""

    ASKED = 0
    """Somebody asked for it."""
    MASK = 1
    """Nobody asked: the 3D mask follows the prompts."""
    PASSES = 2
    """Nobody asked: stochastic passes on such a mask."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job at one moment; replaced, never edited."""

    identifier: str
    session: str
    task: str
    """``"segment"`` or ``"plan"``."""
    structure: str | None = None
    state: JobState = JobState.QUEUED
    stage: str = ""
    done: int = 0
    total: int = 0
    """Steps of the present stage; 0 where their number is not known."""
    result: Mapping[str, Any] | None = None
    """Of a job that is done."""
    problem: Mapping[str, Any] | None = None
    """Of a job that failed: ``code`` and ``detail``."""
    urgency: Urgency = Urgency.ASKED
