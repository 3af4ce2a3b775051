"""What a session says of its structures beside their prompts: order, role, colour, anatomy, and which were deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from medsam_planner.drawing.palette import COLOURS
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.workflow.dicom_results import StructureLook

__all__ = ["LOOKS", "Deleted", "Listed", "Role", "StoredResult", "free_colour", "renamed"]

LOOKS = ("role", "colour", "hidden", "anatomy")
"""Entries of a ``structure`` record, each absent where it does not change."""


class Role(Enum):
    """What the plan does with a structure."""

    IGNORE = "ignore"
    AVOID = "avoid"
    INSIDE = "inside"


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A 3D result on the disk."""

    job: str
    """Identifier of the job that made it; its folder has that name."""
    digest: str
    """Of the prompts that it was made from, see :attr:`PromptSteps.digest`."""
    summary: Mapping[str, Any]
    """``mask_sha256``, ``volume_ml`` and the settings."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One structure of the list."""

    colour: str
    """CSS colour, ``#rrggbb``."""
    role: Role = Role.IGNORE
    is_hidden: bool = False
    """Whether it is not drawn, on slices and in 3D. Results and plans do not depend on it."""
    anatomy: str | None = None
    """What it is coded as in DICOM objects, as a name of the table of codes; None goes by the structure's name."""

    @property
    def look(self) -> StructureLook:
        """What files state of it beside its name."""
        return StructureLook(self.colour, self.anatomy)

    def changed(self, looks: Mapping[str, Any]) -> Listed:
        """With the entries of a record."""
        return Listed(
            looks.get("colour", self.colour),
            Role(looks["role"]) if "role" in looks else self.role,
            looks.get("hidden", self.is_hidden),
            looks.get("anatomy", self.anatomy),
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """A structure that was deleted, and can be restored."""

    n: int
    """Number of the change that deleted it."""
    name: str
    place: int
    """In the list, counted from 0."""
    listed: Listed
    steps: PromptSteps | None
    result: StoredResult | None


def free_colour(listed: Mapping[str, Listed]) -> str:
    """The first colour that no structure has; they begin again when all are taken."""
    taken = {one.colour for one in listed.values()}
    return next((colour for colour in COLOURS if colour not in taken), COLOURS[len(listed) % len(COLOURS)])


def renamed(steps: PromptSteps, name: str) -> PromptSteps:
    """The steps of a structure under another name."""
    return replace(steps, structure=name)
