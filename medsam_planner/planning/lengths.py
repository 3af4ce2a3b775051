"""The bounds of the lengths and positions that a plan is asked for; one rule for files, page, REST and Python."""

from __future__ import annotations

import math

import numpy as np

from medsam_planner.errors import PlanningError

__all__ = ["FARTHEST_MM", "LARGEST_MM", "require_mm"]

LARGEST_MM = 1000.0
"""Largest margin, error, radius, length or distance: no length in a patient that matters to a tool is larger. Far
below the values at which squares overflow in float32."""
FARTHEST_MM = 1e10
"""Largest coordinate of a position, LPS mm: beyond it numbers of voxels overflow."""


def require_mm(value: object, what: str, *, most: float = LARGEST_MM) -> float:
    """A number of mm, from 0 to `most`.

    Raises
    ------
    PlanningError
        If it is something else.
    """
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= most:  # type: ignore[arg-type, operator]
        raise PlanningError(
            f"Expected {what} as a number of mm, at least 0 and at most {most:g}, got {value!r}. Check its unit."
        )
    return float(value)  # type: ignore[arg-type]
