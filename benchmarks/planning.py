"""Certified clearance of many candidate lines, beside distance queries at every sample of every line.

The scene: three branching vessels in a head-sized grid, margins that differ from place to place, needles from a cap of
scalp to a small target. Baselines: signed and unsigned distance of Open3D's ray-casting scene and the proximity query
of trimesh on the vessels' meshes at every half millimetre of a line, and the same voxel field read at every half
millimetre. A baseline runs on fewer lines and its time per line is multiplied; none of them gives a bound, and the mesh
queries know one margin per structure only. The best of three runs counts, on both sides. Run: ``python -m
benchmarks.planning``; scaling and the memory of a whole CT are measured by ``python -m benchmarks.planning_scaling``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import highdicom
import numpy as np
import trimesh
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from medsam_planner.geometry import lps_from_index
from medsam_planner.planning import Avoid, Tool, clearance
from medsam_planner.planning.clearance import build_distance_fields, clearance_in

SHAPE = (170, 220, 220)
SPACING_MM = np.array([1.0, 0.9, 0.9])
STEP_MM = 0.5
REPEATS = 3
TOOL = Tool(radius_mm=1.0)
SIGNED = "Open3D signed distance per sample"


def scene(seed: int) -> tuple[list[Avoid], NDArray[np.float64]]:
    """Vessels, and their grid's affine."""
    generator = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * SPACING_MM
    middle = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)
    vessels = []
    for number in range(3):
        inside = np.zeros(SHAPE, dtype=bool)
        for _ in range(6):
            walk = middle + generator.normal(size=3) * 25
            direction = generator.normal(size=3)
            for _ in range(45):
                direction = direction / np.linalg.norm(direction) + generator.normal(size=3) * 0.25
                walk = walk + direction / np.linalg.norm(direction) * 1.5
                stamp_ball(inside, affine, walk, 2.5)
        spread = np.abs(np.sin(np.indices(SHAPE).sum(axis=0) * 0.05)).astype(np.float32)
        vessels.append(Avoid(f"vessel {number}", volume(inside, affine), volume(1.0 + spread, affine)))
    return vessels, affine


def volume(array: NDArray, affine: NDArray[np.float64]) -> highdicom.Volume:
    return highdicom.Volume(array=array, affine=affine, coordinate_system="PATIENT")


def stamp_ball(
    inside: NDArray[np.bool_], affine: NDArray[np.float64], centre: NDArray[np.float64], radius_mm: float
) -> None:
    index = (centre - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    low = np.maximum(np.floor(index - radius_mm / SPACING_MM).astype(int), 0)
    high = np.minimum(np.ceil(index + radius_mm / SPACING_MM).astype(int) + 1, inside.shape)
    if (low < high).all():
        block = np.moveaxis(np.indices(high - low), 0, -1) + low
        near = np.linalg.norm((block - index) * SPACING_MM, axis=-1) <= radius_mm
        inside[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] |= near


def candidate_lines(count: int, seed: int) -> NDArray[np.float64]:
    """Entries on a cap of radius 80 mm, targets in a ball of radius 5 mm around the middle."""
    generator = np.random.default_rng(seed)
    middle = ((np.array(SHAPE) - 1) / 2 * SPACING_MM)[::-1]
    normal = generator.normal(size=(count, 3))
    normal[:, 2] = np.abs(normal[:, 2])
    entry = middle + 80 * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([entry, middle + generator.uniform(-3, 3, (count, 3))], axis=1)


def samples_of(lines: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, P, 3) places on each line, and the tool's allowance at each."""
    fraction = np.linspace(0, 1, int(np.ceil(np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1).max() / STEP_MM)) + 1)
    return lines[:, :1] + fraction[:, None] * (lines[:, 1:] - lines[:, :1]), TOOL.allowance_mm(fraction)


def mesh_of(structure: Avoid) -> trimesh.Trimesh:
    vertices, faces, _, _ = marching_cubes(structure.mask.array.astype(np.float32), 0.5)
    mesh = trimesh.Trimesh(lps_from_index(structure.mask.affine, vertices), faces, process=False)
    mesh.fix_normals()
    return mesh


def open3d_query(meshes: list[trimesh.Trimesh], *, signed: bool) -> Callable[[NDArray[np.float64]], NDArray]:
    import open3d

    scenes = []
    for mesh in meshes:
        rays = open3d.t.geometry.RaycastingScene()
        rays.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
        scenes.append(rays)

    def least(points: NDArray[np.float64]) -> NDArray:
        flat = points.astype(np.float32)
        found = [(s.compute_signed_distance if signed else s.compute_distance)(flat).numpy() for s in scenes]
        return np.min(found, axis=0)

    return least


def trimesh_query(meshes: list[trimesh.Trimesh]) -> Callable[[NDArray[np.float64]], NDArray]:
    def least(points: NDArray[np.float64]) -> NDArray:
        flat = points.reshape(-1, 3)
        found = [trimesh.proximity.closest_point(mesh, flat)[1] for mesh in meshes]
        return np.min(found, axis=0).reshape(points.shape[:-1])

    return least


def dense_query(structures: list[Avoid], lines: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray]:
    fields = build_distance_fields(structures, lines.reshape(-1, 3))

    def least(points: NDArray[np.float64]) -> NDArray:
        flat = points.reshape(-1, 3)
        return np.min([field.read(field.index(flat).T)[0] for field in fields], axis=0).reshape(points.shape[:-1])

    return least


def seconds_per_line(query: Callable[[NDArray[np.float64]], NDArray], lines: NDArray[np.float64]) -> float:
    start = perf_counter()
    points, allowance = samples_of(lines)
    (query(points) - allowance).min(axis=1)
    return (perf_counter() - start) / len(lines)


def seconds_of(structures: list[Avoid], lines: NDArray[np.float64]) -> tuple[float, float]:
    """For the fields, and for the lines."""
    start = perf_counter()
    fields = build_distance_fields(structures, lines.reshape(-1, 3))
    built = perf_counter()
    clearance_in(fields, lines, TOOL)
    return built - start, perf_counter() - built


class PeakMemory:
    """Resident megabytes at the highest point since it was made, beyond those at its start (Linux; else NaN)."""

    def __init__(self) -> None:
        self.start_mb = float("nan")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # forgets the highest point so far: man 5 proc
            self.start_mb = self._status_mb("VmRSS")
        except OSError:
            print("peak memory: not measured, /proc/self/clear_refs cannot be written here")

    def more_mb(self) -> float:
        return float("nan") if np.isnan(self.start_mb) else self._status_mb("VmHWM") - self.start_mb

    @staticmethod
    def _status_mb(key: str) -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        return float("nan")


def print_slack(uniform: list[Avoid], lines: NDArray[np.float64], meshes: list[trimesh.Trimesh]) -> None:
    """What is given up at one margin, which is what the meshes know."""
    points, allowance = samples_of(lines)
    mesh_room = (open3d_query(meshes, signed=True)(points) - 2.0 - allowance).min(axis=1)
    below = mesh_room - clearance(lines, uniform, TOOL).certified_mm
    diagonal = float(np.linalg.norm(SPACING_MM))
    print(
        f"\nclearance by mesh less certified, one margin: mean {below.mean():.2f} mm ({below.mean() / diagonal:.2f} "
        f"voxel diagonals), smallest {below.min():.2f} mm"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--baseline-lines", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    structures, _ = scene(options.seed)
    uniform = [Avoid(vessel.name, vessel.mask, 2.0) for vessel in structures]
    few = candidate_lines(options.baseline_lines, options.seed)
    print(
        f"grid {SHAPE}, spacing {SPACING_MM.tolist()} mm, {len(structures)} vessels, lines of about 80 mm; "
        f"baselines at every {STEP_MM} mm on {options.baseline_lines:,} lines (trimesh: 10)\n"
    )

    ours: dict[tuple[str, int], float] = {}
    print(f"{'certified clearance (ours)':46}{'fields s':>10}{'lines s':>10}{'total s':>10}{'MB more':>10}")
    for name, kinds in (("one margin", uniform), ("margins by place", structures)):
        for count in options.lines:
            lines = candidate_lines(count, options.seed)
            memory = PeakMemory()
            built, walked = min((seconds_of(kinds, lines) for _ in range(REPEATS)), key=sum)
            ours[name, count] = built + walked
            print(
                f"{f'{count:,} lines, {name}':46}{built:10.2f}{walked:10.2f}{built + walked:10.2f}"
                f"{memory.more_mb():10.0f}",
                flush=True,
            )

    meshes = [mesh_of(vessel) for vessel in structures]
    baselines: list[tuple[str, Callable[[NDArray[np.float64]], NDArray], NDArray[np.float64]]] = [
        ("same field read at every sample", dense_query(uniform, few), few),
        ("Open3D distance per sample", open3d_query(meshes, signed=False), few),
        (SIGNED, open3d_query(meshes, signed=True), few),
        ("trimesh proximity per sample", trimesh_query(meshes), few[:10]),
    ]
    header = "".join(f"{f'{count:,} lines s':>17}{'ratio':>8}" for count in options.lines)
    print(f"\n{'baseline, ratio at one margin':46}{header}")
    for name, query, lines in baselines:
        seconds_per_line(query, lines[:1])  # builds the search trees
        each = min(seconds_per_line(query, lines) for _ in range(REPEATS))
        row = "".join(f"{each * count:17.1f}{each * count / ours['one margin', count]:8.0f}" for count in options.lines)
        print(f"{name:46}{row}", flush=True)
        if name == SIGNED:
            row = "".join(f"{'':17}{each * count / ours['margins by place', count]:8.0f}" for count in options.lines)
            print(f"{'  against ours with margins by place':46}{row}", flush=True)
    print_slack(uniform, few, meshes)


if __name__ == "__main__":
    main()
