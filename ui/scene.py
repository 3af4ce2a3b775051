"""From the workbench to what the browser draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from medsam_planner.geometry import acquisition_axis
from medsam_planner.report.faithfulness import saliency_warning
from medsam_planner.segmentation.result import SegmentationResult
from ui.display import Plane
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
    workbench.version += 1
    if workbench.study is None:
        return closed_scene(NO_STUDY, version=workbench.version)
    return {
        "is_open": True,
        "version": workbench.version,
        "study": workbench.study_number,
        "views": f"views/{workbench.token}",
        "planes": {
            plane.value: {"count": display.slice_count, "axis": display.axis}
            for plane, display in workbench.displays.items()
        },
        "first_plane": _first_plane(workbench).value,
        "windows": workbench.windows,
        "overlays": _overlays(workbench),
        "legend": [
            {"name": one.name, "colour": one.colour, "active": one.name == workbench.active}
            for one in workbench.structures.values()
        ],
        "go_to": _target_slices(workbench) if shows_path else _middle_slices(workbench) if shows_structure else None,
        "tool": tool,
        "empty_text": "",
    }


def closed_scene(told: str, *, version: int = 0) -> dict[str, Any]:
    """A canvas without a slice, and what it says in its place."""
    return {"is_open": False, "version": version, "empty_text": told, "legend": []}


def slice_view(workbench: Workbench, plane: Plane, request: ViewRequest) -> dict[str, Any]:
    """One view of the open study."""
    study = workbench.require_session().volume
    return view(study.array, workbench.displays[plane], request, layers(workbench))


def layers(workbench: Workbench) -> Layers:
    """Everything above the grey slice."""
    outlines = []
    for one in sorted(workbench.structures.values(), key=lambda entry: entry.name == workbench.active):
        probability = one.result.probability.array if one.result is not None else None
        is_active = one.name == workbench.active
        outlines.append(Outline(one.name, one.colour, probability, one.previews, is_active, one.is_stale))
    active = workbench.structures[workbench.active]
    return Layers(
        outlines=tuple(outlines),
        maps=_maps(active.result),
        prompts=workbench.log.prompts,
        marks=_marks(workbench),
    )


def _maps(result: SegmentationResult | None) -> tuple[OverlayMap, ...]:
    if result is None:
        return ()
    maps = [OverlayMap("probability", "probability", "0–1", result.probability.array, 0.0, 1.0, "viridis")]
    if result.uncertainty is not None:
        maps.append(OverlayMap("uncertainty", "uncertainty", "bit", result.uncertainty.array, 0.0, 1.0, "magma"))
    if result.boundary_spread_mm is not None:
        spread = result.boundary_spread_mm.array
        widest = float(np.ceil(2 * float(spread.max())) / 2) or 0.5
        maps.append(OverlayMap("boundary_spread_mm", "boundary spread", "mm", spread, 0.0, widest, "plasma"))
    if result.saliency is not None:
        saliency, warning = result.saliency.array, saliency_warning(result.faithfulness)
        maps.append(OverlayMap("saliency", "saliency", "share of maximum", saliency, 0.0, 1.0, "inferno", warning))
    return tuple(maps)


def _overlays(workbench: Workbench) -> list[list[str]]:
    active = workbench.structures[workbench.active]
    choices = [["outline", "mask outline"], ["fill", "mask filled"]]
    return choices + [[one.key, one.label] for one in _maps(active.result)]


def _marks(workbench: Workbench) -> tuple[Mark, ...]:
    wishes = workbench.wishes
    marks = []
    if wishes.target_lps_mm is not None:
        place = np.array([wishes.target_lps_mm])
        marks.append(Mark("target", "target", place, wishes.target_radius_mm))
    if wishes.entry_lps_mm is not None:
        marks.append(Mark("entry", "entry", np.array([wishes.entry_lps_mm]), wishes.entry_radius_mm))
    line = workbench.chosen_line_lps_mm
    if line is not None:
        marks.append(Mark("path", "", line, wishes.tool_radius_mm))
    return tuple(marks)


def _first_plane(workbench: Workbench) -> Plane:
    """The plane that was acquired, so that a person first sees sharp slices."""
    axis = acquisition_axis(workbench.require_session().volume.affine)
    return next(plane for plane, display in workbench.displays.items() if display.axis == axis)


def _middle_slices(workbench: Workbench) -> dict[str, int] | None:
    """By plane, but for the one the structure grew along, its middle slice; None for an empty structure."""
    result = workbench.structure.result
    if result is None or not result.mask.array.any():
        return None
    inside = result.mask.array
    middles = [int(np.median(np.flatnonzero(inside.any(axis=others)))) for others in ((1, 2), (0, 2), (0, 1))]
    return {
        plane.value: middles[display.axis]
        for plane, display in workbench.displays.items()
        if display.axis != result.trace.axis
    }


def _target_slices(workbench: Workbench) -> dict[str, int] | None:
    """By plane, the slice that holds the drawn path's target; None without a path."""
    if workbench.chosen_line_lps_mm is None:
        return None
    x, y, z = workbench.chosen_line_lps_mm[1].tolist()
    return {plane.value: workbench.slice_of(plane, (x, y, z)) for plane in workbench.displays}
