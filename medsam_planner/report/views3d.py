"""Three-dimensional views of the structures and the tool, labelled as the slices are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.camera import Camera, View, camera_along, camera_for
from medsam_planner.drawing.panel import Layer, Panel, ScaleBar
from medsam_planner.drawing.pictures import ColourScale, rgb_uri
from medsam_planner.drawing.render3d import Rendering, Scene3D
from medsam_planner.drawing.tool_cylinder import ToolTrajectory
from medsam_planner.mesh import Colormap, ColouredSurface, rgb_from_values
from medsam_planner.planning.structures import StructureRole
from medsam_planner.progress import Progress, track
from medsam_planner.report.model import RISK_NAME, PlanReport
from medsam_planner.report.plan_scene import Scene

__all__ = ["SPREAD_NAME", "risk_scale", "spread_scale", "views_3d"]

SPREAD_NAME = "boundary_spread_mm"
"""Name of the vertex values that the second row of views shows."""

_SIZE = 420
_SHOWN_WIDTH = 368
_BACKGROUND = (22, 26, 32)
_TOOL_RGB = (235, 240, 245)
_OTHER_TOOL_RGB = (140, 175, 255)
_ALONG = "Along the tool"
_AROUND_PATH_MM = 60.0
"""The standard views show this much around the path, and less where there is nothing."""
_OPACITY = {StructureRole.ENTRY: 0.12, StructureRole.INSIDE: 0.3, None: 0.3}
"""What encloses the path is looked through; skin, which encloses everything, the most."""
_SHELL_OPACITY = 0.2
"""Of a structure's margin: the structure inside stays the clearer of the two."""
_SHELLS = "widened"


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """One picture to take."""

    scene: Scene3D
    title: str
    camera: Camera
    note: str = ""
    with_shells: Scene3D | None = None
    """The same with the margins of what must be avoided."""


def spread_scale(report: PlanReport) -> ColourScale | None:
    """One scale for the spread on all surfaces, up to its 99th percentile; None when no surface has it."""
    values = [surface.values[SPREAD_NAME] for surface in report.surfaces.values() if SPREAD_NAME in surface.values]
    known = np.concatenate(values) if values else np.empty(0)
    known = known[np.isfinite(known)]
    if not known.size:
        return None
    high = float(np.percentile(known, 99))
    return ColourScale("viridis", 0.0, max(float(np.ceil(high * 2) / 2), 0.5), "mm")


def risk_scale(report: PlanReport) -> ColourScale | None:
    """Scale of the risk surface; what reaches into a margin has the darkest colour. None without a risk surface."""
    if report.risk_surface is None:
        return None
    known = report.risk_surface.values[RISK_NAME]
    known = known[np.isfinite(known)]
    high = float(np.percentile(known, 99)) if known.size else 0.0
    return ColourScale("cividis", 0.0, max(float(np.ceil(high)), 1.0), "mm")


def views_3d(report: PlanReport, scene: Scene, progress: Progress | None = None) -> list[Panel]:
    """Views from the front, the side of the entry, above, and along the tool; two coloured by the spread; the risk map.

    Nothing without surfaces.
    """
    views = [*_structure_views(report, scene), *_risk_views(report, scene)]
    return [_panel(view) for view in track(views, "3D views", progress)]


def _structure_views(report: PlanReport, scene: Scene) -> list[_View]:
    if not report.surfaces:
        return []
    tools = _tools(scene)
    colours = {style.name: _rgb(style.colour) for style in scene.structures}
    coloured = {name: _coloured(report, name, colours.get(name, (200, 200, 200))) for name in report.surfaces}
    shells = _shells(report, scene, colours)
    plain = Scene3D(list(coloured.values()), tools)
    widened = Scene3D([*coloured.values(), *shells], tools) if shells else None
    cameras = _cameras(scene, plain.bounds_lps_mm)
    views = [_View(plain, title, camera, "", widened) for title, camera in cameras.items() if title != _ALONG]
    if scene.path is not None:
        # What the tool enters through would hide all that lies behind it.
        inner = [one for name, one in coloured.items() if report.roles.get(name) is not StructureRole.ENTRY]
        if len(inner) < len(coloured):
            plain = Scene3D(inner, tools)
            widened = Scene3D([*inner, *shells], tools) if shells else None
        views.append(_View(plain, _ALONG, cameras[_ALONG], "", widened))
    scale = spread_scale(report)
    if scale is not None:
        spread = Scene3D([_by_spread(report, name, scale) for name in report.surfaces], tools)
        views += [_View(spread, title, camera, "coloured by spread") for title, camera in list(cameras.items())[:2]]
    return views


def _shells(report: PlanReport, scene: Scene, colours: Mapping[str, tuple[int, int, int]]) -> list[ColouredSurface]:
    """The margins of the structures to avoid that are shown."""
    return [
        ColouredSurface(report.widened_surfaces[style.name], colours[style.name], _SHELL_OPACITY)
        for style in scene.structures
        if style.name in report.widened_surfaces
    ]


def _risk_views(report: PlanReport, scene: Scene) -> list[_View]:
    scale = risk_scale(report)
    if report.risk_surface is None or scale is None:
        return []
    rgb = rgb_from_values(
        report.risk_surface.values[RISK_NAME], limits=(scale.low, scale.high), colormap=Colormap(scale.colormap)
    )
    risk = Scene3D([ColouredSurface(report.risk_surface, rgb)], _tools(scene))
    cameras = dict(_cameras(scene, risk.bounds_lps_mm))
    if scene.path is not None:
        # From outside and wide, to see the whole surface around the entry.
        width_mm = float(np.ptp(risk.bounds_lps_mm, axis=0).max()) * 1.1
        cameras[_ALONG] = camera_along(scene.path.entry_lps_mm, scene.path.target_lps_mm, width_mm=min(width_mm, 250.0))
    chosen = [title for title in cameras if title != "From above"]
    return [_View(risk, title, cameras[title], "best clearance from each entry") for title in chosen]


def _tools(scene: Scene) -> list[ToolTrajectory]:
    shown = [] if scene.path is None else [(scene.path, _TOOL_RGB)]
    shown += [(other, _OTHER_TOOL_RGB) for other in scene.other_paths]
    lines = []
    for path, rgb in shown:
        entry, target = (tuple(point.tolist()) for point in (path.entry_lps_mm, path.target_lps_mm))
        lines.append(ToolTrajectory(entry, target, path.tool.radius_mm, rgb))
    return lines


def _cameras(scene: Scene, bounds_lps_mm: NDArray[np.float64]) -> Mapping[str, Camera]:
    size = (_SIZE, _SIZE)
    from_left = True
    if scene.path is not None:
        from_left = bool(scene.path.entry_lps_mm[0] >= bounds_lps_mm[:, 0].mean())
        paths = (scene.path, *scene.other_paths)
        ends = np.stack([end for path in paths for end in (path.entry_lps_mm, path.target_lps_mm)])
        low = np.maximum(bounds_lps_mm[0], ends.min(axis=0) - _AROUND_PATH_MM)
        bounds_lps_mm = np.stack([low, np.minimum(bounds_lps_mm[1], ends.max(axis=0) + _AROUND_PATH_MM)])
    views = {
        "From the front": View.FROM_ANTERIOR,
        "From the left" if from_left else "From the right": View.FROM_LEFT if from_left else View.FROM_RIGHT,
        "From above": View.FROM_SUPERIOR,
    }
    cameras = {title: camera_for(view, bounds_lps_mm, size) for title, view in views.items()}
    if scene.path is not None:
        entry, target = scene.path.entry_lps_mm, scene.path.target_lps_mm
        cameras[_ALONG] = camera_along(entry, target, width_mm=80.0, cut_depth_mm=0.0)
    return cameras


def _coloured(report: PlanReport, name: str, rgb: tuple[int, int, int]) -> ColouredSurface:
    return ColouredSurface(report.surfaces[name], rgb, _opacity(report, name))


def _by_spread(report: PlanReport, name: str, scale: ColourScale) -> ColouredSurface:
    surface = report.surfaces[name]
    values = surface.values.get(SPREAD_NAME, np.full(len(surface.vertices_lps_mm), np.nan))
    rgb = rgb_from_values(values, limits=(scale.low, scale.high), colormap=Colormap(scale.colormap))
    return ColouredSurface(surface, rgb, _opacity(report, name))


def _opacity(report: PlanReport, name: str) -> float:
    return _OPACITY.get(report.roles.get(name), 1.0)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue


def _panel(view: _View) -> Panel:
    def taken(scene: Scene3D) -> Rendering:
        return scene.render(view.camera, (_SIZE, _SIZE), background_rgb=_BACKGROUND)

    rendering = taken(view.scene)
    layers = () if view.with_shells is None else (Layer(_SHELLS, rgb_uri(taken(view.with_shells).rgb)),)
    return Panel(
        title=view.title,
        note=view.note,
        columns=_SIZE,
        rows=_SIZE,
        grey=rgb_uri(rendering.rgb),
        layers=layers,
        strokes=(),
        markers=(),
        circles=(),
        letters=rendering.letters,
        bar=ScaleBar(rendering.scale_bar_pixels, f"{rendering.scale_bar_mm:g} mm"),
        unit=_SIZE / _SHOWN_WIDTH,
    )
