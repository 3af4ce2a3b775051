"""How often random rigid transforms of real cases are recovered, and how honest the stated error is.

Each case is moved by a random transform (up to 15° and a sixth of its shortest side per axis), read on another grid
with noise, in half of the draws with its contrast turned round as between modalities, and registered to itself.
Recovered means: the mean distance over the whole fixed series is at most a voxel's shortest edge. What is not recovered
must be refused. Pairs of series of one patient (``FIXED:MOVING``) are moved as they are; their truth is their headers.
Run: ``python -m benchmarks.registration [CASES_DIR] [--draws N] [--cases PATTERN ...] [--pairs FIXED:MOVING ...]``
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import highdicom
import numpy as np
from scipy import ndimage, stats

from medsam_planner.errors import RegistrationError
from medsam_planner.geometry import spacing_mm
from medsam_planner.io import load_volume
from medsam_planner.registration.register import grid_points, register
from medsam_planner.registration.rigid_transform import RigidTransform

CASES = Path(__file__).resolve().parents[2] / "shared/data/cases"
DEFAULT = ("mr_hippocampus_0[0-2]*", "ct_sarcoma_sts_002", "mr_sarcoma_sts_002")
PAIRS = ("ct_sarcoma_sts_002:mr_sarcoma_sts_002",)
LARGEST_DEG = 15.0


def random_step(volume: highdicom.Volume, random: np.random.Generator) -> RigidTransform:
    """A transform about the middle of a volume."""
    places = grid_points(volume)
    axis = random.normal(size=3)
    angle = np.deg2rad(random.uniform(0, LARGEST_DEG))
    reach = float((spacing_mm(volume.affine) * volume.spatial_shape).min()) / 6
    return RigidTransform.about(
        places.mean(axis=0), axis / np.linalg.norm(axis) * angle, random.uniform(-reach, reach, 3)
    )


def imaged_again(
    volume: highdicom.Volume, step: RigidTransform, random: np.random.Generator, *, turned_round: bool
) -> highdicom.Volume:
    """The same patient at another place, on a grid that is shifted by half a voxel and 10 % coarser, with noise."""
    array = np.asarray(volume.array, dtype=np.float64)
    low, high = np.percentile(array, (1, 99))
    grey = np.clip((array - low) / (high - low), 0, 1)
    if turned_round:  # not monotonic: dark stays dark, bright becomes middling, middling bright
        grey = np.interp(grey, [0, 0.15, 0.5, 1], [0, 0.9, 0.55, 0.2])
    affine = np.array(volume.affine)
    affine[:3, 3] += affine[:3, :3] @ np.full(3, 0.5)
    affine[:3, :3] *= 1.1
    shape = tuple(max(8, int(count / 1.1)) for count in volume.spatial_shape)
    back = np.linalg.inv(volume.affine) @ step.fixed_from_moving @ affine
    again = ndimage.affine_transform(grey, back[:3, :3], back[:3, 3], output_shape=shape, order=1, mode="nearest")
    return highdicom.Volume((again + random.normal(0, 0.03, shape)).astype(np.float32), affine, "PATIENT")


def problems(
    folder: Path, patterns: list[str], pairs: list[str], draws: int
) -> Iterator[tuple[str, highdicom.Volume, highdicom.Volume, RigidTransform]]:
    """Kind, fixed series, moving series, and the transform between them."""
    for place in sorted({place for pattern in patterns for place in folder.glob(pattern)}):
        fixed = load_volume(place / "image.nii.gz")
        for draw in range(draws):
            random = np.random.default_rng([draw, *place.name.encode()])
            step = random_step(fixed, random)
            turned_round = draw % 2 == 1
            kind = "other contrast" if turned_round else "same contrast"
            yield f"{kind} {place.name}", fixed, imaged_again(fixed, step, random, turned_round=turned_round), step
    for pair in pairs:
        one, other = pair.split(":")
        fixed, moving = (load_volume(folder / name / "image.nii.gz") for name in (one, other))
        for draw in range(draws):
            step = random_step(fixed, np.random.default_rng([draw, *pair.encode()]))
            header = step.moving_from_fixed @ moving.affine
            yield f"pair {pair}", fixed, highdicom.Volume(moving.array, header, "PATIENT"), step


def main() -> None:
    """Register all, and print a line for each and a summary for each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=CASES)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--cases", nargs="*", default=list(DEFAULT))
    parser.add_argument("--pairs", nargs="*", default=list(PAIRS))
    asked = parser.parse_args()
    if not asked.folder.is_dir():
        parser.error(f"Expected the folder of the cases, {asked.folder} is none. Name it.")
    outcomes: dict[str, Counter[str]] = {}
    ratios = []
    for name, fixed, moving, truth in problems(asked.folder, asked.cases, asked.pairs, asked.draws):
        began = time.perf_counter()
        places = grid_points(fixed)
        kind = name.rsplit(" ", 1)[0]
        try:
            found = register(fixed, moving)
        except RegistrationError as error:
            outcome, told = "refused", str(error).split(". ")[0]
        else:
            off = np.linalg.norm(found.transform.apply(truth.inverse.apply(places)) - places, axis=1)
            edge = float(spacing_mm(fixed.affine).min())
            outcome = "recovered" if off.mean() <= edge else "wrong"
            assert found.error is not None
            assert found.evidence is not None
            stated = float(np.sqrt((found.error.rms_mm(places) ** 2).mean()))
            actual = float(np.sqrt((off**2).mean()))
            told = f"mean {off.mean():.2f}, largest {off.max():.2f}, stated rms {stated:.2f} mm, voxel {edge:.2f} mm"
            told += f", gain {found.evidence.gain:.2f}, starts {found.evidence.agreeing_starts}"
            if kind != "pair":
                ratios.append(actual / stated)
        outcomes.setdefault(kind, Counter())[outcome] += 1
        print(
            f"{outcome:9s} {name} ({truth.rotation_deg:.1f}°): {told}; {time.perf_counter() - began:.0f} s", flush=True
        )
    for kind, count in outcomes.items():
        total = count.total()
        interval = stats.binomtest(count["recovered"], total).proportion_ci(0.95, method="exact")
        print(
            f"{kind}: {count['recovered']} of {total} recovered (95 % interval {interval.low:.0%} to "
            f"{interval.high:.0%}), {count['refused']} refused, {count['wrong']} wrong"
        )
    if ratios:
        print(f"actual / stated root mean square error: median {np.median(ratios):.2f}, largest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
