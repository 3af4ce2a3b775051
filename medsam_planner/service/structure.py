"""One named structure of the open study with its prompts, previews and 3D result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.palette import COLOURS
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.work_state import StoredResult
from medsam_planner.service.hand_mask import HandMask
from prompts import Prompt

__all__ = ["COLOURS", "FIRST_STRUCTURE", "Role", "Structure"]

FIRST_STRUCTURE = "structure 1"
"""Name under which a study is prompted until the person names a structure."""


class Role(Enum):
    """What the plan does with a structure."""

    IGNORE = "ignore"
    AVOID = "avoid"
    INSIDE = "inside"


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One named structure at one moment."""

    name: str
    colour: str
    """CSS colour, ``#rrggbb``."""
    role: Role = Role.IGNORE
    steps: PromptSteps = field(default_factory=lambda: PromptSteps(""))
    prompts: tuple[Prompt, ...] = ()
    previews: Mapping[int, Mapping[int, NDArray[np.float32]]] = field(default_factory=dict)
    """Predicted probability on the prompted slices, by array axis and slice index."""
    hand: HandMask | None = None
    """The mask with the last edits by hand; None where the last prompt is none."""
    stored: StoredResult | None = None
    """The 3D result on the disk."""
    load: Callable[[], SegmentationResult] | None = field(default=None, repr=False)
    """Gives the 3D result, which is read again where it is no longer in memory."""
    is_stale: bool = False
    """Whether the prompts changed since the 3D result."""
    volume_ml: float | None = None
    """Volume of the 3D result; None before there is one."""
    widest_spread_mm: float = 0.0
    """Largest boundary spread of the 3D result."""

    @property
    def result(self) -> SegmentationResult | None:
        """The 3D result.

        Raises
        ------
        MedsamPlannerError
            If it cannot be read.
        """
        return None if self.load is None else self.load()

    @property
    def can_undo(self) -> bool:
        """Whether a step holds."""
        return self.steps.applied > 0

    @property
    def can_redo(self) -> bool:
        """Whether a step is undone."""
        return self.steps.applied < len(self.steps.entries)

    def with_steps(self, steps: PromptSteps, previews: Mapping[int, Mapping[int, NDArray[np.float32]]]) -> Structure:
        """Copy with other prompts and their previews."""
        return replace(self, steps=steps, prompts=steps.log().prompts, previews=previews)

    def seen_as(self, colour: str, role: Role, *, is_stale: bool) -> Structure:
        """Copy that looks so."""
        return replace(self, colour=colour, role=role, is_stale=is_stale)

    def with_result(self, stored: StoredResult, load: Callable[[], SegmentationResult]) -> Structure:
        """Copy with a 3D result; the metrics that need the whole volume are computed once, here."""
        spread = load().boundary_spread_mm
        return replace(
            self,
            stored=stored,
            load=load,
            volume_ml=float(stored.summary["volume_ml"]),
            widest_spread_mm=0.0 if spread is None else float(spread.array.max()),
        )
