"""The workbench with a NIfTI study of 512 × 512 × 400 voxels, in Fortran order (as NIfTI is read) and in C order.

The study is procedural: an organ with a slowly changing outline in a body, in 16 bits as scanners write it. Each order
is measured in its own process. Seconds are medians. A wheel step shows a new slice, later with the 3D result and its
largest map as overlay. Memory is the peak of the process beyond its memory before the study was read, in multiples of
the study's size as float32. Run: ``python -m benchmarks.large_study`` (a few minutes on two cores).
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks.planning import PeakMemory

SHAPE = (512, 512, 400)
"""i, j, k as NIfTI stores them, first index fastest."""
PIXEL_MM, STEP_MM = 0.8, 1.0
MIDDLE = 200
PASSES = 16
WHEEL_STEPS = 12
ORDERS = {"Fortran order": "F", "C order": "C"}


def write_study(path: Path, *, slices: int = SHAPE[2]) -> None:
    """Write the study slab by slab; of fewer slices, those in its middle."""
    import nibabel

    columns, rows = (np.arange(size, dtype=np.float32)[..., None] for size in SHAPE[:2])
    rows = rows.T
    study = np.empty((*SHAPE[:2], slices), dtype=np.int16, order="F")
    noise = np.random.default_rng(0).normal(0, 14, (16, *SHAPE[:2])).astype(np.int16)
    for k in range(slices):
        hu = np.full(SHAPE[:2], -1000, dtype=np.int16)
        hu[((columns - 256) / 235) ** 2 + ((rows - 256) / 190) ** 2 < 1] = -60
        hu[((columns - 330) / 40) ** 2 + ((rows - 250) / 45) ** 2 < 1] = 45
        shrink = 1 - ((k - slices // 2) / 60) ** 2
        if shrink > 0:
            hu[((columns - 200) / 70) ** 2 + ((rows - 230) / 55) ** 2 < shrink] = 95
        study[:, :, k] = hu + noise[k % len(noise)]
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, STEP_MM, 1.0])
    image = nibabel.Nifti1Image(study, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def measure(path: Path, out: Path, order: str) -> dict[str, float]:
    """Open the study, show a slice, scroll, prompt a box, segment in 3D, scroll again."""
    import medsam_planner as mp
    from medsam_planner.engine.registry import load_model
    from medsam_planner.service import prompting, slice_layers, studies, workbench
    from medsam_planner.service.core import study_store
    from medsam_planner.service.core.options import SegmentOptions
    from medsam_planner.service.core.service import Service
    from medsam_planner.service.display import Plane
    from medsam_planner.service.settings import Settings
    from medsam_planner.service.slice_view import ViewRequest

    load_model("compact")
    study_mb = np.prod(SHAPE) * 4 / 2**20
    memory = PeakMemory()
    if order == "C":  # the same voxels, as a C-ordered array
        read = study_store.load_volume

        def in_c_order(place: Path, **options: object) -> mp.StudyVolume:
            study = read(place, **options)
            study.array = np.ascontiguousarray(study.array)
            return study

        study_store.load_volume = in_c_order
    bench = workbench.Workbench(Service(Settings(out=out, roots=(path.parent,))))
    measured = {"opened s": seconds(lambda: studies.open_study(bench, str(path)))}
    measured["peak, opened"] = memory.more_mb() / study_mb

    def look(plane: Plane, index: int, overlay: str = "outline") -> None:
        slice_layers.slice_view(bench, plane, ViewRequest(index, -160, 240, overlay))

    measured["first slice s"] = seconds(lambda: look(Plane.AXIAL, MIDDLE))
    memory = PeakMemory()
    held_mb = memory.start_mb
    for plane in Plane:
        steps = [seconds(lambda step=step, plane=plane: look(plane, 150 + step)) for step in range(WHEEL_STEPS)]
        measured[f"wheel {plane.value} s"] = median(steps)

    def box() -> None:
        prompting.draw_box(bench, Plane.AXIAL, MIDDLE, (125.0, 170.0), (275.0, 290.0))
        look(Plane.AXIAL, MIDDLE)

    measured["box to outline s"] = seconds(box)
    measured["beyond study, box"] = memory.more_mb() / study_mb
    measured["3D segmentation s"] = seconds(lambda: bench.segment(SegmentOptions(samples=PASSES)))
    measured["beyond study, 3D segm."] = memory.more_mb() / study_mb
    measured["peak, 3D segmentation"] = 1 + measured["beyond study, 3D segm."]
    for plane in Plane:
        steps = [
            seconds(lambda step=step, plane=plane: look(plane, 180 + step, "boundary_spread_mm"))
            for step in range(WHEEL_STEPS)
        ]
        measured[f"wheel {plane.value}, result s"] = median(steps)
    measured["held, opened"] = held_mb / study_mb
    return measured


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.nii"
        write_study(path)
        context = multiprocessing.get_context("spawn")
        measured = {}
        for name, order in ORDERS.items():
            with context.Pool(1) as pool:
                measured[name] = pool.apply(measure, (path, Path(folder) / order, order))
    print(f"{' × '.join(map(str, SHAPE))} voxels, {np.prod(SHAPE) * 4 / 2**20:.0f} MiB as float32")
    print(f"{'':28}" + "".join(f"{name:>16}" for name in measured))
    for row in next(iter(measured.values())):
        print(f"{row:28}" + "".join(f"{measured[row]:16.3f}" for measured in measured.values()))


if __name__ == "__main__":
    main()
