"""The surface that a tool enters through, with the best clearance from each place where it may."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from medsam_planner.geometry import voxel_diagonal_mm
from medsam_planner.mesh import Surface
from medsam_planner.planning.search import risk_map_mm
from medsam_planner.progress import Progress
from medsam_planner.report.model import RISK_NAME
from medsam_planner.workflow.plan_request import PlanInputs

__all__ = ["risk_surface_of"]


def risk_surface_of(inputs: PlanInputs, drawn: Surface, progress: Progress | None = None) -> Surface:
    """The entered surface with the best certified clearance of each place of the entry region; NaN elsewhere.

    Parameters
    ----------
    inputs : PlanInputs
        Of the first tool the surface and the region are taken.
    drawn : Surface
        Of what that tool enters through, LPS mm.
    progress : Progress, optional

    Returns
    -------
    Surface
        With the values :data:`~medsam_planner.report.model.RISK_NAME` in mm.
    """
    problem = inputs.problem
    entries = cKDTree(problem.entry.points_lps_mm)
    diagonal_mm = voxel_diagonal_mm(inputs.entered.affine)
    reach_mm = 2.0 * diagonal_mm
    surface = _finer_near(drawn, problem.entry.points_lps_mm, reach_mm, 1.5 * diagonal_mm)
    enterable = np.isfinite(entries.query(surface.vertices_lps_mm, distance_upper_bound=reach_mm)[0])
    risk = np.full(len(surface.vertices_lps_mm), np.nan, dtype=np.float32)
    if enterable.any():
        risk[enterable] = risk_map_mm(problem, surface.vertices_lps_mm[enterable], progress=progress)
    return surface.with_values(RISK_NAME, risk)


def _finer_near(surface: Surface, points_lps_mm: NDArray[np.float64], reach_mm: float, edge_mm: float) -> Surface:
    """Divide the triangles near some points, so that values at their corners show what lies between them."""
    from trimesh.remesh import subdivide_to_size

    low, high = points_lps_mm.min(axis=0) - reach_mm, points_lps_mm.max(axis=0) + reach_mm
    corners = surface.vertices_lps_mm[surface.faces]
    is_near = ((corners.max(axis=1) >= low) & (corners.min(axis=1) <= high)).all(axis=1)
    if not is_near.any():
        return surface
    vertices, faces = subdivide_to_size(surface.vertices_lps_mm, surface.faces[is_near], edge_mm, max_iter=20)
    count = len(surface.vertices_lps_mm)
    return surface.reshaped(
        np.concatenate([surface.vertices_lps_mm, vertices]),
        np.concatenate([surface.faces[~is_near], faces + count]),
        f"divided {int(is_near.sum())} triangles to edges of at most {edge_mm:.1f} mm",
    )
