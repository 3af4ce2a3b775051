"""Certified clearance of many candidate trajectories, compared with distance queries at samples of every trajectory.

The scene has three branching vessels in a head-sized grid with margins that vary in space, and needles from a cap of
scalp to a small target. The baselines query the distance at every half millimetre of a trajectory: signed and unsigned
distance of Open3D's ray-casting scene, the proximity query of trimesh on the vessels' meshes, and the same distance
field. A baseline is timed on fewer trajectories, and its time per trajectory is multiplied. No baseline gives a bound,
and the mesh queries allow only one margin per structure. Each time is the best of three. Run: ``python -m
benchmarks.planning``; ``python -m benchmarks.planning_scaling`` measures scaling and the memory of a whole CT.
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
    """Three vessels, and the affine of their grid."""
    generator = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * SPACING_MM
    middle = lps_from_index(affine, (np.array(SHAPE) - 1) / 2)
    vessels = []
    for number in range(3):
        inside = np.zeros(SHAPE, dtype=bool)
        for _ in range(6):
            position = middle + generator.normal(size=3) * 25
            direction = generator.normal(size=3)
            for _ in range(45):
                direction = direction / np.linalg.norm(direction) + generator.normal(size=3) * 0.25
                position = position + direction / np.linalg.norm(direction) * 1.5
                stamp_ball(inside, affine, position, 2.5)
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


def candidate_trajectories(count: int, seed: int) -> NDArray[np.float64]:
    """(N, 2, 3) LPS mm: entries on a cap of radius 80 mm, targets in a cube of 6 mm around the middle."""
    generator = np.random.default_rng(seed)
    middle = ((np.array(SHAPE) - 1) / 2 * SPACING_MM)[::-1]
    normal = generator.normal(size=(count, 3))
    normal[:, 2] = np.abs(normal[:, 2])
    entry = middle + 80 * normal / np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([entry, middle + generator.uniform(-3, 3, (count, 3))], axis=1)


def samples_of(trajectories: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, P, 3) points on each trajectory, and the tool's allowance at each."""
    fraction = np.linspace(
        0, 1, int(np.ceil(np.linalg.norm(trajectories[:, 1] - trajectories[:, 0], axis=1).max() / STEP_MM)) + 1
    )
    return trajectories[:, :1] + fraction[:, None] * (trajectories[:, 1:] - trajectories[:, :1]), TOOL.allowance_mm(
        fraction
    )


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


def dense_query(structures: list[Avoid], trajectories: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray]:
    fields = build_distance_fields(structures, trajectories.reshape(-1, 3))

    def least(points: NDArray[np.float64]) -> NDArray:
        flat = points.reshape(-1, 3)
        return np.min([field.read(field.index(flat).T)[0] for field in fields], axis=0).reshape(points.shape[:-1])

    return least


def seconds_per_trajectory(query: Callable[[NDArray[np.float64]], NDArray], trajectories: NDArray[np.float64]) -> float:
    start = perf_counter()
    points, allowance = samples_of(trajectories)
    (query(points) - allowance).min(axis=1)
    return (perf_counter() - start) / len(trajectories)


def seconds_of(structures: list[Avoid], trajectories: NDArray[np.float64]) -> tuple[float, float]:
    """Seconds for the distance fields, and for the trajectories."""
    start = perf_counter()
    fields = build_distance_fields(structures, trajectories.reshape(-1, 3))
    built = perf_counter()
    clearance_in(fields, trajectories, TOOL)
    return built - start, perf_counter() - built


class PeakMemory:
    """Peak resident memory since construction, in MB beyond that at construction (Linux; NaN elsewhere)."""

    def __init__(self) -> None:
        self.start_mb = float("nan")
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak: man 5 proc
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


def print_slack(uniform: list[Avoid], trajectories: NDArray[np.float64], meshes: list[trimesh.Trimesh]) -> None:
    """Print how far the certified clearance is below that of the meshes, with one margin per structure."""
    points, allowance = samples_of(trajectories)
    mesh_clearance = (open3d_query(meshes, signed=True)(points) - 2.0 - allowance).min(axis=1)
    below = mesh_clearance - clearance(trajectories, uniform, TOOL).certified_mm
    diagonal = float(np.linalg.norm(SPACING_MM))
    print(
        f"\nmesh clearance minus certified clearance, one margin: mean {below.mean():.2f} mm "
        f"({below.mean() / diagonal:.2f} voxel diagonals), smallest {below.min():.2f} mm"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--baseline-lines", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    structures, _ = scene(options.seed)
    uniform = [Avoid(vessel.name, vessel.mask, 2.0) for vessel in structures]
    few = candidate_trajectories(options.baseline_lines, options.seed)
    print(
        f"grid {SHAPE}, spacing {SPACING_MM.tolist()} mm, {len(structures)} vessels, trajectories of about 80 mm; "
        f"baselines at every {STEP_MM} mm on {options.baseline_lines:,} trajectories (trimesh: 10)\n"
    )

    ours: dict[tuple[str, int], float] = {}
    print(f"{'certified clearance (ours)':46}{'fields s':>10}{'search s':>10}{'total s':>10}{'MB more':>10}")
    for name, kinds in (("one margin", uniform), ("varying margins", structures)):
        for count in options.lines:
            trajectories = candidate_trajectories(count, options.seed)
            memory = PeakMemory()
            built, searched = min((seconds_of(kinds, trajectories) for _ in range(REPEATS)), key=sum)
            ours[name, count] = built + searched
            print(
                f"{f'{count:,} trajectories, {name}':46}{built:10.2f}{searched:10.2f}{built + searched:10.2f}"
                f"{memory.more_mb():10.0f}",
                flush=True,
            )

    meshes = [mesh_of(vessel) for vessel in structures]
    baselines: list[tuple[str, Callable[[NDArray[np.float64]], NDArray], NDArray[np.float64]]] = [
        ("same distance field per sample", dense_query(uniform, few), few),
        ("Open3D distance per sample", open3d_query(meshes, signed=False), few),
        (SIGNED, open3d_query(meshes, signed=True), few),
        ("trimesh proximity per sample", trimesh_query(meshes), few[:10]),
    ]
    header = "".join(f"{f's for {count:,}':>17}{'ratio':>8}" for count in options.lines)
    print(f"\n{'baseline, ratio at one margin':46}{header}")
    for name, query, trajectories in baselines:
        seconds_per_trajectory(query, trajectories[:1])  # builds the search trees
        each = min(seconds_per_trajectory(query, trajectories) for _ in range(REPEATS))
        row = "".join(f"{each * count:17.1f}{each * count / ours['one margin', count]:8.0f}" for count in options.lines)
        print(f"{name:46}{row}", flush=True)
        if name == SIGNED:
            row = "".join(f"{'':17}{each * count / ours['varying margins', count]:8.0f}" for count in options.lines)
            print(f"{'  against ours with varying margins':46}{row}", flush=True)
    print_slack(uniform, few, meshes)


if __name__ == "__main__":
    main()
