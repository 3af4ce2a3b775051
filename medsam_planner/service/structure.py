"""One named structure of the open study, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import volume_ml
from medsam_planner.segmentation.result import SegmentationResult
from prompts import Prompt, PromptLog

__all__ = ["COLOURS", "FIRST_STRUCTURE", "ROLES", "Role", "Structure"]

# Okabe and Ito's colour-blind safe set, https://jfly.uni-koeln.de/color/, without its black and its dark blue, which
# vanish on grey slices.
COLOURS = ("#f0e442", "#56b4e9", "#ff8c1a", "#2fd39b", "#f07cc0", "#ff5d5d")

Role = str
"""``"ignore"``, ``"avoid"`` or ``"inside"``."""
ROLES: tuple[Role, ...] = ("ignore", "avoid", "inside")
FIRST_STRUCTURE = "structure 1"


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """One named structure of the study at one moment."""

    name: str
    colour: str
    role: Role = "ignore"
    prompts: tuple[Prompt, ...] = ()
    can_undo: bool = False
    can_redo: bool = False
    previews: Mapping[int, Mapping[int, NDArray[np.float32]]] = field(default_factory=dict)
    """Answers on the prompted slices, by array axis and slice index."""
    result: SegmentationResult | None = None
    is_stale: bool = False
    """Whether its prompts changed since the 3D result."""
    volume_ml: float | None = None
    """Of the 3D result; None before there is one."""
    widest_spread_mm: float = 0.0
    """Largest boundary spread of the 3D result."""

    def with_log(self, log: PromptLog) -> Structure:
        """The same with the prompts of `log`."""
        return replace(self, prompts=log.prompts, can_undo=log.can_undo, can_redo=log.can_redo)

    def with_result(self, result: SegmentationResult, *, is_stale: bool = False) -> Structure:
        """The same with a 3D result; figures that need the whole volume are taken here, once."""
        spread = result.boundary_spread_mm
        return replace(
            self,
            result=result,
            is_stale=is_stale,
            volume_ml=volume_ml(result.mask.array, result.mask.affine),
            widest_spread_mm=0.0 if spread is None else float(spread.array.max()),
        )
