"""The paths of a ``plan.json``, in the planner's order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PlanningError

__all__ = ["planned_paths"]


def planned_paths(path: Path) -> dict[str, list[NDArray[np.float64]]]:
    """Lines (2, 3) by tool, entry then target in LPS mm, the best first.

    Parameters
    ----------
    path : Path
        A ``plan.json``.

    Raises
    ------
    PlanningError
        If it cannot be read, or no tool has a path.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = {
            tool["name"]: [
                np.array([one["entry_lps_mm"], one["target_lps_mm"]], dtype=np.float64) for one in tool["alternatives"]
            ]
            for tool in document["tools"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanningError(f"The plan {path} cannot be read ({error!r}). Name the folder of a plan.") from error
    if not any(found.values()) or any(line.shape != (2, 3) for lines in found.values() for line in lines):
        raise PlanningError(f"The plan {path} has no path, so there is nothing to compare or to show.")
    return found
