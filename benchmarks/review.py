"""A path that is moved by hand: seconds from a line to its measures, and from a slider to a plan.

The study is that of :mod:`benchmarks.large_study`, of 20 and of 400 slices of 512 × 512 voxels, with three vessels of
known shape beside the way to the target, each with 16 stochastic masks. Each figure stands beside the bare round trip
to the worker process of the same run; HTTP adds that of ``python -m benchmarks.ui``. Run:
``python -m benchmarks.review`` (some minutes; ``--quick`` the small study alone).
"""

from __future__ import annotations

import argparse
import os
import secrets
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.large_study import STEP_MM, write_study
from benchmarks.server import seconds, told
from medsam_planner.geometry import index_from_lps, lps_from_index
from medsam_planner.provenance import PropagationTrace, SegmentationProvenance
from medsam_planner.segmentation.result import MaskSamples, SegmentationResult
from medsam_planner.service import reviewing, structure_list, studies
from medsam_planner.service.core.loaded import result_path
from medsam_planner.service.core.prompt_steps import entry_of
from medsam_planner.service.core.requests import Prepare
from medsam_planner.service.core.service import Service
from medsam_planner.service.core.worker import Workers
from medsam_planner.service.placed_lines import LineAsked
from medsam_planner.service.saved_result import write_result
from medsam_planner.service.settings import Settings
from medsam_planner.service.workbench import Workbench
from medsam_planner.volumes import BoxedArray, array_sha256, volume_like
from prompts import Click

PASSES, RADIUS_MM, REACH_MM = 16, 4.0, 40.0
MOVES = 40
SLIDERS = {"tool_radius_mm": (0.6, 1.4), "base_margin_mm": (1.0, 3.0), "target_error_mm": (1.0, 2.0)}
SLIDES = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small study alone")
    asked = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for slices in (20,) if asked.quick else (20, 400):
        with tempfile.TemporaryDirectory() as folder:
            measure(slices, Path(folder))


def measure(slices: int, folder: Path) -> None:
    """Print the table of a study of so many slices."""
    study = folder / "ct.nii"
    write_study(study, slices=slices)
    service = Service(Settings(out=folder / "data", roots=(folder,)))
    try:
        workbench = Workbench(service)
        studies.open_study(workbench, str(study))
        target, entry = planned(workbench)
        print(f"\n512 × 512 × {slices} voxels, 3 vessels of {PASSES} stochastic masks")
        print(f"{'':46}{'n':>6}{'median s':>11}{'p95 s':>11}{'beyond bare':>13}")
        bare = seconds(lambda: service.computations.workers.worker(Workers.PLANNING).ask(Prepare(None)), 40)
        told("bare round trip to the worker", bare, median(bare))
        told("first plan, nothing kept", seconds(lambda: reviewing.plan_at_once(workbench, {}), 1), median(bare))
        line = np.array([entry, target])
        begun = time.perf_counter()
        first = seconds(lambda: reviewing.read(workbench, LineAsked(line)), 1)
        told("first reading", first, median(bare))
        while not reviewing.read(workbench, LineAsked(line))["is_hit_known"]:
            time.sleep(0.2)
        told("until the hit probability is there", [time.perf_counter() - begun], median(bare))
        random, built = np.random.default_rng(0), []
        times = []
        for _ in range(MOVES):
            moved = line + random.uniform(-6, 6, (2, 3))
            start = time.perf_counter()
            built += reviewing.read(workbench, LineAsked(moved))["built"]
            times.append(time.perf_counter() - start)
        told("moved line → all measures, kept fields", times, median(bare))
        print(f"  distance fields computed meanwhile: {built or 'none'}")
        for name, values in SLIDERS.items():
            slid = iter(np.linspace(*values, SLIDES).tolist())
            times = seconds(lambda name=name, slid=slid: reviewing.plan_at_once(workbench, {name: next(slid)}), SLIDES)
            told(f"{name} → plan, kept fields", times, median(bare))
    finally:
        service.close()


def planned(workbench: Workbench) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the study three vessels, a target and an entry; LPS mm."""
    volume = workbench.snapshot.study
    assert volume is not None
    middle = lps_from_index(volume.affine, (np.array(volume.spatial_shape) - 1) / 2)
    target = middle + np.array([-45.0, 0.0, 0.0])
    entry = target + np.array([0.0, -151.0, 0.0])  # on the skin
    spots = [(-45.0 + 14.0, -40.0), (-45.0 - 16.0, -70.0), (-45.0 + 18.0, -95.0)]
    index = np.stack(np.meshgrid(*map(np.arange, volume.spatial_shape), indexing="ij"), axis=-1)
    places = lps_from_index(volume.affine, index) - middle
    del index
    for number, (x, y) in enumerate(spots):
        distance = np.hypot(places[..., 0] - x, places[..., 1] - y)
        distance[np.abs(places[..., 2]) > REACH_MM + STEP_MM] = 99.0
        put(workbench, f"vessel {number + 1}", distance)
        workbench.refresh()
        structure_list.describe(workbench, f"vessel {number + 1}", role="avoid")
    workbench.set_end(target=tuple(target.tolist()), entry=tuple(entry.tolist()))
    assert (index_from_lps(volume.affine, target) >= 0).all()
    return target, entry


def put(workbench: Workbench, name: str, distance: NDArray[np.float64]) -> None:
    """Give a structure a result as if it had been segmented."""
    volume, work, job = workbench.snapshot.study, workbench.require_work(), secrets.token_hex(16)
    assert volume is not None
    random = np.random.default_rng(len(name))
    inside = distance < RADIUS_MM
    box = tuple(slice(int(one.min()) - 4, int(one.max()) + 5) for one in np.nonzero(inside))
    box = tuple(slice(max(one.start, 0), one.stop) for one in box)
    masks = np.stack([distance[box] < RADIUS_MM + random.normal(0, 0.5) for _ in range(PASSES)])
    samples = MaskSamples(BoxedArray(tuple(one.start for one in box), masks, tuple(volume.spatial_shape)), volume)
    entries: dict[str, Any] = {
        **dict.fromkeys(("image_sha256", "weights_sha256"), ""),
        **dict.fromkeys(("saliency", "triplanar", "modality_is_inferred"), False),
        **{one: {} for one in ("normalisation", "rules", "versions")},
        "structure": name,
        "mask_sha256": array_sha256(inside),
        "window": None,
        "model": "compact",
        "temperature": 1.0,
        "seed": 0,
        "samples": PASSES,
        "modality": "CT",
        "operations": [],
    }
    result = SegmentationResult(
        structure=name,
        mask=volume_like(volume, inside),
        probability=volume_like(volume, inside.astype(np.float32)),
        trace=PropagationTrace(0, ()),
        boundary_spread_mm=volume_like(volume, np.where(distance < 12, 0.5, 0).astype(np.float32)),
        mask_samples=samples,
        provenance=SegmentationProvenance(**entries),
    )
    write_result(result_path(work, job), result)
    middle = lps_from_index(volume.affine, (np.array(volume.spatial_shape) - 1) / 2)
    work.add(name, entry_of(Click(tuple(middle.tolist()), False)))  # one that changes nothing
    digest = work.state.steps[name].digest
    work.record("job", job=job, task="segment", structure=name, digest=digest, options={})
    work.record("job-ended", job=job, state="done", result={"mask_sha256": "", "volume_ml": 1.0})


if __name__ == "__main__":
    main()
