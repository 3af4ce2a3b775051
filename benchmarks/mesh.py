"""Seconds, volume error and distance to the exact surface: our meshes and the usual method.

The usual method is marching cubes of scikit-image on the thresholded mask, then ``trimesh.smoothing.filter_laplacian``.
The shapes are analytic, so that volume and surface are known exactly. Run: ``python -m benchmarks.mesh``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import perf_counter

import highdicom
import numpy as np
import trimesh
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from medsam_planner.geometry import lps_from_index
from medsam_planner.mesh import Surface, surface_from_probability

SPACING_MM = np.array([1.5, 0.8, 0.8])
LAPLACIAN_ITERATIONS = 10
MAX_TRIANGLES = 20_000

Distance = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def shapes(middle_mm: NDArray[np.float64]) -> dict[str, tuple[Distance, float]]:
    """Signed distance and volume (mm³) of each shape."""

    def ball(radius_mm: float) -> tuple[Distance, float]:
        return lambda x: np.linalg.norm(x - middle_mm, axis=-1) - radius_mm, 4 / 3 * np.pi * radius_mm**3

    def torus(ring_mm: float, tube_mm: float) -> tuple[Distance, float]:
        def distance(x: NDArray[np.float64]) -> NDArray[np.float64]:
            d = x - middle_mm
            flat = np.hypot(d[..., 0], d[..., 2]) - ring_mm
            result: NDArray[np.float64] = np.hypot(flat, d[..., 1]) - tube_mm
            return result

        return distance, 2 * np.pi**2 * ring_mm * tube_mm**2

    return {
        "ball, radius 40 mm": ball(40.0),
        "ball, radius 5 mm": ball(5.0),
        "vessel ring, radius 3 mm": torus(35.0, 3.0),
    }


def ours(probability: highdicom.Volume) -> Surface:
    return surface_from_probability(probability)


def ours_decimated(probability: highdicom.Volume) -> Surface:
    return surface_from_probability(probability, max_triangles=MAX_TRIANGLES)


def usual_method(probability: highdicom.Volume) -> Surface:
    vertices, faces, _, _ = marching_cubes((probability.array > 0.5).astype(np.float32), 0.5)
    mesh = trimesh.Trimesh(lps_from_index(probability.affine, vertices), faces, process=False)
    trimesh.smoothing.filter_laplacian(mesh, iterations=LAPLACIAN_ITERATIONS, volume_constraint=False)
    return Surface(mesh.vertices, mesh.faces if mesh.volume > 0 else mesh.faces[:, ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    shape = (70, 128, 128)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * SPACING_MM
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    x = lps_from_index(affine, index)
    methods = {
        "ours": ours,
        f"ours, ≤ {MAX_TRIANGLES:,} triangles": ours_decimated,
        "mask + trimesh Laplacian": usual_method,
    }
    print(f"grid {shape}, spacing {SPACING_MM.tolist()} mm, best of {repeats}\n")
    print(f"{'shape':26}{'method':30}{'seconds':>9}{'triangles':>11}{'volume':>9}{'mean |d| mm':>13}{'max |d| mm':>12}")
    for name, (distance, volume_mm3) in shapes(lps_from_index(affine, (np.array(shape) - 1) / 2 + 0.3)).items():
        ramp = np.clip(0.5 - distance(x) / (2 * SPACING_MM.max()), 0, 1).astype(np.float32)
        probability = highdicom.Volume(ramp, affine, coordinate_system="PATIENT")
        for method, run in methods.items():
            seconds = []
            for _ in range(repeats):
                start = perf_counter()
                surface = run(probability)
                seconds.append(perf_counter() - start)
            off_mm = np.abs(distance(surface.vertices_lps_mm))
            print(
                f"{name:26}{method:30}{min(seconds):9.3f}{len(surface.faces):11,}"
                f"{surface.volume_mm3 / volume_mm3 - 1:+9.2%}{off_mm.mean():13.3f}{off_mm.max():12.3f}"
            )


if __name__ == "__main__":
    main()
