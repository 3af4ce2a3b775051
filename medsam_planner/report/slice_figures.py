"""One slice with everything drawn on it, ready for the page: raster layers below, lines in vector form above."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.outlines import outline_path, scale_bar
from medsam_planner.drawing.panel import Circle, DepthMark, Layer, Marker, Panel, Stroke
from medsam_planner.drawing.pictures import grey_uri, overlay_uri
from medsam_planner.drawing.reformat import Plane, sample_plane
from medsam_planner.report.plan_scene import Path, Scene

__all__ = ["Aspect", "draw_panel"]

_SLAB_MM = 1.0
"""The tool counts as lying in a picture within this distance of the plane, beyond its own radius."""

_DEPTH_STEP_MM = 10.0


class Aspect(Enum):
    """How a plane lies to the tool."""

    ANY = "any"
    LENGTHWISE = "lengthwise"
    """Contains the tool: its error band and depths are drawn."""
    ACROSS = "across"
    """Perpendicular to the tool and centred on it: its cross-section is drawn."""


_SHOWN_WIDTH = {Aspect.ANY: 368, Aspect.LENGTHWISE: 560, Aspect.ACROSS: 274}
"""Width on the page, in CSS pixels of the widest layout."""


def draw_panel(
    scene: Scene,
    plane: Plane,
    *,
    title: str,
    note: str = "",
    aspect: Aspect = Aspect.ANY,
    is_highlighted: bool = False,
) -> Panel:
    """Draw one plane.

    Parameters
    ----------
    scene : Scene
        What to draw.
    plane : Plane
        Where.
    title, note : str
        Caption.
    aspect : Aspect
        How the plane lies to the tool.
    is_highlighted : bool
        Mark the picture, as the tightest place.
    """
    layers = []
    for overlay in scene.overlays:
        uri = overlay_uri(overlay.sample(plane), overlay.scale)
        if uri is not None:
            layers.append(Layer(overlay.key, uri, overlay.warning))
    strokes, markers, circles, marks = _outlines(scene, plane), list[Marker](), list[Circle](), list[DepthMark]()
    for other in scene.other_paths:
        strokes += [replace(stroke, kind=stroke.kind.replace("tool", "other")) for stroke in _tool(other, plane)]
    if scene.path is not None:
        markers = _markers(scene.path, plane, aspect)
        if aspect is Aspect.ACROSS:
            circles = _sections(scene.path, plane)
        else:
            strokes += _tool(scene.path, plane)
        strokes += _least_clearance(scene.path, plane)
        if aspect is Aspect.LENGTHWISE:
            strokes += _error_band(scene.path, plane)
            marks = _depth_marks(scene.path, plane)
    return Panel(
        title=title,
        note=note,
        columns=plane.size[0],
        rows=plane.size[1],
        grey=grey_uri(sample_plane(scene.study, plane), scene.window),
        layers=tuple(layers),
        strokes=tuple(strokes),
        markers=tuple(markers),
        circles=tuple(circles),
        letters=plane.letters,
        bar=scale_bar(plane),
        unit=plane.size[0] / _SHOWN_WIDTH[aspect],
        depth_marks=tuple(marks),
        is_highlighted=is_highlighted,
    )


def _outlines(scene: Scene, plane: Plane) -> list[Stroke]:
    strokes = []
    for style in scene.structures:
        if style.widened is not None and style.widened.has_margin:
            path = outline_path(style.widened.distance_mm(plane), 0.0)
            if path:
                strokes.append(Stroke("margin", path, style.colour, f"{style.name}, with its margin"))
        if style.outline is not None:
            path = outline_path(sample_plane(style.outline, plane), 0.5)
            if path:
                strokes.append(Stroke("mask", path, style.colour, style.name))
    return strokes


def _tool(path: Path, plane: Plane) -> list[Stroke]:
    ends = plane.pixels_from_lps(np.stack([path.entry_lps_mm, path.target_lps_mm]))
    strokes = [Stroke("tool-behind", _segment(ends[0], ends[1]))]
    # The part of the line within the slab: depths behind the plane change linearly from end to end.
    slab = path.tool.radius_mm + _SLAB_MM
    start, step = ends[0, 2], ends[1, 2] - ends[0, 2]
    if abs(step) < 1e-9:
        enter, leave = (0.0, 1.0) if abs(start) <= slab else (1.0, 0.0)
    else:
        bounds = sorted(((-slab - start) / step, (slab - start) / step))
        enter, leave = max(bounds[0], 0.0), min(bounds[1], 1.0)
    if enter < leave:
        within = _segment(ends[0] + enter * (ends[1] - ends[0]), ends[0] + leave * (ends[1] - ends[0]))
        strokes.append(Stroke("tool-width", within, width=2 * path.tool.radius_mm / plane.pixel_mm))
        strokes.append(Stroke("tool", within))
    return strokes


def _markers(path: Path, plane: Plane, aspect: Aspect) -> list[Marker]:
    places = {"entry": path.entry_lps_mm, "target": path.target_lps_mm, "limiting": path.limiting_lps_mm}
    markers = []
    for kind, place in places.items():
        if place is None or (aspect is Aspect.ACROSS and kind != "limiting"):
            continue
        x, y, depth = plane.pixels_from_lps(place)
        if abs(depth) <= path.tool.radius_mm + _SLAB_MM and -0.5 <= x < plane.size[0] and -0.5 <= y < plane.size[1]:
            markers.append(Marker(kind, round(float(x) + 0.5, 1), round(float(y) + 0.5, 1)))
    return markers


def _sections(path: Path, plane: Plane) -> list[Circle]:
    x, y = (round(float(value) + 0.5, 1) for value in plane.pixels_from_lps(plane.centre_lps_mm)[:2])
    allowance_mm = float(path.tool.allowance_mm(path.depth_mm(plane.centre_lps_mm) / path.length_mm))
    circles = [
        Circle("tool-section", x, y, round(path.tool.radius_mm / plane.pixel_mm, 2)),
        Circle("tool-error", x, y, round(allowance_mm / plane.pixel_mm, 2)),
    ]
    if path.clearance_mm is not None and 0 < path.clearance_mm < np.inf:
        circles.append(Circle("certified", x, y, round((allowance_mm + path.clearance_mm) / plane.pixel_mm, 2)))
    return circles


def _error_band(path: Path, plane: Plane) -> list[Stroke]:
    """Both edges of the tool thickened by its error, which differs between entry and target."""
    ends = np.stack([path.entry_lps_mm, path.target_lps_mm])
    half_mm = path.tool.allowance_mm([0.0, 1.0])[:, None]
    sides = [plane.pixels_from_lps(ends + sign * half_mm * plane.right_lps) for sign in (-1, 1)]
    return [Stroke("tool-error", _segment(*side)) for side in sides]


def _least_clearance(path: Path, plane: Plane) -> list[Stroke]:
    """From the line to the structure at the tightest place, where both lie in the picture."""
    if path.limiting_lps_mm is None or path.contact_lps_mm is None:
        return []
    ends = plane.pixels_from_lps(np.stack([path.limiting_lps_mm, path.contact_lps_mm]))
    if np.abs(ends[:, 2]).max() > path.tool.radius_mm + _SLAB_MM:
        return []
    return [Stroke("least-clearance", _segment(ends[0], ends[1]))]


def _depth_marks(path: Path, plane: Plane) -> list[DepthMark]:
    marks = []
    for depth in np.arange(_DEPTH_STEP_MM, path.length_mm, _DEPTH_STEP_MM):
        x, y, _ = plane.pixels_from_lps(path.at(float(depth)))
        marks.append(DepthMark(round(float(x) + 0.5, 1), round(float(y) + 0.5, 1), f"{depth:.0f}"))
    return marks


def _segment(start: NDArray[np.float64], end: NDArray[np.float64]) -> str:
    return f"M{start[0] + 0.5:.1f} {start[1] + 0.5:.1f}L{end[0] + 0.5:.1f} {end[1] + 0.5:.1f}"
