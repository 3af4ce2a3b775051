"""Scenes whose clearances are known from geometry alone."""

from __future__ import annotations

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.geometry import lps_from_index, voxel_diagonal_mm
from medsam_planner.planning import Tool

STEADY = {"entry_error_mm": 0.0, "target_error_mm": 0.0}
"""A tool that does not stray."""


def volume(array: NDArray, affine: NDArray[np.float64]) -> highdicom.Volume:
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


def shape_covering(affine: NDArray[np.float64], edge_mm: float) -> tuple[int, int, int]:
    """Voxels of a cube of that edge, along the axes of the grid."""
    size = np.ceil(edge_mm / np.linalg.norm(affine[:3, :3], axis=0)).astype(int)
    return int(size[0]), int(size[1]), int(size[2])


def positions(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K, J, I, 3) LPS mm of the voxel centres."""
    return lps_from_index(affine, np.stack(np.indices(shape), axis=-1))


def middle(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    return lps_from_index(affine, (np.array(shape) - 1) / 2)


def capsule_distance(points: NDArray[np.float64], a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Distance of points (..., 3) to the segment ab; a ball's centre when a equals b."""
    start, along = np.asarray(a, dtype=float), np.subtract(b, a, dtype=float)
    square = max(float(along @ along), 1e-30)
    fraction = np.clip((points - start) @ along / square, 0, 1)
    return np.linalg.norm(points - start - fraction[..., None] * along, axis=-1)


def capsule(
    shape: tuple[int, ...], affine: NDArray[np.float64], a: ArrayLike, b: ArrayLike, radius_mm: float
) -> highdicom.Volume:
    """Voxels whose centre lies in the capsule."""
    return volume(capsule_distance(positions(shape, affine), a, b) <= radius_mm, affine)


def segment_gap(lines: NDArray[np.float64], a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Exact distance of lines (N, 2, 3) to the segment ab: at an inner minimum of both, else at an end."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    p, q = lines[:, 0], lines[:, 1]
    u, v, w = q - p, b - a, p - a
    uu, uv, vv = (u * u).sum(1), u @ v, float(v @ v)
    uw, vw = (u * w).sum(1), w @ v
    determinant = uu * vv - uv * uv
    safe = np.where(determinant > 1e-9, determinant, 1.0)
    s, t = (uv * vw - vv * uw) / safe, (uu * vw - uv * uw) / safe
    inner = (determinant > 1e-9) & (s > 0) & (s < 1) & (t > 0) & (t < 1)
    gaps = [
        np.where(inner, np.linalg.norm(w + s[:, None] * u - t[:, None] * v, axis=1), np.inf),
        capsule_distance(p, a, b),
        capsule_distance(q, a, b),
    ]
    for end in (a, b):
        fraction = np.clip(((end - p) * u).sum(1) / np.maximum(uu, 1e-30), 0, 1)
        gaps.append(np.linalg.norm(p + fraction[:, None] * u - end, axis=1))
    return np.min(gaps, axis=0)


def rotation(generator: np.random.Generator) -> NDArray[np.float64]:
    """A random proper rotation."""
    matrix, triangular = np.linalg.qr(generator.normal(size=(3, 3)))
    matrix = matrix * np.sign(np.diag(triangular))
    return matrix if np.linalg.det(matrix) > 0 else -matrix


def random_affine(generator: np.random.Generator) -> NDArray[np.float64]:
    """Oblique, anisotropic, and left-handed in half of the cases."""
    directions = rotation(generator)
    if generator.random() < 0.5:
        directions[:, 0] *= -1
    affine = np.eye(4)
    affine[:3, :3] = directions * generator.uniform(0.6, 2.5, 3)
    affine[:3, 3] = generator.uniform(-200, 200, 3)
    return affine


def random_scene(generator: np.random.Generator, *, lines: int):
    """One ball or capsule on a random grid, random lines, and the exact clearances."""
    affine = random_affine(generator)
    shape = shape_covering(affine, 36.0)
    diagonal = voxel_diagonal_mm(affine)
    size = np.array(shape) - 1

    def place(low: float, high: float, count: int) -> NDArray[np.float64]:
        return affine[:3, 3] + (generator.uniform(low, high, (count, 3)) * size) @ affine[:3, :3].T

    a = place(0.35, 0.65, 1)[0]
    b = a if generator.random() < 0.5 else place(0.3, 0.7, 1)[0]
    radius = generator.uniform(max(1.0, diagonal / 2), 6.0)  # thinner things can slip between the voxels
    mask = capsule(shape, affine, a, b, radius)
    margin, tool_radius = generator.uniform(0, 4), generator.uniform(0, 2)
    ends = np.stack([place(-0.2, 1.2, lines), place(-0.2, 1.2, lines)], axis=1)
    exact = segment_gap(ends, a, b) - radius - margin - tool_radius
    return mask, margin, Tool(radius_mm=tool_radius, **STEADY), ends, exact, diagonal
