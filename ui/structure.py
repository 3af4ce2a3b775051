"""One named structure of the open study, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import volume_ml
from medsam_planner.segmentation.result import SegmentationResult

__all__ = ["COLOURS", "FIRST_STRUCTURE", "ROLES", "Role", "Structure"]

# Okabe and Ito's colour-blind safe set, https://jfly.uni-koeln.de/color/, without its black and its dark blue, which
# vanish on grey slices.
COLOURS = ("#f0e442", "#56b4e9", "#ff8c1a", "#2fd39b", "#f07cc0", "#ff5d5d")

Role = str
"""``"ignore"``, ``"avoid"`` or ``"inside"``."""
ROLES: tuple[Role, ...] = ("ignore", "avoid", "inside")
FIRST_STRUCTURE = "structure 1"


@dataclass(slots=True, eq=False)
class Structure:
    """One named structure of the study."""

    name: str
    colour: str
    role: Role = "ignore"
    result: SegmentationResult | None = None
    is_stale: bool = False
    """Whether its prompts changed since the 3D result."""
    previews: dict[int, dict[int, NDArray[np.float32]]] = field(default_factory=dict)
    """Answers on the prompted slices, by array axis and slice index."""

    @property
    def volume_ml(self) -> float | None:
        """Volume of the 3D result, or None before there is one."""
        return None if self.result is None else volume_ml(self.result.mask.array, self.result.mask.affine)
