"""MedSAM (SAM's ViT-B trained on medical images with boxes) behind the engine's protocol.

References
----------
.. [1] Ma et al., Segment anything in medical images, Nature Communications 15, 654, 2024,
   doi:10.1038/s41467-024-44824-z.
.. [2] Kirillov et al., Segment anything, ICCV 2023, arXiv 2304.02643.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.medsam_network import network_input, random_network
from medsam_planner.engine.medsam_weights import network_from, weights_file
from medsam_planner.engine.protocol import Crop, Decoded, SaliencyGraph, SlicePrompt
from medsam_planner.engine.threads import compute_threads
from medsam_planner.errors import GeometryError, PromptError
from medsam_planner.io.files import file_sha256

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import SamConfig, SamModel

__all__ = ["DROPOUT_RATE", "MedSam"]

DROPOUT_RATE = 0.1
"""Share of channels dropped in the mask decoder: the rate of the original transformer, arXiv 1706.03762 §5.4."""

PASSES_PER_BATCH = 8
"""Stochastic runs decoded together: bounds the memory, and does not change what a run gives."""

LOGIT_BOUND = 6.0
"""A probability of 0 or 1 enters the mask prompt as a logit of this size."""


class MedSam:
    """MedSAM on :class:`transformers.SamModel` (see :class:`~medsam_planner.engine.protocol.PromptableModel`).

    The whole slice is stretched to a square, as in MedSAM's training. SAM has no active dropout; channel dropout is
    inserted in the mask decoder, so samples differ only in the decoder and share one embedding.

    Parameters
    ----------
    network : transformers.SamModel
    weights_sha256 : str
        Hash of the file the weights came from.
    name : str
        Name in provenance and messages.
    dropout_rate : float
        Rate of the inserted dropout, between 0 and 1.
    encode_precision : {"float32", "bfloat16"}
        Arithmetic of the image encoder. bfloat16 is faster on CPUs that have it, and gives other embeddings, therefore
        another `weights_sha256` (with ``+bfloat16``). Decoding is always float32.
    encode_threads : int, optional
        Threads for the image encoder; all cores if None. Decoding always takes one.
    """

    default_window = "soft-tissue"
    reads_reference_slice = False
    paddings_px: tuple[float, ...] = ()
    metadata: Mapping[str, str] = MappingProxyType({})
    """MedSAM's files say nothing of themselves."""
    temperature = 1.0

    def __init__(
        self,
        network: SamModel,
        *,
        weights_sha256: str,
        name: str = "medsam-vit-b",
        dropout_rate: float = DROPOUT_RATE,
        encode_precision: Literal["float32", "bfloat16"] = "float32",
        encode_threads: int | None = None,
    ) -> None:
        from xai.dropout import insert_dropout

        self.name = name
        self.size = cast(int, network.vision_encoder.image_size)
        self.weights_sha256 = weights_sha256 + ("" if encode_precision == "float32" else f"+{encode_precision}")
        self.dropout_rate = dropout_rate
        self.encode_precision = encode_precision
        self._encode_threads = encode_threads or os.cpu_count() or 1
        self._network = network.eval().requires_grad_(False)
        self._sampling = threading.Lock()  # active dropout is a state of the network
        insert_dropout(self._network.mask_decoder, dropout_rate)

    @property
    def tensors_sha256(self) -> str:
        """That of the file."""
        return self.weights_sha256

    @classmethod
    def load(cls, path: Path | str, *, name: str = "medsam-vit-b", sha256: str | None = None, **options: Any) -> MedSam:
        """Model with the weights of `path`; see :func:`~medsam_planner.engine.medsam_weights.network_from`.

        `sha256` is the hash of the file where it is known already.

        Raises
        ------
        WeightsError
            If the weights are absent, damaged or of another network.
        """
        path = Path(path)
        network = network_from(path)
        return cls(network, weights_sha256=sha256 or file_sha256(weights_file(path)), name=name, **options)

    @classmethod
    def with_random_weights(cls, config: SamConfig | None = None, *, seed: int = 0, **options: Any) -> MedSam:
        """Model that has learnt nothing, of MedSAM's size or that of `config`: for timing and for tests."""
        options = {"weights_sha256": f"random-{seed}", "name": "medsam-random", **options}
        return cls(random_network(config, seed=seed), **options)

    @property
    def network(self) -> SamModel:
        """The ``transformers.SamModel``, in evaluation mode."""
        return self._network

    @property
    def saliency_layer(self) -> Any:
        """The image encoder's neck: its output is (B, C, rows, columns), that of the blocks before is channels-last."""
        return self._network.vision_encoder.neck

    def crops(self, prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[Crop, ...]:
        """The whole slice, whatever is asked."""
        height, width = shape
        return (Crop(((height - 1) / 2, (width - 1) / 2), (float(height), float(width)), self.size),)

    def encode(self, images: NDArray[np.float32]) -> Tensor:
        """Embed slices.

        Parameters
        ----------
        images : (B, size, size) float32
            Windowed intensities. Each is stretched to [0, 1] by its own minimum and maximum, as MedSAM does; SAM's mean
            and standard deviation are not applied.

        Returns
        -------
        (B, C, size / 16, size / 16) float32 tensor

        Raises
        ------
        GeometryError
            If the shape is another one.
        """
        import torch

        images = np.asarray(images, dtype=np.float32)
        if images.ndim != 3 or images.shape[1:] != (self.size, self.size):
            raise GeometryError(f"Expected images of shape (B, {self.size}, {self.size}), got {images.shape}.")
        bf16 = self.encode_precision == "bfloat16"
        with (
            compute_threads(self._encode_threads),
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext(),
        ):
            return self._network.vision_encoder(network_input(images)).last_hidden_state.float()

    def decode(
        self,
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        samples: int = 0,
        seed: int = 0,
    ) -> Decoded:
        """Answer `prompt` on one embedded slice.

        Parameters
        ----------
        embedding : (1, C, size / 16, size / 16) tensor
        prompt : SlicePrompt
            In model pixels. MedSAM was trained with boxes; clicks go through SAM's own encoding of points.
        previous_logits : (size, size) float32, optional
            Answer of an earlier round on this slice; goes before ``prompt.mask``.
        samples : int
            Runs with dropout; 0 for the deterministic answer.
        seed : int
            Which channels are dropped.

        Returns
        -------
        Decoded
            Logits (max(samples, 1), size, size), bilinear from the network's quarter resolution.

        Raises
        ------
        PromptError
            If nothing is asked, labels do not match the points, or `samples` is negative.
        GeometryError
            If the embedding is not of one slice, or the mask or the logits are not (size, size).
        """
        import torch

        if samples < 0:
            raise PromptError(f"Expected 0 samples (one certain answer) or more, got {samples}.")
        if embedding.ndim != 4 or embedding.shape[0] != 1:
            raise GeometryError(f"Expected the embedding of one slice, got shape {tuple(embedding.shape)}.")
        with compute_threads(1), torch.no_grad():
            sparse, dense = self._embed_prompt(prompt, previous_logits)
            if samples == 0:
                parts = [self._decode(embedding, sparse, dense)]
            else:
                parts = self._sample(embedding, sparse, dense, samples, seed)
            logits = torch.cat([self._enlarge(low) for low, _ in parts])[:, 0]
            quality = torch.cat([iou for _, iou in parts])[:, 0]
        return Decoded(logits=logits.numpy(), quality=quality.clamp(0.0, 1.0).numpy())

    def decode_each(
        self,
        embedding: Any,
        prompts: Sequence[SlicePrompt],
        previous_logits: Sequence[NDArray[np.float32] | None],
        *,
        runs: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Answer each of several prompts; see :class:`~medsam_planner.engine.protocol.PromptableModel`."""
        slices = embedding.split(1) if len(embedding) > 1 else [embedding] * len(prompts)
        counts = [0] * len(prompts) if runs is None else runs
        decoded = [
            self.decode(one, prompt, previous_logits=previous, samples=count, seed=seed + number)
            for number, (one, prompt, previous, count) in enumerate(
                zip(slices, prompts, previous_logits, counts, strict=True)
            )
        ]
        return Decoded(
            np.concatenate([one.logits for one in decoded]), np.concatenate([one.quality for one in decoded])
        )

    @property
    def explained_part(self) -> Any:
        """The mask decoder: what turns an embedding and a prompt into the mask."""
        return self._network.mask_decoder

    def saliency_graph(
        self,
        image: NDArray[np.float32],
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        part: Any | None = None,
    ) -> SaliencyGraph:
        """The path from the cached embedding, which is the neck's output: the same map as Grad-CAM on the neck."""

        def forward(inputs: Tensor) -> Tensor:
            return self.embedding_logits(inputs, prompt, previous_logits=previous_logits, decoder=part)

        return SaliencyGraph(embedding, forward, None)

    def embedding_logits(
        self,
        embedding: Tensor,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        decoder: Any | None = None,
    ) -> Tensor:
        """Differentiable :meth:`decode`, for saliency on a cached embedding.

        Parameters
        ----------
        embedding : (B, C, size / 16, size / 16) tensor
        prompt : SlicePrompt
            In model pixels; the same for all.
        previous_logits : (size, size) float32, optional
            Answer of an earlier round on this slice.
        decoder : torch.nn.Module, optional
            A mask decoder with other weights, for the randomisation check.

        Returns
        -------
        (B, size, size) tensor
        """
        low, _ = self._decode(embedding, *self._embed_prompt(prompt, previous_logits), decoder=decoder)
        return self._enlarge(low)[:, 0]

    def image_logits(self, images: Tensor, prompt: SlicePrompt) -> Tensor:
        """Differentiable path from the network's input to its answer, for saliency at :attr:`saliency_layer`.

        Parameters
        ----------
        images : (B, 3, size, size) float32 tensor
            Made by :func:`~medsam_planner.engine.medsam_network.network_input`.
        prompt : SlicePrompt
            In model pixels; the same for all.

        Returns
        -------
        (B, size, size) tensor
        """
        return self.embedding_logits(self._network.vision_encoder(images).last_hidden_state, prompt)

    def _sample(
        self, embedding: Tensor, sparse: Tensor | None, dense: Tensor, samples: int, seed: int
    ) -> list[tuple[Tensor, Tensor]]:
        from xai.dropout import active_dropout

        parts = []
        decoder = self._network.mask_decoder
        for first in range(0, samples, PASSES_PER_BATCH):
            batch = embedding.expand(min(PASSES_PER_BATCH, samples - first), -1, -1, -1)
            with self._sampling, active_dropout(decoder, seed, first_run=first):
                parts.append(self._decode(batch, sparse, dense))
        return parts

    def _embed_prompt(
        self, prompt: SlicePrompt, previous_logits: NDArray[np.float32] | None
    ) -> tuple[Tensor | None, Tensor]:
        import torch

        if prompt.is_empty() and previous_logits is None:
            raise PromptError("Expected a box, a click or a mask on the slice, got none of them.")
        points = labels = boxes = None
        if prompt.points is not None and len(prompt.points) > 0:
            if prompt.labels is None or len(prompt.labels) != len(prompt.points):
                got = None if prompt.labels is None else len(prompt.labels)
                raise PromptError(f"Expected one label for each of {len(prompt.points)} points, got {got}.")
            xy = np.ascontiguousarray(np.asarray(prompt.points, dtype=np.float32)[None, None, :, ::-1])
            points = torch.from_numpy(xy)
            labels = torch.from_numpy(np.asarray(prompt.labels, dtype=np.int64)[None, None])
        if prompt.box is not None:
            row0, column0, row1, column1 = (float(value) for value in prompt.box)
            boxes = torch.tensor([[[column0, row0, column1, row1]]], dtype=torch.float32)
        masks = self._mask_input(prompt, previous_logits)
        return self._network.prompt_encoder(points, labels, boxes, masks)

    def _mask_input(self, prompt: SlicePrompt, previous_logits: NDArray[np.float32] | None) -> Tensor | None:
        import torch

        if previous_logits is not None:
            values = np.asarray(previous_logits, dtype=np.float32)
        elif prompt.mask is not None:
            bound = 1.0 / (1.0 + math.exp(-LOGIT_BOUND))
            probability = np.clip(np.asarray(prompt.mask, dtype=np.float32), 1.0 - bound, bound)
            values = np.log(probability / (1.0 - probability))
        else:
            return None
        if values.shape != (self.size, self.size):
            raise GeometryError(f"Expected a mask or logits of {self.size} x {self.size} pixels, got {values.shape}.")
        side = 4 * int(self._network.prompt_encoder.image_embedding_size[0])
        return torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size=(side, side), mode="area")

    def _decode(
        self, embedding: Tensor, sparse: Tensor | None, dense: Tensor, *, decoder: Any | None = None
    ) -> tuple[Tensor, Tensor]:
        """Low-resolution logits (B, 1, h, w) and predicted IoU (B, 1) of one prompt on B embeddings."""
        batch = embedding.shape[0]
        masks, quality = (decoder or self._network.mask_decoder)(
            image_embeddings=embedding,
            image_positional_embeddings=self._network.get_image_wide_positional_embeddings().expand(batch, -1, -1, -1),
            sparse_prompt_embeddings=None if sparse is None else sparse.expand(batch, -1, -1, -1),
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return masks[:, 0], quality[:, 0]

    def _enlarge(self, low: Tensor) -> Tensor:
        from torch.nn.functional import interpolate

        return interpolate(low, size=(self.size, self.size), mode="bilinear", align_corners=False)
