"""Seconds and peak memory to encode a slice and to decode prompts: the compact model and MedSAM ViT-B.

MedSAM has random weights, on which its time does not depend. Both models get the same slice and box, each in its own
process. The baseline of stochastic passes is the same number of full forward passes, which is the cost of sampling
without a cached embedding. Run: ``python -m benchmarks.engine`` (about a minute and a half on two cores).
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

SAMPLES = 16
BOX_RC = (190.0, 150.0, 300.0, 285.0)
SPACING_MM = (0.8, 0.8)
VARIANTS = ("compact", "compact with memory", "MedSAM ViT-B float32", "MedSAM ViT-B bfloat16")


@dataclass(frozen=True, slots=True)
class Measurement:
    """Times and memory of one model."""

    variant: str
    input_size: int
    parameters: int
    encode_s: float
    decode_s: float
    sampled_s: float
    peak_mib: float
    loaded_mib: float

    @property
    def full_s(self) -> float:
        """Seconds of the baseline: a full forward pass for each stochastic pass."""
        return SAMPLES * (self.encode_s + self.decode_s)


def abdomen_like_slice() -> NDArray[np.float32]:
    """512 × 512 intensities in [0, 1]: a body, organs as ellipses, noise."""
    row, column = np.mgrid[:512, :512].astype(np.float32)
    image = np.zeros((512, 512), dtype=np.float32)
    for centre_row, centre_column, half_rows, half_columns, value in (
        (256, 256, 190, 235, 0.45),
        (245, 218, 55, 67, 0.62),
        (250, 350, 40, 45, 0.55),
        (350, 256, 35, 35, 0.95),
        (280, 250, 12, 12, 0.7),
    ):
        inside = ((row - centre_row) / half_rows) ** 2 + ((column - centre_column) / half_columns) ** 2 < 1
        image[inside] = value
    noise = np.random.default_rng(0).normal(0, 0.03, image.shape)
    return np.clip(image + noise, 0, 1).astype(np.float32)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall-clock time."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times)


def peak_mib() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(variant: str) -> Measurement:
    """Measure one model; called in a fresh process."""
    from medsam_planner.engine.compact import CompactModel
    from medsam_planner.engine.encoders import TorchEncoder
    from medsam_planner.engine.medsam import MedSam
    from medsam_planner.engine.protocol import ModelWithMemory, PromptableModel, RememberedSlice, SlicePrompt
    from medsam_planner.engine.registry import load_model
    from medsam_planner.engine.threads import compute_threads
    from medsam_planner.engine.zoom import extract, prompt_to_crop
    from medsam_planner.errors import WeightsError

    model: PromptableModel
    weights, repeats = "random", 1
    if variant == "compact":
        repeats = 15
        try:
            model, weights = load_model("compact"), "shipped"
        except WeightsError:
            from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork

            model = CompactModel.from_network(CompactNetwork(CompactArchitecture()).eval())
    elif variant == "compact with memory":
        import torch

        from medsam_planner.engine.memory_model import MemoryModel
        from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

        torch.manual_seed(0)
        repeats = 15
        model = MemoryModel.from_network(MemoryNetwork(MemoryArchitecture()))
    else:
        model = MedSam.with_random_weights(encoder=TorchEncoder("bf16" if variant.endswith("bfloat16") else "fp32"))
    image = abdomen_like_slice()
    prompt = SlicePrompt(box=np.array(BOX_RC))
    (crop,) = model.crops(prompt, image.shape, SPACING_MM)
    pixels, own_prompt = extract(image, crop)[None], prompt_to_crop(prompt, crop)
    if isinstance(model, ModelWithMemory):  # as late in propagation: six prompted slices and two propagated ones
        tokens = model.remember(model.encode(pixels), np.zeros(pixels.shape[1:], np.float32), prompted=True)
        known = [RememberedSlice(tokens, crop.centre_rc, crop.side_rc[0], 2.0 * n) for n in range(1, 9)]
        own_prompt = prompt_to_crop(replace(prompt, memory=tuple(known)), crop)
    loaded_mib = peak_mib()
    with compute_threads(1):  # as the slice segmenter does; MedSAM's encoder takes more for itself
        if repeats > 1:
            model.encode(pixels)
        start = perf_counter()
        embedding = model.encode(pixels)
        encode = perf_counter() - start if repeats == 1 else seconds(lambda: model.encode(pixels), repeats)
        model.decode(embedding, own_prompt)
        decode = seconds(lambda: model.decode(embedding, own_prompt), max(repeats, 3))
        sampled = seconds(lambda: model.decode(embedding, own_prompt, samples=SAMPLES), max(repeats // 3, 1))
    return Measurement(
        variant=f"{variant} ({weights})",
        input_size=model.size,
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        encode_s=encode,
        decode_s=decode,
        sampled_s=sampled,
        peak_mib=peak_mib(),
        loaded_mib=loaded_mib,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    variants = parser.parse_args().variants
    print(
        f"{'model (weights)':32}{'input':>6}{'params':>8}{'encode s':>10}{'decode s':>10}"
        f"{f'{SAMPLES} passes s':>13}{f'{SAMPLES} full s':>11}{'peak MiB':>10}{'loaded':>8}",
        flush=True,
    )
    rows = []
    for variant in variants:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            row = pool.apply(measure, (variant,))
        rows.append(row)
        print(
            f"{row.variant:32}{row.input_size:6}{row.parameters / 1e6:7.1f}M{row.encode_s:10.4f}{row.decode_s:10.4f}"
            f"{row.sampled_s:13.3f}{row.full_s:11.3f}{row.peak_mib:10.0f}{row.loaded_mib:8.0f}",
            flush=True,
        )
    print(
        f"\n{SAMPLES} passes: stochastic, on the cached embedding. {SAMPLES} full: the baseline, {SAMPLES} × (encode + "
        "decode). Peak: resident memory of the process; loaded: before the first slice."
    )
    first = rows[0]
    for row in rows[1:]:
        print(
            f"{first.variant} compared with {row.variant}: encode {row.encode_s / first.encode_s:.0f} x, "
            f"decode {row.decode_s / first.decode_s:.1f} x, {SAMPLES} passes {row.sampled_s / first.sampled_s:.1f} x "
            f"faster, {row.peak_mib / first.peak_mib:.1f} x less memory"
        )


if __name__ == "__main__":
    main()
