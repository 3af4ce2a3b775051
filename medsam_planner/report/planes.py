"""Which planes a plan is judged on: three standard ones at each landmark, two along the tool, a stack across it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import place
from medsam_planner.drawing.panel import Panel
from medsam_planner.drawing.reformat import STANDARD_PLANES, Plane, standard_plane, tool_frame, towards_viewers_right
from medsam_planner.progress import Progress, track
from medsam_planner.report.plan_scene import Path, Scene
from medsam_planner.report.slice_figures import Aspect, draw_panel

__all__ = ["across_panels", "lengthwise_panels", "orthogonal_panels"]

_SIZE = 340
"""Pixels of a standard slice: sharper than most screens show it in three columns."""
_LEAST_FIELD_MM = 90.0
_MOST_FIELD_MM = 220.0
_FIELD_PER_LENGTH = 1.5
"""The field of view shows the whole path from either end's neighbourhood, and some anatomy around it."""
_BEYOND_ENDS_MM = 20.0
_SAME_PLACE_MM = 1.0
"""Pictures of two places nearer than this show the same."""
_LENGTHWISE_ROWS = 620
_ACROSS_FIELD_MM = 44.0
_ACROSS_SIZE = 200
_ACROSS_CUTS = 8


def orthogonal_panels(scene: Scene, progress: Progress | None = None) -> list[tuple[str, list[Panel]]]:
    """Rows of three standard planes: at the entry, the target and the tightest place; without a path at the focus."""
    path = scene.path
    if path is None:
        places = [("Middle of the target or structures", scene.focus_lps_mm)]
        field = (_LEAST_FIELD_MM + _MOST_FIELD_MM) / 2
    else:
        places = [("Entry", path.entry_lps_mm), ("Target", path.target_lps_mm)]
        places = _with_tightest(places, path.limiting_lps_mm)
        field = float(np.clip(_FIELD_PER_LENGTH * path.length_mm, _LEAST_FIELD_MM, _MOST_FIELD_MM))
    rows = []
    for label, centre in track(places, "slices through the landmarks", progress):
        rows.append((label, [_standard_panel(scene, name, centre, field) for name in STANDARD_PLANES]))
    return rows


def _with_tightest(
    places: list[tuple[str, NDArray[np.float64]]], limiting_lps_mm: NDArray[np.float64] | None
) -> list[tuple[str, NDArray[np.float64]]]:
    """Add the tightest place, or name the end of the path that it is."""
    if limiting_lps_mm is None:
        return places
    named = [
        (f"{label}, the tightest place" if np.linalg.norm(place - limiting_lps_mm) < _SAME_PLACE_MM else label, place)
        for label, place in places
    ]
    is_an_end = any(label != old for (label, _), (old, _) in zip(named, places, strict=True))
    return named if is_an_end else [*places, ("Tightest place", limiting_lps_mm)]


def _standard_panel(scene: Scene, name: str, centre: NDArray[np.float64], field_mm: float) -> Panel:
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[name]
    return draw_panel(
        scene,
        standard_plane(name, centre, field_mm, _SIZE),
        title=name.capitalize(),
        note=place(centre, axes=(axis,)),
    )


def lengthwise_panels(scene: Scene) -> list[Panel]:
    """Two pictures that contain the whole tool, entry at the top: through the tightest place, and turned by 90°."""
    path = scene.path
    if path is None:
        return []
    along, across, athwart = _frame(path)
    height = path.length_mm + 2 * _BEYOND_ENDS_MM
    width = max(0.75 * height, 60.0)
    rows = _LENGTHWISE_ROWS
    columns = int(np.ceil(rows * width / height))
    middle = path.at(path.length_mm / 2)
    panels = []
    first = "contains the tool" + (" and the place that limits it" if path.contact_lps_mm is not None else "")
    notes = (first, "contains the tool, turned by 90°")
    rights = (across, towards_viewers_right(athwart))
    for number, (right, note) in enumerate(zip(rights, notes, strict=True), start=1):
        plane = Plane(
            centre_lps_mm=middle,
            right_lps=right,
            down_lps=along,
            extent_mm=(columns * height / rows, height),
            size=(columns, rows),
        )
        panels.append(draw_panel(scene, plane, title=f"Along the tool {number}", note=note, aspect=Aspect.LENGTHWISE))
    return panels


def across_panels(scene: Scene, progress: Progress | None = None) -> list[Panel]:
    """Probe's-eye cuts from the entry to the target, seen in the direction of insertion, the tightest one marked."""
    path = scene.path
    if path is None:
        return []
    _, across, athwart = _frame(path)
    depths = [(float(depth), False) for depth in np.linspace(0.0, path.length_mm, _ACROSS_CUTS)]
    if path.limiting_lps_mm is not None:
        tightest = path.depth_mm(path.limiting_lps_mm)
        # Replace the nearest inner cut, so that the stack keeps its count and its ends.
        nearest = int(np.argmin([abs(depth - tightest) for depth, _ in depths]))
        if nearest in (0, len(depths) - 1) and abs(depths[nearest][0] - tightest) > 0.5:
            nearest = 1 if nearest == 0 else len(depths) - 2
        depths[nearest] = (tightest, True)
    panels = []
    for depth, is_tightest in track(depths, "cuts across the tool", progress):
        plane = Plane(
            centre_lps_mm=path.at(depth),
            right_lps=across,
            down_lps=athwart,
            extent_mm=(_ACROSS_FIELD_MM, _ACROSS_FIELD_MM),
            size=(_ACROSS_SIZE, _ACROSS_SIZE),
        )
        end = " · entry" if depth < 0.05 else " · target" if depth > path.length_mm - 0.05 else ""
        panels.append(
            draw_panel(
                scene,
                plane,
                title=f"{depth:.1f} mm deep{end}",
                note="tightest place" if is_tightest else "",
                aspect=Aspect.ACROSS,
                is_highlighted=is_tightest,
            )
        )
    return panels


def _frame(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    return tool_frame(path.entry_lps_mm, path.target_lps_mm, path.contact_lps_mm)
