"""One named structure of the open study with its prompts, previews and 3D result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.palette import COLOURS
from medsam_planner.geometry import volume_ml
from medsam_planner.segmentation.result import SegmentationResult
from prompts import Prompt, PromptLog

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
    prompts: tuple[Prompt, ...] = ()
    can_undo: bool = False
    can_redo: bool = False
    previews: Mapping[int, Mapping[int, NDArray[np.float32]]] = field(default_factory=dict)
    """Predicted probability on the prompted slices, by array axis and slice index."""
    result: SegmentationResult | None = None
    is_stale: bool = False
    """Whether the prompts changed since the 3D result."""
    volume_ml: float | None = None
    """Volume of the 3D result; None before there is one."""
    widest_spread_mm: float = 0.0
    """Largest boundary spread of the 3D result."""

    def with_log(self, log: PromptLog) -> Structure:
        """Copy with the prompts of `log`."""
        return replace(self, prompts=log.prompts, can_undo=log.can_undo, can_redo=log.can_redo)

    def with_result(self, result: SegmentationResult, *, is_stale: bool = False) -> Structure:
        """Copy with a 3D result; the metrics that need the whole volume are computed once, here."""
        spread = result.boundary_spread_mm
        return replace(
            self,
            result=result,
            is_stale=is_stale,
            volume_ml=volume_ml(result.mask.array, result.mask.affine),
            widest_spread_mm=0.0 if spread is None else float(spread.array.max()),
        )
