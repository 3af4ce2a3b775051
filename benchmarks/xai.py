"""Cost of uncertainty and saliency. Run: ``python -m benchmarks.xai`` (as a script it would shadow ``xai``).

Random weights: times do not depend on their values. SAM is the ViT-B of MedSAM at 1024 pixels; the compact network is
ours. "Full" repeats the encoder in every pass, which is the cost of sampling without a cached embedding.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from xai.dropout import active_dropout, insert_dropout, require_variance
from xai.saliency import grad_cam, grad_cam_on_embedding
from xai.uncertainty import boundary_spread_mm, mutual_information


def timed(work: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Median seconds of `repeats` calls, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), result


def row(what: str, seconds: float, baseline: str = "", baseline_seconds: float = 0.0) -> None:
    """Print one line of the table."""
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    comparison = f"{baseline:<44} {baseline_seconds:9.3f} {baseline_seconds / seconds:7.1f} ×" if baseline else ""
    print(f"{what:<44} {seconds:9.3f} {peak_gib:7.1f}  {comparison}", flush=True)


def bench_sam(passes: int, *, through_encoder: bool) -> None:
    """SAM ViT-B: dropout in the mask decoder, Grad-CAM at the neck."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    sam = SamModel(SamConfig()).eval().requires_grad_(False)
    insert_dropout(sam.mask_decoder, 0.1)
    image = torch.rand(1, 3, 1024, 1024)
    box = torch.tensor([[[300.0, 300.0, 700.0, 640.0]]])

    def decode(embedding: torch.Tensor) -> torch.Tensor:
        boxes = box.expand(len(embedding), -1, -1)
        return sam(image_embeddings=embedding, input_boxes=boxes, multimask_output=False).pred_masks[:, 0, 0]

    def sample(embedding: torch.Tensor, first_pass: int, count: int) -> torch.Tensor:
        with torch.no_grad(), active_dropout(sam.mask_decoder, seed=0, first_pass=first_pass):
            return decode(embedding.expand(count, -1, -1, -1))

    def sample_in_fours(embedding: torch.Tensor) -> torch.Tensor:
        return torch.cat([sample(embedding, first, min(4, passes - first)) for first in range(0, passes, 4)])

    with torch.no_grad():
        encode_s, embedding = timed(lambda: sam.get_image_embeddings(image))
        decode_s, _ = timed(lambda: decode(embedding), 3)
    row("SAM ViT-B 1024: encode a slice", encode_s)
    row("SAM ViT-B: decode a box", decode_s)
    sample_s, samples = timed(lambda: sample_in_fours(embedding))
    require_variance(samples.numpy())

    single_s, _ = timed(lambda: sample(embedding, 0, 1), 3)
    full_s = passes * (encode_s + single_s)
    row(
        f"SAM ViT-B: {passes} dropout passes, cached",
        sample_s,
        f"{passes} full passes (encode + decode, scaled)",
        full_s,
    )

    mask = np.zeros((1, 256, 256), dtype=bool)
    mask[:, 75:160, 75:175] = True
    cached_s, cached = timed(lambda: grad_cam_on_embedding(decode, embedding, mask, size=(1024, 1024)))
    if not through_encoder:
        row("SAM ViT-B: Grad-CAM on the cached embedding", cached_s)
        return
    through_s, through = timed(
        lambda: grad_cam(lambda x: decode(sam.get_image_embeddings(x)), sam.vision_encoder.neck, image, mask)
    )
    difference = float(np.abs(cached - through).max() / np.abs(through).max())
    row("SAM ViT-B: Grad-CAM on the cached embedding", cached_s, "Grad-CAM on the neck, through the encoder", through_s)
    print(f"{'':4}(largest difference of the two maps: {difference:.1e} of the largest value)")


def bench_compact(passes: int) -> None:
    """The compact network: dropout in its decoder, Grad-CAM at the second stage of its encoder."""
    from medsam_planner.engine.compact_network import PROMPT_CHANNELS, CompactArchitecture, CompactNetwork

    torch.manual_seed(0)
    architecture = CompactArchitecture()
    network = CompactNetwork(architecture).eval().requires_grad_(False)
    side = architecture.size
    image, prompts = torch.rand(1, 3, side, side), torch.rand(1, PROMPT_CHANNELS, side, side)

    def sample(pyramid: list[torch.Tensor], first_pass: int, count: int) -> torch.Tensor:
        with torch.no_grad(), active_dropout(network.decoder, seed=0, first_pass=first_pass):
            return network.decoder(
                [level.expand(count, -1, -1, -1) for level in pyramid], prompts.expand(count, -1, -1, -1)
            )[0]

    def encode() -> list[torch.Tensor]:
        with torch.no_grad():
            return network.encoder(image)

    encode_s, pyramid = timed(encode, 10)
    row(f"compact {side}: encode a slice", encode_s)
    sample_s, samples = timed(lambda: sample(pyramid, 0, passes), 5)
    require_variance(samples.numpy())
    full_s, _ = timed(lambda: [sample(encode(), run, 1) for run in range(passes)], 5)
    row(f"compact: {passes} dropout passes, cached", sample_s, f"{passes} full passes", full_s)
    mask = np.zeros((1, side, side), dtype=bool)
    mask[:, 30:60, 30:60] = True
    cam_s, _ = timed(lambda: grad_cam(lambda x: network(x, prompts)[0], network.encoder.stages[1], image, mask), 5)
    row("compact: Grad-CAM of a slice", cam_s)


def bench_maps(passes: int) -> None:
    """Uncertainty maps of a volume: a ball of 30 mm radius in 60 × 256 × 256 voxels of 3 × 1 × 1 mm."""
    from scipy.ndimage import distance_transform_edt

    shape, spacing_mm = (60, 256, 256), (3.0, 1.0, 1.0)
    steps = (np.stack(np.indices(shape, dtype=np.float32), axis=-1) - np.array(shape) / 2) * spacing_mm
    distance_mm = np.linalg.norm(steps, axis=-1).astype(np.float32)
    radii_mm = np.random.default_rng(0).normal(30.0, 2.0, passes)
    probabilities = [1 / (1 + np.exp(np.clip(distance_mm - r, -30, 30))) for r in radii_mm]
    information_s, _ = timed(lambda: mutual_information(probabilities))
    row(f"mutual information, {passes} passes", information_s)
    masks = np.stack([distance_mm < r for r in radii_mm])
    band_s, band = timed(lambda: boundary_spread_mm(masks, spacing_mm, band_mm=10.0))

    def by_scipy() -> None:
        distance_transform_edt(~masks[0], sampling=spacing_mm)
        distance_transform_edt(masks[0], sampling=spacing_mm)

    scipy_s, _ = timed(by_scipy)
    row(
        f"boundary spread, {passes} passes, 10 mm band",
        band_s,
        f"{2 * passes} scipy transforms (2, scaled)",
        passes * scipy_s,
    )
    near = np.abs(distance_mm - radii_mm.mean()) < 5
    print(f"{'':4}(mean spread near the surface {np.nanmean(band[near]):.2f} mm; the radii's {radii_mm.std():.2f} mm)")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=16, help="number of stochastic passes")
    parser.add_argument("--through-encoder", action="store_true", help="also Grad-CAM through SAM's encoder (slow)")
    parser.add_argument("--skip-sam", action="store_true", help="leave out SAM ViT-B, which takes most of the time")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print(f"{'':<44} {'seconds':>9} {'GiB':>7}  {'baseline':<44} {'seconds':>9} {'gain':>9}")
    bench_maps(options.runs)
    bench_compact(options.runs)
    if not options.skip_sam:
        bench_sam(options.runs, through_encoder=options.through_encoder)


if __name__ == "__main__":
    main()
