"""From the workbench to what the browser draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from medsam_planner.geometry import acquisition_axis
from medsam_planner.service.display import Plane
from medsam_planner.service.slice_layers import maps
from medsam_planner.service.snapshot import Snapshot
from medsam_planner.service.structure import Structure
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import StudyVolume
from ui.wording import NO_STUDY

__all__ = ["closed_scene", "scene"]


def scene(
    workbench: Workbench, *, shows_path: bool = False, shows_structure: bool = False, tool: str | None = None
) -> dict[str, Any]:
    """What the canvas must know between two actions; pictures are asked for slice by slice.

    Parameters
    ----------
    workbench : Workbench
    shows_path : bool
        Go to the slices through the target of the drawn path, where there is one.
    shows_structure : bool
        In the planes it was not prompted on, go to the slices through the middle of the active structure.
    tool : str, optional
        What a click does from now on.
    """
    now, answer = workbench.snapshot, next(workbench.answers)
    if now.study is None:
        return closed_scene(NO_STUDY) | {"answer": answer, "token": workbench.token, "work": workbench.key}
    return {
        "is_open": True,
        "answer": answer,
        "token": workbench.token,
        "version": now.version,
        "work": workbench.key,
        "study": now.study_number,
        "views": f"views/{workbench.token}",
        "planes": {
            plane.value: {"count": display.slice_count, "axis": display.axis} for plane, display in now.displays.items()
        },
        "first_plane": _first_plane(now, now.study).value,
        "windows": now.windows,
        "overlays": _overlays(now.structure),
        "legend": [
            {"name": one.name, "colour": one.colour, "active": one.name == now.active}
            for one in now.structures.values()
        ],
        "go_to": _target_slices(now) if shows_path else _middle_slices(now) if shows_structure else None,
        "tool": tool,
        "empty_text": "",
    }


def closed_scene(told: str) -> dict[str, Any]:
    """A canvas without a slice, and what it says in its place."""
    return {"is_open": False, "version": 0, "empty_text": told, "legend": []}


def _overlays(active: Structure | None) -> list[list[str]]:
    choices = [["outline", "mask outline"], ["fill", "mask filled"]]
    return choices + [[one.key, one.label] for one in maps(active)]


def _first_plane(now: Snapshot, study: StudyVolume) -> Plane:
    """The plane that was acquired, so that a person first sees sharp slices."""
    axis = acquisition_axis(study.affine)
    return next(plane for plane, display in now.displays.items() if display.axis == axis)


def _middle_slices(now: Snapshot) -> dict[str, int] | None:
    """By plane, but for the one the structure grew along, its middle slice; None for an empty structure."""
    result = None if now.structure is None else now.structure.result
    if result is None or not result.mask.array.any():
        return None
    inside = result.mask.array
    middles = [int(np.median(np.flatnonzero(inside.any(axis=others)))) for others in ((1, 2), (0, 2), (0, 1))]
    return {
        plane.value: middles[display.axis]
        for plane, display in now.displays.items()
        if display.axis != result.trace.axis
    }


def _target_slices(now: Snapshot) -> dict[str, int] | None:
    """By plane, the slice that holds the drawn path's target; None without a path."""
    line = now.chosen_trajectory_lps_mm
    if line is None:
        return None
    x, y, z = line[1].tolist()
    return {plane.value: now.slice_of(plane, (x, y, z)) for plane in now.displays}
