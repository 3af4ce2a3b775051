"""Smoothing that removes the voxel staircase and keeps the volume."""

from __future__ import annotations

import numpy as np

from medsam_planner.errors import GeometryError
from medsam_planner.mesh.open3d_mesh import open3d_mesh
from medsam_planner.mesh.triangles import Surface

__all__ = ["MAX_VOLUME_CHANGE", "smooth_taubin"]

MAX_VOLUME_CHANGE = 0.01
"""Relative: a smoothed or decimated surface must enclose the structure's volume within 1 %."""

_LAMBDA, _MU = 0.5, -0.53
"""Pass-band frequency 1/λ + 1/μ = 0.11, the value of Taubin's paper."""


def smooth_taubin(surface: Surface, *, iterations: int = 10, max_volume_change: float = MAX_VOLUME_CHANGE) -> Surface:
    """Smooth `surface` with Taubin's two-step filter [1]_, which does not shrink it.

    The volume is measured afterwards. Where it changed by more than `max_volume_change`, half as many iterations are
    tried, down to none: structures of a few voxels have no smooth surface of the same volume.

    Parameters
    ----------
    surface : Surface
        Vertex values are dropped.
    iterations : int
        At most so many pairs of steps.
    max_volume_change : float
        Relative.

    Raises
    ------
    GeometryError
        If `iterations` is negative.

    References
    ----------
    .. [1] Taubin, Curve and surface smoothing without shrinkage, ICCV 1995, 10.1109/ICCV.1995.466848.
    """
    if iterations < 0:
        raise GeometryError(f"Expected 0 or more smoothing iterations, got {iterations}.")
    centre = surface.vertices_lps_mm.mean(axis=0)
    mesh = open3d_mesh(surface, centre)
    before_mm3 = surface.volume_mm3
    tried = iterations
    while tried > 0:
        smooth = mesh.filter_smooth_taubin(tried, _LAMBDA, _MU)
        vertices = np.asarray(smooth.vertices) + centre
        moved_mm = float(np.linalg.norm(vertices - surface.vertices_lps_mm, axis=1).max())
        result = surface.reshaped(vertices, surface.faces, "")
        change = abs(result.volume_mm3 / before_mm3 - 1)
        if change <= max_volume_change:
            step = f"Taubin, {tried} iterations: volume {change:+.3%}, vertices moved up to {moved_mm:.2f} mm"
            return surface.reshaped(vertices, surface.faces, step)
        tried //= 2
    return surface.reshaped(
        surface.vertices_lps_mm, surface.faces, f"not smoothed: the volume would change by > {max_volume_change:.1%}"
    )
