"""Check that a surface encloses a volume, and repair small defects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from medsam_planner.errors import GeometryError
from medsam_planner.mesh.triangles import Surface

__all__ = ["SurfaceCheck", "check_surface", "component_of_face", "require_closed"]


@dataclass(frozen=True, slots=True)
class SurfaceCheck:
    """Counts of the defects of a surface."""

    open_edges: int
    """Edges of one face only, as around a hole."""
    crowded_edges: int
    """Edges of more than two faces."""
    twisted_edges: int
    """Edges whose two faces have opposite orientation: one of them is inside out."""
    degenerate_faces: int
    """Faces with the same vertex twice."""
    component_count: int
    """Connected pieces, cavities included."""
    volume_mm3: float
    """Signed: negative when the surface is inside out."""

    @property
    def defect_count(self) -> int:
        """Everything that keeps the surface from dividing space into inside and outside."""
        return self.open_edges + self.crowded_edges + self.twisted_edges + self.degenerate_faces

    @property
    def is_closed(self) -> bool:
        """Whether the surface encloses a positive volume and nothing is wrong with it."""
        return self.defect_count == 0 and self.volume_mm3 > 0


def check_surface(surface: Surface) -> SurfaceCheck:
    """Count the defects of `surface`."""
    faces = surface.faces
    degenerate = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    vertex_count = len(surface.vertices_lps_mm)
    key = np.minimum(start, end) * vertex_count + np.maximum(start, end)
    edges, which, uses = np.unique(key, return_inverse=True, return_counts=True)
    balance = np.bincount(which, weights=np.where(start < end, 1, -1), minlength=len(edges))
    return SurfaceCheck(
        open_edges=int((uses == 1).sum()),
        crowded_edges=int((uses > 2).sum()),
        twisted_edges=int(((uses == 2) & (balance != 0)).sum()),
        degenerate_faces=int(degenerate.sum()),
        component_count=len(np.unique(component_of_face(surface))),
        volume_mm3=surface.volume_mm3,
    )


def require_closed(surface: Surface) -> Surface:
    """Return `surface`, repaired if needed.

    Mended are: vertices stored twice, faces without area or stored twice, holes of a few edges, faces and whole
    surfaces turned inside out. trimesh does the mending and has to agree that the result is a volume.

    Raises
    ------
    GeometryError
        If the surface still does not enclose a volume. The message counts the defects.
    """
    found = check_surface(surface)
    if found.is_closed:
        return surface
    mended = _mended(surface)
    left = check_surface(mended)
    if left.is_closed and bool(_as_trimesh(mended).is_volume):
        return mended
    raise GeometryError(
        f"Expected a closed surface, got one with {left.open_edges} open, {left.crowded_edges} crowded and "
        f"{left.twisted_edges} twisted edges and {left.degenerate_faces} faces without area, enclosing "
        f"{left.volume_mm3:.3g} mm³ after mending. Mesh it again from the probability volume, with fewer smoothing "
        "iterations or more triangles."
    )


def _mended(surface: Surface) -> Surface:
    import trimesh

    if len(surface.faces) == 0:
        return surface
    mesh = _as_trimesh(surface)
    mesh.merge_vertices()
    mesh.update_faces(mesh.nondegenerate_faces() & mesh.unique_faces())
    mesh.remove_unreferenced_vertices()
    trimesh.repair.fill_holes(mesh)
    if not mesh.is_winding_consistent:
        trimesh.repair.fix_winding(mesh)
    faces = np.asarray(mesh.faces, dtype=np.int64)
    if mesh.volume < 0:
        faces = faces[:, ::-1]
    return surface.reshaped(mesh.vertices, faces, f"mended: {len(surface.faces)} → {len(faces)} triangles")


def _as_trimesh(surface: Surface) -> Any:
    import trimesh

    # Copies: trimesh edits its arrays in place.
    return trimesh.Trimesh(surface.vertices_lps_mm.copy(), surface.faces.copy(), process=False)


def component_of_face(surface: Surface) -> NDArray[np.int64]:
    """Number of the connected piece each face belongs to, (F,)."""
    if len(surface.faces) == 0:
        return np.zeros(0, dtype=np.int64)
    start, end = surface.faces.ravel(), np.roll(surface.faces, -1, axis=1).ravel()
    count = len(surface.vertices_lps_mm)
    graph = coo_array((np.ones(len(start), dtype=np.int8), (start, end)), shape=(count, count))
    pieces: NDArray[np.int64] = connected_components(graph, directed=False)[1][surface.faces[:, 0]].astype(np.int64)
    return pieces
