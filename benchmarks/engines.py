"""MedSAM's engines in one run: encode time as ratio to torch, agreement of masks, memory; 20 slices; the disk cache.

The weights are random and of MedSAM's layout (the trained ones cannot be fetched here), written to a file and read by
the real loading code; times do not depend on their values. Agreement is that of binarised answers. Every engine has a
process of its own. Processor seconds stand beside wall seconds, which other work on the machine
disturbs. Run: ``python -m benchmarks.engines`` (``--size 256 --slices 8`` for a quick look).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.engine import abdomen_like_slice, peak_mib

EXPORTS = ("openvino:int8", "openvino:bf16", "openvino:fp32", "onnx:int8", "onnx:fp32")
TORCH = ("torch:fp32", "torch:bf16")


def study(slices: int) -> Any:
    """(slices, 512, 512) HU of an abdomen-like body whose organs move a little from slice to slice; 2.5 mm slices."""
    import highdicom

    base, rng = abdomen_like_slice(), np.random.default_rng(1)
    moved = [np.roll(base, (k - slices // 2, (k - slices // 2) // 2), (0, 1)) for k in range(slices)]
    array = np.stack(moved) * 400 - 160 + rng.normal(0, 8, (slices, 512, 512))
    return highdicom.Volume(array.astype(np.float32), np.diag([2.5, 0.8, 0.8, 1.0]), "PATIENT")


def write_weights(folder: Path, size: int) -> Path:
    """Random weights of ViT-B for an input of `size` pixels, as a folder that the registry opens."""
    from safetensors.torch import save_file
    from transformers import SamConfig
    from transformers.models.sam.configuration_sam import SamPromptEncoderConfig, SamVisionConfig

    from medsam_planner.engine.medsam_network import random_network

    config = SamConfig(
        vision_config=SamVisionConfig(image_size=size), prompt_encoder_config=SamPromptEncoderConfig(image_size=size)
    )
    state = random_network(config, seed=0).state_dict()
    path = folder / "medsam-random.safetensors"
    tied = "prompt_encoder.shared_embedding.positional_embedding"
    save_file({name: tensor.contiguous() for name, tensor in state.items() if name != tied}, path)
    return path


def make(weights: str, engine: str) -> tuple[str, float, float, Any]:
    """Export for an engine; called in a fresh process. Gives the record, wall seconds and peak MiB."""
    from medsam_planner.errors import MedsamPlannerError
    from medsam_planner.lab.optimise import optimise

    kind, precision = engine.split(":")
    start = perf_counter()
    try:
        made = optimise(weights, engine=kind, precision=precision, studies=[study(12)], slices=4)
    except MedsamPlannerError as error:
        return engine, perf_counter() - start, peak_mib(), str(error)
    return engine, perf_counter() - start, peak_mib(), made


def encode(weights: str, engine: str, repeats: int) -> dict[str, float]:
    """Seconds to encode a slice; called in a fresh process."""
    from medsam_planner.engine.registry import load_model
    from medsam_planner.engine.zoom import extract

    model = load_model(weights, engine=engine)
    image = abdomen_like_slice()
    (crop,) = model.crops(None, image.shape, (0.8, 0.8))  # type: ignore[arg-type] (MedSAM's does not read it)
    pixels = extract(image, crop)[None]
    loaded = peak_mib()
    wall, cpu = [], []
    for _ in range(repeats + 1):
        start, used = perf_counter(), process_time()
        model.encode(pixels)
        wall.append(perf_counter() - start)
        cpu.append(process_time() - used)
    return {"wall": min(wall[1:]), "cpu": min(cpu[1:]), "peak": peak_mib(), "loaded": loaded}


def work(weights: str, engine: str, slices: int, folder: str | None) -> dict[str, float]:
    """One box to a 3D mask, a second structure in the same slices, a correction; called in a fresh process."""
    from medsam_planner.engine.cache import EmbeddingCache
    from medsam_planner.segmentation.session import Session
    from prompts import Box, Click

    cache = EmbeddingCache(10**9, None if folder is None else Path(folder))
    session = Session(study(slices), weights, engine=engine, cache=cache)
    middle = slices // 2
    found: dict[str, float] = {}

    def timed(what: str, run: Callable[[], Any]) -> Any:
        start, used = perf_counter(), process_time()
        result = run()
        found[what], found[f"{what} cpu"] = perf_counter() - start, process_time() - used
        return result

    session.add(box_at(Box, middle, (190, 150, 300, 285)), structure="liver")
    mask = timed("first", lambda: session.segment(structure="liver", samples=0))
    found["slices"] = float(mask.mask.array.any(axis=(1, 2)).sum())
    session.add(box_at(Box, middle, (210, 305, 290, 395)), structure="spleen")
    timed("second", lambda: session.segment(structure="spleen", samples=0))
    session.add(Click((middle * 2.5, 245 * 0.8, 218 * 0.8), positive=True), structure="liver")
    timed("correction", lambda: session.segment(structure="liver", samples=0))
    found["hits"], found["misses"], found["peak"] = float(cache.hits), float(cache.misses), peak_mib()
    return found


def box_at(box: Any, k: int, rc: tuple[int, int, int, int]) -> Any:
    """A box on slice `k` in LPS mm, from rows and columns."""
    return box((k * 2.5, rc[0] * 0.8, rc[1] * 0.8), (k * 2.5, rc[2] * 0.8, rc[3] * 0.8))


def alone(run: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a fresh process, for its own peak memory; one that dies (out of memory) is an error, and no wait."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, *arguments).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="side of the network's input")
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--exports", nargs="*", default=EXPORTS, choices=EXPORTS)
    parser.add_argument("--torch", nargs="*", default=TORCH, choices=TORCH)
    parser.add_argument("--volume", nargs="*", default=("openvino:int8", "compact"), help="engines for the 3D masks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["MEDSAM_PLANNER_WEIGHTS"] = place
        weights = str(alone(write_weights, Path(place), arguments.size))
        print(f"ViT-B with random weights, input {arguments.size}²; load {os.getloadavg()[0]:.1f}", flush=True)
        exports(weights, arguments.exports)
        encoders(weights, [*arguments.torch, *arguments.exports], arguments.repeats)
        volumes(weights, arguments.volume, arguments.slices, place)


def exports(weights: str, names: list[str]) -> None:
    """Make every export and say how far it is from torch."""
    print(
        f"\n{'export':16}{'made in s':>10}{'peak MiB':>10}{'MB':>7}{'embedding':>11}{'Dice':>8}{'lowest':>8}{'IoU':>8}"
    )
    for name in names:
        _, seconds, peak, made = alone(make, weights, name)
        if isinstance(made, str):
            print(f"{name:16}{seconds:10.0f}{peak:10.0f}  {made}", flush=True)
            continue
        parity = made.parity
        print(
            f"{name:16}{seconds:10.0f}{peak:10.0f}{made.file_bytes / 1e6:7.0f}{parity.embedding_error:11.5f}"
            f"{parity.dice:8.4f}{parity.lowest_dice:8.4f}{parity.iou:8.4f}",
            flush=True,
        )


def encoders(weights: str, names: list[str], repeats: int) -> None:
    """Encode times of every engine, as ratios to torch in float32 before and after them."""
    from medsam_planner.errors import MedsamPlannerError

    print(f"\n{'engine':16}{'wall s':>8}{'cpu s':>8}{'× wall':>8}{'× cpu':>8}{'loaded MiB':>12}{'peak MiB':>10}")
    first: dict[str, float] = {}
    for name in [*names, names[0]]:
        try:
            row = alone(encode, weights, name, repeats)
        except MedsamPlannerError as error:
            print(f"{name:16}{str(error)[:100]}", flush=True)
            continue
        first = first or row
        print(
            f"{name:16}{row['wall']:8.2f}{row['cpu']:8.2f}{first['wall'] / row['wall']:8.2f}"
            f"{first['cpu'] / row['cpu']:8.2f}{row['loaded']:12.0f}{row['peak']:10.0f}",
            flush=True,
        )


def volumes(weights: str, names: list[str], slices: int, place: str) -> None:
    """Seconds to a 3D mask, of a second structure and of a correction; with an empty and with a filled disk cache."""
    print(
        f"\n{'3D masks':26}{'slices':>7}{'first s':>9}{'second s':>9}{'correct s':>10}{'first cpu':>10}"
        f"{'hits':>6}{'misses':>7}{'peak MiB':>10}"
    )
    for name in names:
        model, engine = ("compact", "auto") if name == "compact" else (weights, name)
        for state in ("empty", "filled") if name != "compact" else ("none",):
            folder = None if state == "none" else f"{place}/embeddings-{name}"
            row = alone(work, model, engine, slices, folder)
            print(
                f"{f'{name}, cache {state}':26}{row['slices']:7.0f}{row['first']:9.1f}{row['second']:9.1f}"
                f"{row['correction']:10.1f}{row['first cpu']:10.1f}{row['hits']:6.0f}{row['misses']:7.0f}"
                f"{row['peak']:10.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
