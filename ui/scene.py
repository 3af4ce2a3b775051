"""From the workbench to what the browser draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from medsam_planner.errors import StudyError
from medsam_planner.geometry import acquisition_axis
from medsam_planner.report.faithfulness import saliency_warning
from medsam_planner.volumes import StudyVolume
from ui.display import Plane
from ui.snapshot import Snapshot
from ui.structure import Structure
from ui.viewer import Layers, Mark, Outline, OverlayMap, ViewRequest, view
from ui.wording import NO_STUDY
from ui.workbench import Workbench

__all__ = ["closed_scene", "layers", "scene", "slice_view"]


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


def slice_view(workbench: Workbench, plane: Plane, request: ViewRequest) -> dict[str, Any]:
    """One view of the open study.

    Raises
    ------
    StudyError
        If none is open.
    """
    now = workbench.snapshot
    if now.study is None:
        raise StudyError(NO_STUDY)
    return view(now.study.array, now.displays[plane], request, layers(now))


def layers(now: Snapshot) -> Layers:
    """Everything above the grey slice."""
    outlines = []
    for one in sorted(now.structures.values(), key=lambda entry: entry.name == now.active):
        probability = one.result.probability.array if one.result is not None else None
        is_active = one.name == now.active
        outlines.append(Outline(one.name, one.colour, probability, one.previews, is_active, one.is_stale))
    active = now.structure
    return Layers(
        outlines=tuple(outlines),
        maps=_maps(active),
        prompts=() if active is None else active.prompts,
        marks=_marks(now),
    )


def _maps(structure: Structure | None) -> tuple[OverlayMap, ...]:
    if structure is None or structure.result is None:
        return ()
    result = structure.result
    maps = [OverlayMap("probability", "probability", "0–1", result.probability.array, 0.0, 1.0, "viridis")]
    if result.uncertainty is not None:
        maps.append(OverlayMap("uncertainty", "uncertainty", "bit", result.uncertainty.array, 0.0, 1.0, "magma"))
    if result.boundary_spread_mm is not None:
        spread = result.boundary_spread_mm.array
        widest = float(np.ceil(2 * structure.widest_spread_mm) / 2) or 0.5
        maps.append(OverlayMap("boundary_spread_mm", "boundary spread", "mm", spread, 0.0, widest, "plasma"))
    if result.saliency is not None:
        saliency, warning = result.saliency.array, saliency_warning(result.faithfulness)
        maps.append(OverlayMap("saliency", "saliency", "share of maximum", saliency, 0.0, 1.0, "inferno", warning))
    return tuple(maps)


def _overlays(active: Structure | None) -> list[list[str]]:
    choices = [["outline", "mask outline"], ["fill", "mask filled"]]
    return choices + [[one.key, one.label] for one in _maps(active)]


def _marks(now: Snapshot) -> tuple[Mark, ...]:
    wishes = now.wishes
    marks = []
    if wishes.target_lps_mm is not None:
        place = np.array([wishes.target_lps_mm])
        marks.append(Mark("target", "target", place, wishes.target_radius_mm))
    if wishes.entry_lps_mm is not None:
        marks.append(Mark("entry", "entry", np.array([wishes.entry_lps_mm]), wishes.entry_radius_mm))
    line = now.chosen_trajectory_lps_mm
    if line is not None:
        is_doubted = now.assessment is None or now.assessment.verdict.kind != "feasible"
        marks.append(Mark("path", "", line, wishes.tool_radius_mm, is_doubted))
    return tuple(marks)


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
