"""A straight tool as a surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medsam_planner.errors import GeometryError
from medsam_planner.mesh import ColouredSurface, Surface

__all__ = ["ToolTrajectory", "tool_cylinder"]


@dataclass(frozen=True, slots=True)
class ToolTrajectory:
    """A straight tool, drawn as a cylinder of its real radius."""

    entry_lps_mm: tuple[float, float, float]
    target_lps_mm: tuple[float, float, float]
    radius_mm: float
    rgb: tuple[int, int, int] = (40, 110, 200)


def tool_cylinder(tool: ToolTrajectory, segments: int = 40) -> ColouredSurface:
    """Closed cylinder of the tool's radius from entry to target.

    Raises
    ------
    GeometryError
        If it has no length or no radius.
    """
    entry, target = np.array(tool.entry_lps_mm, dtype=np.float64), np.array(tool.target_lps_mm, dtype=np.float64)
    length_mm = float(np.linalg.norm(target - entry))
    if not (length_mm > 0 and tool.radius_mm > 0):
        raise GeometryError(f"Expected a tool with a length and a radius, got {length_mm} mm and {tool.radius_mm} mm.")
    axis = (target - entry) / length_mm
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    angle = np.arange(segments) * 2 * np.pi / segments
    ring = tool.radius_mm * (np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * np.cross(axis, across))
    # Caps have rings of their own, so that their edges stay sharp when normals are averaged.
    vertices = np.concatenate([entry + ring, target + ring, entry + ring, target + ring, [entry, target]])
    a, b = np.arange(segments), (np.arange(segments) + 1) % segments
    n = segments
    faces = np.concatenate(
        [
            np.stack([a, b, a + n], axis=1),
            np.stack([b, b + n, a + n], axis=1),
            np.stack([b + 2 * n, a + 2 * n, np.full(n, 4 * n)], axis=1),
            np.stack([a + 3 * n, b + 3 * n, np.full(n, 4 * n + 1)], axis=1),
        ]
    )
    return ColouredSurface(Surface(vertices, faces), tool.rgb)
