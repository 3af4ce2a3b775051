"""One named structure of the open study with its prompts, previews and 3D result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.core.prompt_steps import PromptSteps
from medsam_planner.service.core.structure_list import Listed, Role, StoredResult
from medsam_planner.service.core.work_state import Condition
from medsam_planner.service.extent import extent_mm
from medsam_planner.service.hand_mask import HandMask
from prompts import Prompt

__all__ = ["FIRST_STRUCTURE", "Role", "Structure"]

FIRST_STRUCTURE = "structure 1"
"""Name under which a study is prompted until the person names a structure."""


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One named structure at one moment."""

    name: str
    listed: Listed
    condition: Condition = "new"
    steps: PromptSteps = field(default_factory=lambda: PromptSteps(""))
    prompts: tuple[Prompt, ...] = ()
    places: tuple[int, ...] = ()
    """Place of each prompt among the entries of `steps`, counted from 0."""
    previews: Mapping[int, Mapping[int, NDArray[np.float32]]] = field(default_factory=dict)
    """Predicted probability on the prompted slices, by array axis and slice index."""
    hand: HandMask | None = None
    """The mask with the last edits by hand; None where the last prompt is none."""
    stored: StoredResult | None = None
    """The 3D result on the disk."""
    load: Callable[[], SegmentationResult] | None = field(default=None, repr=False)
    """Gives the 3D result, which is read again where it is no longer in memory."""
    volume_ml: float | None = None
    """Volume of the 3D result; None before there is one."""
    extent_mm: tuple[float, float, float] | None = None
    """Size of the 3D result along the array axes nearest to right-left, front-back and feet-head; None before there is
    one, or for an empty one."""
    widest_spread_mm: float = 0.0
    """Largest boundary spread of the 3D result."""

    @property
    def colour(self) -> str:
        """CSS colour, ``#rrggbb``."""
        return self.listed.colour

    @property
    def role(self) -> Role:
        """What the plan does with it."""
        return self.listed.role

    @property
    def is_stale(self) -> bool:
        """Whether the prompts changed since the 3D result."""
        return self.condition == "stale"

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
        log = steps.log()
        return replace(self, steps=steps, prompts=log.prompts, places=log.places, previews=previews)

    def seen_as(self, listed: Listed, condition: Condition) -> Structure:
        """Copy that looks so."""
        return replace(self, listed=listed, condition=condition)

    def with_result(self, stored: StoredResult, load: Callable[[], SegmentationResult]) -> Structure:
        """Copy with a 3D result; the metrics that need the whole volume are computed once, here."""
        result = load()
        spread = result.boundary_spread_mm
        return replace(
            self,
            stored=stored,
            load=load,
            volume_ml=float(stored.summary["volume_ml"]),
            extent_mm=extent_mm(result.mask),
            widest_spread_mm=0.0 if spread is None else float(spread.array.max()),
        )
