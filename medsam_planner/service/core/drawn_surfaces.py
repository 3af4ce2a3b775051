"""Surfaces of a plan for the 3D view of a client, as PLY files in LPS mm.

They show and prove nothing: a plan measures against distance fields, never against triangles.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.io.files import write_json
from medsam_planner.mesh import Colormap, Surface, rgb_from_values
from medsam_planner.mesh.export import write_surface
from medsam_planner.report import RISK_NAME, PlanReport
from medsam_planner.report.views3d import risk_scale

__all__ = ["DRAWN_FOLDER", "LIST_NAME", "PlanSurface", "drawing_into", "write_plan_surfaces"]

DRAWN_FOLDER = "drawn"
"""Of these files, in the folder of a plan."""
LIST_NAME = "surfaces.json"
_STOPS = 16


class PlanSurface(Enum):
    """What a surface of a plan shows."""

    WIDENED = "widened"
    """Where the margin of a structure ends."""
    RISK = "risk"
    """The part of the entered surface where the tool may enter, coloured by the best clearance from there."""
    ENTERED = "entered"
    """The rest of the entered surface."""


def drawing_into(folder: Path) -> Callable[[PlanReport], None]:
    """What writes the surfaces of a plan into its folder, unless they are there."""
    drawn = folder / DRAWN_FOLDER

    def draw(report: PlanReport) -> None:
        if not (drawn / LIST_NAME).exists():
            write_plan_surfaces(report, drawn)

    return draw


def write_plan_surfaces(report: PlanReport, folder: Path) -> None:
    """Write the margins and the risk map of a plan into `folder`, with ``surfaces.json`` that lists them.

    Parameters
    ----------
    report : PlanReport
    folder : Path
        It is made. The files are numbered in the order of the list.

    Raises
    ------
    OutputError
        If a file cannot be written.
    """
    folder.mkdir(exist_ok=True)
    listed: list[dict[str, Any]] = []

    def add(kind: PlanSurface, name: str, surface: Surface, rgb: NDArray[np.uint8] | None = None) -> None:
        write_surface(surface, folder / f"{len(listed)}.ply", name=name, rgb=rgb)
        listed.append({"kind": kind.value, "name": name})

    for name, surface in report.widened_surfaces.items():
        add(PlanSurface.WIDENED, name, surface)
    scale, risk, bar = risk_scale(report), report.risk_surface, None
    if risk is not None and scale is not None:
        colours, limits = Colormap(scale.colormap), (scale.low, scale.high)
        values = risk.values[RISK_NAME]
        rgb = rgb_from_values(values, limits=limits, colormap=colours)
        enterable = np.isfinite(values)[risk.faces].all(axis=1)
        for kind, chosen in ((PlanSurface.RISK, enterable), (PlanSurface.ENTERED, ~enterable)):
            if chosen.any():
                used, faces = np.unique(risk.faces[chosen], return_inverse=True)
                part = risk.reshaped(risk.vertices_lps_mm[used], faces.reshape(-1, 3), "a part of it")
                add(kind, "entry surface", part, rgb[used] if kind is PlanSurface.RISK else None)
        stops = rgb_from_values(np.linspace(*limits, _STOPS), limits=limits, colormap=colours).tolist()
        bar = {
            "label": "best clearance",
            "unit": scale.unit,
            "low": scale.low,
            "high": scale.high,
            "stops": ["#{:02x}{:02x}{:02x}".format(*stop) for stop in stops],
        }
    write_json(folder / LIST_NAME, {"surfaces": listed, "scale": bar})
