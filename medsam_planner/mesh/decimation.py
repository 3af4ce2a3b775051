"""Decimation within a limit on how far the surface moves."""

from __future__ import annotations

import numpy as np

from medsam_planner.errors import GeometryError
from medsam_planner.mesh.check import check_surface, component_of_face
from medsam_planner.mesh.open3d_mesh import raycasting_scene
from medsam_planner.mesh.smoothing import MAX_VOLUME_CHANGE
from medsam_planner.mesh.triangles import Surface

__all__ = ["decimate", "surface_deviation_mm"]

_GROWTH = 1.6
"""When a decimated surface strays too far, the next attempt keeps this many times more triangles."""

_DEVIATION_POINTS = 4000
"""Vertices measured on each surface, evenly strided through its vertex list."""

_LEAST_TRIANGLES = 40
"""A piece keeps so many; a grain of one voxel has eight to start with."""

_AGGRESSIVENESS = 5
"""How fast the limit on the error of a collapse grows; from 7 on, some large surfaces are no longer closed."""


def decimate(
    surface: Surface,
    max_triangles: int,
    *,
    max_deviation_mm: float,
    max_volume_change: float = MAX_VOLUME_CHANGE,
) -> Surface:
    """Reduce `surface` to `max_triangles` by quadric error [1]_, or to as few as its shape allows.

    Each connected piece gets its share; in one common queue the cheapest collapses would be whole small pieces. A piece
    whose volume changed too much, that strayed more than `max_deviation_mm`, or that is no longer closed is tried again
    with more triangles. The history says what was reached.

    Parameters
    ----------
    surface : Surface
        Closed. Vertex values are dropped.
    max_triangles : int
        At least 4.
    max_deviation_mm : float
        Symmetric, see :func:`surface_deviation_mm`.
    max_volume_change : float
        Relative.

    Raises
    ------
    GeometryError
        If `max_triangles` is below 4 or `max_deviation_mm` is not positive.

    References
    ----------
    .. [1] Garland, Heckbert, Surface simplification using quadric error metrics, SIGGRAPH 1997, 10.1145/258734.258849.
    """
    if max_triangles < 4:
        raise GeometryError(f"Expected max_triangles of at least 4, a tetrahedron, got {max_triangles}.")
    if not max_deviation_mm > 0:
        raise GeometryError(f"Expected a positive max_deviation_mm, got {max_deviation_mm}.")
    if len(surface.faces) <= max_triangles:
        return surface
    total_mm3, budget, left = abs(surface.volume_mm3), max_triangles, len(surface.faces)
    vertices, faces, count, deviation_mm = [], [], 0, 0.0
    for piece in sorted(_pieces(surface), key=lambda piece: len(piece.faces)):
        # Budgets of volume in proportion to size add up to `max_volume_change` of the whole.
        change_mm3 = max_volume_change * total_mm3 * len(piece.faces) / len(surface.faces)
        share = max(_LEAST_TRIANGLES, round(len(piece.faces) * budget / left))
        left -= len(piece.faces)
        small, moved_mm = _decimated_piece(piece, share, max_deviation_mm, change_mm3)
        budget = max(budget - len(small.faces), 0)
        deviation_mm = max(deviation_mm, moved_mm)
        vertices.append(small.vertices_lps_mm)
        faces.append(small.faces + count)
        count += len(small.vertices_lps_mm)
    result = surface.reshaped(np.concatenate(vertices), np.concatenate(faces), "")
    kept = len(result.faces)
    asked = "" if kept <= max_triangles else f" ({max_triangles} asked, too few for this shape)"
    return surface.reshaped(
        result.vertices_lps_mm,
        result.faces,
        f"decimated {len(surface.faces)} → {kept} triangles{asked}: "
        f"volume {result.volume_mm3 / surface.volume_mm3 - 1:+.3%}, surface moved up to {deviation_mm:.2f} mm",
    )


def surface_deviation_mm(first: Surface, second: Surface) -> float:
    """Largest distance in mm from a vertex of either surface to the other surface.

    Measured at up to 4000 vertices of each, evenly strided, so that it stays fast on large surfaces.
    """
    return max(_one_way_mm(first, second), _one_way_mm(second, first))


def _one_way_mm(points: Surface, target: Surface) -> float:
    import open3d as o3d

    stride = max(1, len(points.vertices_lps_mm) // _DEVIATION_POINTS)
    centre = target.vertices_lps_mm.mean(axis=0)
    scene = raycasting_scene(target, origin_lps_mm=centre)
    queries = (points.vertices_lps_mm[::stride] - centre).astype(np.float32)
    return float(scene.compute_distance(o3d.core.Tensor.from_numpy(queries), nthreads=1).numpy().max())


def _pieces(surface: Surface) -> list[Surface]:
    piece = component_of_face(surface)
    order = np.argsort(piece, kind="stable")
    groups = np.split(surface.faces[order], np.flatnonzero(np.diff(piece[order])) + 1)
    pieces = []
    for group in groups:
        used, local = np.unique(group, return_inverse=True)
        pieces.append(Surface(surface.vertices_lps_mm[used], local.reshape(-1, 3)))
    return pieces


def _decimated_piece(
    piece: Surface, triangles: int, max_deviation_mm: float, max_change_mm3: float
) -> tuple[Surface, float]:
    """The piece with few triangles, and how far it moved; the piece itself when nothing less will do."""
    while triangles < len(piece.faces):
        candidate = _quadric(piece, triangles)
        found = check_surface(candidate)
        if found.defect_count == 0 and abs(found.volume_mm3 - piece.volume_mm3) <= max_change_mm3:
            deviation_mm = surface_deviation_mm(piece, candidate)
            if deviation_mm <= max_deviation_mm:
                return candidate, deviation_mm
        triangles = int(triangles * _GROWTH) + 1
    return piece, 0.0


def _quadric(surface: Surface, triangles: int) -> Surface:
    import fast_simplification

    centre = surface.vertices_lps_mm.mean(axis=0)  # near the origin, quadrics lose no digits
    points, faces = fast_simplification.simplify(
        surface.vertices_lps_mm - centre, surface.faces.astype(np.int32), target_count=triangles, agg=_AGGRESSIVENESS
    )
    used, local = np.unique(faces, return_inverse=True)
    return surface.reshaped(points[used] + centre, local.reshape(-1, 3), "")
