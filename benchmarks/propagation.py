"""Seconds and peak memory from one box to a 3D mask, compared with MedSAM on every slice.

The study is procedural: 20 × 512 × 512 voxels, an organ with a slowly changing outline and a neighbour of similar
contrast. The baseline encodes and decodes every slice of the mask with MedSAM ViT-B (random weights, on which its time
does not depend); it is timed on one slice and multiplied. For each source of uncertainty the cost of 16 stochastic
passes with maps is stated relative to one deterministic pass, in CPU time of one process. ``--model`` names other
weights; ``random-memory`` is an untrained network with a memory. It propagates to every slice and is uncertain
everywhere, so that its masks take as long as those of trained weights, and its stochastic passes longer.
Run: ``python -m benchmarks.propagation`` (about two minutes on two cores).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import highdicom

    import medsam_planner as mp
    from prompts import Box

SLICES, SIDE, STEP_MM, PIXEL_MM = 20, 512, 2.0, 0.8
SOURCES = ("dropout", "jitter", "augment", "dropout+jitter", "dropout+jitter+augment")
RANDOM_MEMORY = "random-memory"
ROUNDS = 3
"""The median ratio over the rounds is printed, so that other work on the machine has little influence."""


def organ_study() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """HU of the study and the organ's mask, both (20, 512, 512)."""
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    study = np.full((SLICES, SIDE, SIDE), -1000.0, dtype=np.float32)
    organ = np.zeros(study.shape, dtype=bool)
    for index in range(SLICES):
        body = ((row - 256) / 190) ** 2 + ((column - 256) / 235) ** 2 < 1
        shrink = np.sqrt(max(1 - ((index - 9.5) / 14) ** 2, 0.01))
        organ[index] = ((row - 230 - index) / (60 * shrink)) ** 2 + ((column - 200) / (80 * shrink)) ** 2 < 1
        neighbour = ((row - 250) / 45) ** 2 + ((column - 330) / 40) ** 2 < 1
        study[index][body] = -60.0
        study[index][neighbour & body] = 45.0
        study[index][organ[index]] = 95.0
    noise = np.random.default_rng(0).normal(0, 14, study.shape)
    return (study + noise).astype(np.float32), organ


def boxed_organ() -> tuple[highdicom.Volume, NDArray[np.bool_], Box]:
    """The study, the organ's mask, and the box around it on its middle slice."""
    import highdicom

    from prompts import Box

    study, organ = organ_study()
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[2, 0], affine[1, 1], affine[0, 2] = STEP_MM, PIXEL_MM, PIXEL_MM
    rows, columns = np.nonzero(organ[10])
    box = Box(
        (columns.min() * PIXEL_MM, rows.min() * PIXEL_MM, 10 * STEP_MM),
        (columns.max() * PIXEL_MM, rows.max() * PIXEL_MM, 10 * STEP_MM),
    )
    return highdicom.Volume(study, affine, "PATIENT"), organ, box


def random_memory_weights(path: Path) -> Path:
    """Weights of an untrained network with a memory."""
    import torch

    from medsam_planner.engine.compact_weights import save_weights
    from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

    torch.manual_seed(0)
    save_weights(MemoryNetwork(MemoryArchitecture()), path, trained_on=[])
    return path


def session_on(volume: highdicom.Volume, model: str) -> mp.Session:
    """A session. With random weights the predicted IoU is meaningless, so that it does not stop propagation."""
    import medsam_planner as mp
    from medsam_planner.propagation.front import StopRules

    if model != RANDOM_MEMORY:
        return mp.Session(volume, model)
    with tempfile.TemporaryDirectory() as folder:
        weights = random_memory_weights(Path(folder) / "memory.safetensors")
        return mp.Session(volume, str(weights), rules=StopRules(min_quality=0.0))


def measure_sources(model: str) -> dict[str, float]:
    """Cost of 16 stochastic passes with maps, relative to one deterministic pass: median over rounds."""
    volume, _, box = boxed_organ()
    ratios: dict[str, list[float]] = {source: [] for source in SOURCES}
    for _ in range(ROUNDS):
        session = session_on(volume, model)
        session.add(box)
        deterministic = cpu_seconds(lambda session=session: session.segment(samples=0))
        for source in SOURCES:
            sampled = cpu_seconds(
                lambda session=session, source=source: session.segment(samples=16, uncertainty=source)
            )
            ratios[source].append(sampled / deterministic)
    return {source: float(np.median(values)) for source, values in ratios.items()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of a call, summed over threads."""
    start = process_time()
    work()
    return process_time() - start


def measure_session(model: str) -> dict[str, float]:
    """Seconds of each step."""
    from prompts import Click

    volume, organ, box = boxed_organ()
    measured = {}
    session = session_on(volume, model)
    session.add(box)
    steps = [("3D mask", {"samples": 0}), ("3D mask + 16 passes", {"samples": 16})]
    if model != RANDOM_MEMORY:  # the saliency of an untrained network is empty
        steps.append(("3D mask + Grad-CAM", {"samples": 0, "saliency": True}))
    for name, options in steps:
        start = perf_counter()
        result = session.segment(**options)
        measured[name] = perf_counter() - start
    session.add(Click((200 * PIXEL_MM, 236 * PIXEL_MM, 6 * STEP_MM)))
    start = perf_counter()
    session.preview()
    measured["correction"] = perf_counter() - start
    start = perf_counter()
    session.segment(samples=0)
    measured["3D mask after a correction"] = perf_counter() - start
    mask = result.mask.array
    measured["dice"] = 2 * float((mask & organ).sum()) / float(mask.sum() + organ.sum())
    measured["slices"] = float(mask.any(axis=(1, 2)).sum())
    measured["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return measured


def measure_baseline() -> dict[str, float]:
    """Seconds of MedSAM ViT-B for one slice: encode, then decode a box."""
    from medsam_planner.engine.medsam import MedSam
    from medsam_planner.engine.protocol import SlicePrompt
    from medsam_planner.engine.zoom import extract, prompt_to_crop

    study, organ = organ_study()
    model = MedSam.with_random_weights()
    rows, columns = np.nonzero(organ[10])
    prompt = SlicePrompt(box=np.array([rows.min(), columns.min(), rows.max(), columns.max()], dtype=float))
    (crop,) = model.crops(prompt, (SIDE, SIDE), (PIXEL_MM, PIXEL_MM))
    pixels = extract(np.clip((study[10] + 160) / 400, 0, 1), crop)[None]
    start = perf_counter()
    embedding = model.encode(pixels)
    encoded = perf_counter()
    model.decode(embedding, prompt_to_crop(prompt, crop))
    return {
        "encode": encoded - start,
        "decode": perf_counter() - encoded,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="compact", help=f"name or path of weights, or {RANDOM_MEMORY}")
    model = parser.parse_args().model
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        ours = pool.apply(measure_session, (model,))
    with context.Pool(1) as pool:
        ratios = pool.apply(measure_sources, (model,))
    with context.Pool(1) as pool:
        theirs = pool.apply(measure_baseline)
    loop = ours["slices"] * (theirs["encode"] + theirs["decode"])
    print(f"one box, {ours['slices']:.0f} slices of {SIDE} x {SIDE}; Dice with the known organ {ours['dice']:.3f}")
    print(f"{'step':34}{'seconds':>10}{'MedSAM loop / this':>20}")
    first = ours["3D mask"]
    print(f"{'3D mask':34}{first:10.2f}{loop / first:20.0f}")
    for name in ("3D mask + 16 passes", "3D mask + Grad-CAM"):
        if name in ours:
            print(f"{name + ' (mask known)':34}{ours[name]:10.2f}{loop / ours[name]:20.0f}")
    ratio = theirs["decode"] / ours["correction"]
    print(f"{'correction on another slice':34}{ours['correction']:10.3f}{ratio:20.2f} (one SAM decode / this)")
    again = ours["3D mask after a correction"]
    print(f"{'3D mask after the correction':34}{again:10.2f}{loop / again:20.0f}")
    print(f"{'MedSAM ViT-B loop (one slice x n)':34}{loop:10.1f}{1:20.0f}")
    for source, ratio in ratios.items():
        print(f"16 stochastic passes of {source}: {ratio:.1f} deterministic passes")
    print(f"peak memory: {ours['peak_mib']:.0f} MiB; MedSAM ViT-B {theirs['peak_mib']:.0f} MiB")


if __name__ == "__main__":
    main()
