"""Time of certified clearance over the number of structures and the size of the grid, and its memory in a whole CT.

Scene and trajectories are those of :mod:`benchmarks.planning`. In a CT of 512 × 512 × 300 voxels only the region around
entry and target is used; the peak is the memory beyond the study, its masks and its margins.
Run: ``python -m benchmarks.planning_scaling``.
"""

from __future__ import annotations

from time import perf_counter

import highdicom
import numpy as np
from numpy.typing import NDArray

from benchmarks.planning import TOOL, PeakMemory, candidate_trajectories, scene, seconds_of, stamp_ball, volume
from medsam_planner.geometry import lps_from_index
from medsam_planner.planning import Avoid, clearance

SEED = 0
TRAJECTORIES = 20_000


def grow_structures(uniform: list[Avoid], trajectories: NDArray[np.float64]) -> None:
    """Print times for copies of the same vessels, each slightly shifted, so that only their number grows."""
    print(f"\n{f'{len(trajectories):,} trajectories, number of structures':46}{'fields s':>10}{'search s':>10}")
    for count in (1, 3, 6, 12):
        many = [
            Avoid(f"vessel {number}", volume(np.roll(one.array, 3 * (number // 3), axis=0), one.affine), 2.0)
            for number, one in ((number, uniform[number % 3].mask) for number in range(count))
        ]
        built, searched = seconds_of(many, trajectories)
        print(f"{count:46}{built:10.2f}{searched:10.2f}", flush=True)


def refined(mask: highdicom.Volume, factor: int) -> highdicom.Volume:
    """The same structure on a grid with `factor` times as many voxels along each axis."""
    array = mask.array
    for axis in range(3):
        array = np.repeat(array, factor, axis=axis)
    affine = np.array(mask.affine)
    affine[:3, :3] /= factor
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    return volume(array, affine)


def coarsened(mask: highdicom.Volume) -> highdicom.Volume:
    """The same structure on a grid with half as many voxels along each axis: the maximum of each eight voxels."""
    array = np.logical_or.reduce([mask.array[a::2, b::2, c::2] for a in (0, 1) for b in (0, 1) for c in (0, 1)])
    affine = np.array(mask.affine)
    affine[:3, 3] += affine[:3, :3] @ np.full(3, 0.5)
    affine[:3, :3] *= 2
    return volume(array, affine)


def grow_grid(uniform: list[Avoid], trajectories: NDArray[np.float64]) -> None:
    title = f"{len(trajectories):,} trajectories, three vessels, grid"
    print(f"\n{title:46}{'fields s':>10}{'search s':>10}{'MB more':>10}")
    for name, change in (
        ("half", coarsened),
        ("as above", lambda mask: mask),
        ("double", lambda mask: refined(mask, 2)),
    ):
        changed = [Avoid(one.name, change(one.mask), 2.0) for one in uniform]
        memory = PeakMemory()
        built, searched = seconds_of(changed, trajectories)
        shape = " × ".join(str(size) for size in changed[0].mask.array.shape)
        print(f"{f'{name}: {shape}':46}{built:10.2f}{searched:10.2f}{memory.more_mb():10.0f}", flush=True)


def whole_ct(seed: int) -> None:
    """Print time and peak memory for vessels in a whole CT, one with a varying margin."""
    shape, spacing = (300, 512, 512), np.array([1.0, 0.8, 0.8])
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * spacing
    generator = np.random.default_rng(seed)
    middle = lps_from_index(affine, (np.array(shape) - 1) / 2)
    study_mb = np.prod(shape) * 4 / 2**20
    structures = []
    for number in range(3):
        inside = np.zeros(shape, dtype=bool)
        position, direction = middle + generator.normal(size=3) * 30, generator.normal(size=3)
        for _ in range(400):
            direction = direction / np.linalg.norm(direction) + generator.normal(size=3) * 0.2
            position = position + direction / np.linalg.norm(direction) * 1.5
            stamp_ball(inside, affine, position, 4.0)
        structures.append(Avoid(f"vessel {number}", volume(inside, affine), 2.0))
    margin = np.full(shape, 1.0, dtype=np.float32)
    margin[:, :256] = 3.0
    structures[0] = Avoid("vessel 0", structures[0].mask, volume(margin, affine))
    offset = middle - candidate_trajectories(1, seed)[0, 1]
    trajectories = candidate_trajectories(100_000, seed) + offset
    memory = PeakMemory()
    start = perf_counter()
    certified = clearance(trajectories, structures, TOOL).certified_mm
    seconds, more = perf_counter() - start, memory.more_mb()
    print(
        f"\n100,000 trajectories in a CT of {' × '.join(map(str, shape))} voxels ({study_mb:.0f} MB as float32), three "
        f"vessels, one with a varying margin:\n{seconds:.1f} s, {more:.0f} MB at the peak beyond study, masks and "
        f"margins (bound: 2048 MB); {(certified > 0).mean():.0%} of the trajectories are clear"
    )


def main() -> None:
    structures, _ = scene(SEED)
    uniform = [Avoid(vessel.name, vessel.mask, 2.0) for vessel in structures]
    trajectories = candidate_trajectories(TRAJECTORIES, SEED)
    grow_structures(uniform, trajectories)
    grow_grid(uniform, trajectories)
    whole_ct(SEED)


if __name__ == "__main__":
    main()
