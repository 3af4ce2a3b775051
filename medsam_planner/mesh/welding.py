"""Merge vertices that nearly coincide: thin triangles fold over when smoothed, and have no area in a file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from medsam_planner.mesh.triangles import Surface

__all__ = ["weld", "without_short_edges"]


def weld(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Merge vertices less than `reach` apart, unless that would touch two sheets together.

    Where the surface passes close to a voxel centre, marching cubes leaves needles around it. Vertices that no triangle
    uses are dropped too.
    """
    pairs = cKDTree(vertices).query_pairs(reach, output_type="ndarray")
    for candidate in (_merged(vertices, faces, pairs), (vertices, faces)):
        used, triangles = np.unique(candidate[1], return_inverse=True)
        result = (candidate[0][used], triangles.reshape(-1, 3).astype(np.int64))
        if len(triangles) and Surface(*result).is_watertight:
            break
    return result


def without_short_edges(surface: Surface, shortest_mm: float) -> Surface:
    """Merge the two ends of every edge shorter than `shortest_mm`.

    Mesh files hold 32-bit coordinates: the ends of such an edge may become one point there, and a program that joins
    equal points, as every reader of STL must, would find triangles of no area and call the surface open.

    An edge is left where its merging would pinch the surface (its ends share more than two neighbours).
    """
    faces = surface.faces
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    ends = surface.vertices_lps_mm[edges]
    short = edges[np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) < shortest_mm]
    kept = [pair for pair in short if len(_neighbours(faces, pair[0]) & _neighbours(faces, pair[1])) == 2]
    if not kept:
        return surface
    vertices, merged = _merged(surface.vertices_lps_mm, faces, np.array(kept))
    used, triangles = np.unique(merged, return_inverse=True)
    result = surface.reshaped(vertices[used], triangles.reshape(-1, 3), f"merged the ends of {len(kept)} short edges")
    return result if result.is_watertight else surface


def _neighbours(faces: NDArray[np.int64], vertex: np.int64) -> set[int]:
    return set(faces[(faces == vertex).any(axis=1)].ravel().tolist()) - {int(vertex)}


def _merged(
    vertices: NDArray[np.float64], faces: NDArray[np.int64], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Put each group of joined vertices at its middle; triangles that lose a side, or lie on their like, go."""
    count = len(vertices)
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    cluster = connected_components(graph, directed=False)[1]
    sizes = np.bincount(cluster)
    centres = np.stack([np.bincount(cluster, weights=axis) / sizes for axis in vertices.T], axis=1)
    merged = cluster[faces]
    merged = merged[(merged != np.roll(merged, 1, axis=1)).all(axis=1)]
    _, which, uses = np.unique(np.sort(merged, axis=1), axis=0, return_inverse=True, return_counts=True)
    return centres, merged[uses[which] == 1]  # a needle pressed flat is two opposite triangles: nothing
