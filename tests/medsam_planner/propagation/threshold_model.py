"""A promptable model whose every answer can be worked out by hand: bright voxels connected to the prompt.

It stands in for the network where propagation itself is tested; the shipped model is tested on real volumes elsewhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.protocol import Crop, Decoded, SlicePrompt


class ThresholdModel:
    """Looks at the whole slice, one model pixel for each slice pixel; slices must be square of side `size`."""

    name = "threshold"
    weights_sha256 = tensors_sha256 = "none"
    temperature = 1.0
    default_window = "full"
    reads_reference_slice = False
    paddings_px = ()
    engine = "torch:fp32"
    encodes_slowly = False
    network = None

    def __init__(self, size: int, *, level: float = 0.5) -> None:
        self.size = size
        self.metadata: dict[str, str] = {}
        self.level = level
        self.decoded = 0
        self.quality = 0.9

    def crops(self, prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[Crop, ...]:
        return (Crop(((shape[0] - 1) / 2, (shape[1] - 1) / 2), (float(shape[0]), float(shape[1])), self.size),)

    def encode(self, images: NDArray[np.float32]):
        import torch

        return torch.from_numpy(np.ascontiguousarray(images))

    def decode(
        self,
        embedding,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        samples: int = 0,
        seed: int = 0,
    ) -> Decoded:
        self.decoded += 1
        image = embedding[0].numpy()
        asked = np.zeros(image.shape, dtype=bool)
        if prompt.box is not None:
            first = np.floor(prompt.box[:2]).astype(int)
            last = np.ceil(prompt.box[2:]).astype(int)
            asked[first[0] : last[0] + 1, first[1] : last[1] + 1] = True
        if prompt.mask is not None:
            asked &= prompt.mask > 0.5
        if previous_logits is not None:
            asked |= previous_logits > 0
        banned = np.zeros(image.shape, dtype=bool)
        for point, positive in zip(
            () if prompt.points is None else prompt.points, () if prompt.labels is None else prompt.labels, strict=True
        ):
            (asked if positive else banned)[tuple(np.rint(point).astype(int))] = True
        generator = np.random.default_rng(seed)
        shifts = [0.0] if samples == 0 else generator.normal(0, 0.15, samples)
        logits = []
        for shift in shifts:
            parts, _ = ndimage.label(image > self.level + shift)
            keep = np.setdiff1d(np.unique(parts[asked]), [0, *np.unique(parts[banned])])
            logits.append(np.where(np.isin(parts, keep), 8.0, -8.0))
        return Decoded(np.stack(logits).astype(np.float32), np.full(len(logits), self.quality, dtype=np.float32))

    def decode_each(self, embedding, prompts, previous_logits, *, passes=None, seed=0) -> Decoded:
        images = embedding.split(1) if len(embedding) > 1 else [embedding] * len(prompts)
        counts = [0] * len(prompts) if passes is None else passes
        decoded = [
            self.decode(image, prompt, previous_logits=previous, samples=count, seed=seed)
            for image, prompt, previous, count in zip(images, prompts, previous_logits, counts, strict=True)
        ]
        return Decoded(*(np.concatenate([getattr(one, part) for one in decoded]) for part in ("logits", "quality")))
