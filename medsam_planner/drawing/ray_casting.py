"""Ray casting with Open3D, and the ambient occlusion of vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cast", "skylight"]

_OCCLUSION_RAYS = 1_000_000
"""Rays spent on ambient occlusion per scene, about a second of one core; shared among the vertices."""

_OCCLUSION_REACH_MM = 30.0
"""An obstacle this far away keeps 1/e of the light out."""


def cast(scene: Any, rays: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Distance, geometry, triangle and barycentric coordinates of the first hit of each ray (N, 6)."""
    import open3d as o3d

    hits = scene.cast_rays(o3d.core.Tensor.from_numpy(np.ascontiguousarray(rays)))
    names = ("t_hit", "geometry_ids", "primitive_ids", "primitive_uvs")
    distance, ids, primitives, uv = (hits[name].numpy() for name in names)
    return distance, ids, primitives, uv


def skylight(
    blockers: Any, vertices: NDArray[np.float32], normals: NDArray[np.float32], faces: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Share of the light of a bright hemisphere that reaches each vertex, (V,)."""
    count = int(np.clip(_OCCLUSION_RAYS // max(len(vertices), 1), 6, 64))
    # A Fibonacci lattice, cosine-weighted about +z, turned by a random angle at each vertex against banding.
    n = np.arange(count) + 0.5
    radius, golden = np.sqrt(n / count), np.pi * (1 + 5**0.5)
    turn = np.random.default_rng(0).uniform(0, 2 * np.pi, len(vertices))
    helper = np.where(np.abs(normals[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]]).astype(np.float32)
    tangent = np.cross(normals, helper)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
    other = np.cross(normals, tangent)
    light = np.zeros(len(vertices), dtype=np.float32)
    rays = np.empty((len(vertices), 6), dtype=np.float32)
    rays[:, :3] = vertices + 0.3 * normals
    for r, angle, height in zip(radius, golden * n, np.sqrt(1 - n / count), strict=True):
        x, y = r * np.cos(angle + turn), r * np.sin(angle + turn)
        rays[:, 3:] = x[:, None] * tangent + y[:, None] * other + height * normals
        light += (1 - np.exp(-cast(blockers, rays)[0] / _OCCLUSION_REACH_MM)).astype(np.float32)
    light /= count
    # One average over the neighbours removes the sampling noise.
    total, weight = light.copy(), np.ones(len(vertices))
    for a, b in ((0, 1), (1, 2), (2, 0)):
        total += np.bincount(faces[:, a], weights=light[faces[:, b]], minlength=len(total))
        weight += np.bincount(faces[:, a], minlength=len(total))
    return (total / weight).astype(np.float32)
