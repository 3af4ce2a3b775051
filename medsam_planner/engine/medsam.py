"""MedSAM (SAM's ViT-B trained on medical images with boxes) behind the engine's protocol.

References
----------
.. [1] Ma et al., Segment anything in medical images, Nature Communications 15, 654, 2024,
   doi:10.1038/s41467-024-44824-z.
.. [2] Kirillov et al., Segment anything, ICCV 2023, arXiv 2304.02643.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.encoders import Encoder, TorchEncoder
from medsam_planner.engine.medsam_network import network_input, random_network
from medsam_planner.engine.medsam_prompts import embedded_prompt
from medsam_planner.engine.medsam_weights import network_from, weights_file
from medsam_planner.engine.protocol import Crop, Decoded, SaliencyGraph, SlicePrompt
from medsam_planner.engine.shared_tensors import module_over_same_tensors
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
"""Stochastic passes decoded together: limits the memory and does not change the result of a pass."""


class MedSam:
    """MedSAM on :class:`transformers.SamModel` (see :class:`~medsam_planner.engine.protocol.PromptableModel`).

    The whole slice is stretched to a square, as in MedSAM's training. SAM has no active dropout. Channel dropout is
    inserted in the mask decoder, so stochastic passes differ only in the decoder and share one embedding.

    Parameters
    ----------
    network : transformers.SamModel
        The network with its weights.
    weights_sha256 : str
        Hash of the file the weights came from.
    name : str
        Name in provenance and messages.
    dropout_rate : float
        Rate of the inserted dropout, between 0 and 1.
    encoder : Encoder, optional
        What computes the image encoder; by default the network itself in float32. Decoding is always torch in float32.
    encoder_sha256 : str, optional
        Hash of the file that the image encoder came from, where it is another one.
    """

    default_window = "soft-tissue"
    reads_reference_slice = False
    encodes_slowly = True
    paddings_px: tuple[float, ...] = ()
    metadata: Mapping[str, str] = MappingProxyType({})
    """MedSAM's files carry no metadata."""
    temperature = 1.0

    def __init__(
        self,
        network: SamModel,
        *,
        weights_sha256: str,
        name: str = "medsam-vit-b",
        dropout_rate: float = DROPOUT_RATE,
        encoder: Encoder | None = None,
        encoder_sha256: str | None = None,
    ) -> None:
        from xai.dropout import insert_dropout

        self.name = name
        self.size = cast(int, network.vision_encoder.image_size)
        self.weights_sha256 = weights_sha256
        self.dropout_rate = dropout_rate
        self.encoder = encoder or TorchEncoder()
        self.encoder_sha256 = encoder_sha256 or weights_sha256
        self._network = network.eval().requires_grad_(False)
        self._sampling = threading.Lock()  # active dropout is a state of the network
        insert_dropout(self._network.mask_decoder, dropout_rate)

    @property
    def tensors_sha256(self) -> str:
        """SHA-256 of the file, which holds nothing but the weights."""
        return self.weights_sha256

    def with_own_module(self) -> Self:
        """The same weights under a module of its own; see :mod:`~medsam_planner.engine.shared_tensors`."""
        model = copy.copy(self)
        model._network = module_over_same_tensors(self._network)
        model._sampling = threading.Lock()
        return model

    @classmethod
    def load(cls, path: Path | str, *, name: str = "medsam-vit-b", sha256: str | None = None, **options: Any) -> MedSam:
        """Model with the weights of `path`; see :func:`~medsam_planner.engine.medsam_weights.network_from`.

        `sha256` is the hash of the file, if the caller knows it; otherwise the file is hashed.

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
        """Model with random weights, of MedSAM's size or that of `config`: for timing and for tests."""
        options = {"weights_sha256": f"random-{seed}", "name": "medsam-random", **options}
        return cls(random_network(config, seed=seed), **options)

    @property
    def network(self) -> SamModel:
        """The ``transformers.SamModel``, in evaluation mode."""
        return self._network

    @property
    def engine(self) -> str:
        """What computes the image encoder, as ``openvino:int8:3f2a91c0b7de``."""
        return str(self.encoder.name)

    def crops(self, prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[Crop, ...]:
        """The whole slice, for every prompt."""
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
            Rounded to float16, so that an embedding which was kept in float16 leads to the same bytes.

        Raises
        ------
        GeometryError
            If the shape is another one.
        """
        import torch

        images = np.asarray(images, dtype=np.float32)
        if images.ndim != 3 or images.shape[1:] != (self.size, self.size):
            raise GeometryError(f"Expected images of shape (B, {self.size}, {self.size}), got {images.shape}.")
        found = self.encoder.embed(network_input(images), self._network.vision_encoder)
        return torch.from_numpy(found).half().float()

    def decode(
        self,
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        samples: int = 0,
        seed: int = 0,
    ) -> Decoded:
        """Decode `prompt` on one embedded slice.

        Parameters
        ----------
        embedding : (1, C, size / 16, size / 16) tensor
            Of the slice.
        prompt : SlicePrompt
            In model pixels. MedSAM was trained with boxes; clicks use SAM's own encoding of points.
        previous_logits : (size, size) float32, optional
            Prediction of an earlier round on this slice; used instead of ``prompt.mask``.
        samples : int
            Number of passes with dropout; 0 for the deterministic prediction.
        seed : int
            Decides which channels are dropped.

        Returns
        -------
        Decoded
            Logits (max(samples, 1), size, size), bilinear from the network's quarter resolution.

        Raises
        ------
        PromptError
            If the prompt is empty, labels do not match the points, or `samples` is negative.
        GeometryError
            If the embedding is not of one slice, or the mask or the logits are not (size, size).
        """
        import torch

        if samples < 0:
            raise PromptError(f"Expected 0 samples (one deterministic prediction) or more, got {samples}.")
        if embedding.ndim != 4 or embedding.shape[0] != 1:
            raise GeometryError(f"Expected the embedding of one slice, got shape {tuple(embedding.shape)}.")
        with compute_threads(1), torch.no_grad():
            sparse, dense = embedded_prompt(self._network, prompt, previous_logits)
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
        passes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Decode each of several prompts; see :class:`~medsam_planner.engine.protocol.PromptableModel`."""
        slices = embedding.split(1) if len(embedding) > 1 else [embedding] * len(prompts)
        counts = [0] * len(prompts) if passes is None else passes
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
        """The mask decoder, which computes the mask from an embedding and a prompt."""
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
        """The graph from the cached embedding. It is the neck's output, so the map equals Grad-CAM on the neck."""

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
            Of B slices.
        prompt : SlicePrompt
            In model pixels; the same for all.
        previous_logits : (size, size) float32, optional
            Prediction of an earlier round on this slice.
        decoder : torch.nn.Module, optional
            A mask decoder with other weights, for the randomisation check.

        Returns
        -------
        (B, size, size) tensor
        """
        low, _ = self._decode(embedding, *embedded_prompt(self._network, prompt, previous_logits), decoder=decoder)
        return self._enlarge(low)[:, 0]

    def _sample(
        self, embedding: Tensor, sparse: Tensor | None, dense: Tensor, samples: int, seed: int
    ) -> list[tuple[Tensor, Tensor]]:
        from xai.dropout import active_dropout

        parts = []
        decoder = self._network.mask_decoder
        for first in range(0, samples, PASSES_PER_BATCH):
            batch = embedding.expand(min(PASSES_PER_BATCH, samples - first), -1, -1, -1)
            with self._sampling, active_dropout(decoder, seed, first_pass=first):
                parts.append(self._decode(batch, sparse, dense))
        return parts

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
