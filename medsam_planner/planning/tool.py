"""The straight tool: its radius and its placement error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PlanningError

__all__ = ["ENTRY_ERROR_MM", "FARTHEST_MM", "TARGET_ERROR_MM", "Tool"]

ENTRY_ERROR_MM = 1.5
TARGET_ERROR_MM = 2.9
"""Median displacement at entry and at target of 902 SEEG electrodes (PMC5557874)."""
FARTHEST_MM = 1e10
"""Largest coordinate of a position: beyond it numbers of voxels overflow."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A needle, drill or screw.

    Its axis goes from an entry to a target. The error is stated at both ends and grows linearly between them, because a
    straight tool whose ends stray by the vectors a and b strays by ``(1 − s) a + s b`` at the fraction s of its path.

    The same two numbers are used in two ways. In :func:`~medsam_planner.planning.clearance` they are a deterministic
    allowance, subtracted as the radius is: a tool whose ends stray by no more than them keeps the certified clearance.
    In :func:`~medsam_planner.planning.hit_probability` they are the standard deviation *along each axis* of a Gaussian
    displacement; reading a median displacement as a standard deviation per axis overstates the error by half (the
    median length of a 3D Gaussian vector is 1.54 standard deviations), which errs on the safe side.

    Raises
    ------
    PlanningError
        If a value is negative or not finite.
    """

    radius_mm: float
    entry_error_mm: float = ENTRY_ERROR_MM
    target_error_mm: float = TARGET_ERROR_MM

    def __post_init__(self) -> None:
        for name in ("radius_mm", "entry_error_mm", "target_error_mm"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float | np.number)
                or not math.isfinite(value)
                or value < 0
            ):
                raise PlanningError(f"Expected {name} of the tool to be a number of mm >= 0, got {value!r}.")
            object.__setattr__(self, name, float(value))

    def error_mm(self, fraction: ArrayLike) -> NDArray[np.float64]:
        """Error at `fraction` of the path, 0 at the entry and 1 at the target."""
        part = np.asarray(fraction, dtype=np.float64)
        return self.entry_error_mm + part * (self.target_error_mm - self.entry_error_mm)

    def allowance_mm(self, fraction: ArrayLike) -> NDArray[np.float64]:
        """Radius plus error at `fraction` of the path: what a clearance loses to the tool."""
        return self.radius_mm + self.error_mm(fraction)
