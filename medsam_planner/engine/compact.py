"""The compact model: it crops to the prompt and predicts a crop of about 100 pixels a side in milliseconds on a CPU."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.compact_crops import compact_crops
from medsam_planner.engine.compact_inputs import normalise, prompt_maps
from medsam_planner.engine.compact_weights import read_weights
from medsam_planner.engine.engine_name import REFERENCE
from medsam_planner.engine.logits import SUREST_LOGIT
from medsam_planner.engine.protocol import Crop, Decoded, SaliencyGraph, SlicePrompt
from medsam_planner.engine.shared_tensors import module_over_same_tensors
from medsam_planner.engine.threads import random_draws
from medsam_planner.errors import GeometryError, PromptError, WeightsError
from medsam_planner.io.files import file_sha256

if TYPE_CHECKING:
    import torch

    from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork
    from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork

    Network = CompactNetwork | MemoryNetwork

__all__ = ["PROPAGATED_BOX_PADDINGS_PX", "CompactModel", "decoded"]

PROPAGATED_BOX_PADDINGS_PX = (2.0, 3.0, 4.0)
"""Model pixels of padding that the box of a propagated mask may get where it is decoded on its own; the first is the
default."""


class CompactModel:
    """A promptable model of a few million parameters (see :class:`~medsam_planner.engine.protocol.PromptableModel`).

    Parameters
    ----------
    path : Path
        safetensors file written by :func:`~medsam_planner.engine.compact_weights.save_weights`, of a network without a
        memory; :func:`~medsam_planner.engine.memory_model.open_compact` opens either.
    sha256 : str, optional
        SHA-256 of the file, if the caller knows it; otherwise the file is hashed.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or of another model.
    """

    name = "compact"
    default_window = "full"
    engine = str(REFERENCE)
    encodes_slowly = False
    reads_reference_slice = True
    paddings_px: tuple[float, ...] = PROPAGATED_BOX_PADDINGS_PX

    def __init__(self, path: Path | str, *, sha256: str | None = None) -> None:
        network, metadata = read_weights(Path(path))
        self._adopt(network, sha256 or file_sha256(Path(path)))
        self.metadata: Mapping[str, str] = metadata

    @classmethod
    def from_network(cls, network: Network, *, weights_sha256: str = "") -> Self:
        """Wrap a network that is already in memory."""
        model = cls.__new__(cls)
        model._adopt(network, weights_sha256)
        model.metadata = {}
        return model

    def with_own_module(self) -> Self:
        """The same weights under a module of its own; see :mod:`~medsam_planner.engine.shared_tensors`."""
        model = copy.copy(self)
        model._network = module_over_same_tensors(self._network)
        model.metadata = dict(self.metadata)
        return model

    def _adopt(self, network: Network, digest: str) -> None:
        from medsam_planner.engine.compact_network import channels_last

        if not isinstance(network, self._network_class()):
            raise WeightsError(
                f"Expected weights of {self._network_class().__name__}, got those of {type(network).__name__}: load "
                "them with medsam_planner.engine.memory_model.open_compact."
            )
        self._network = channels_last(network.eval())
        self.weights_sha256 = digest
        self.architecture: CompactArchitecture | MemoryArchitecture = network.architecture
        self.size = network.architecture.size

    @staticmethod
    def _network_class() -> type[Network]:
        from medsam_planner.engine.compact_network import CompactNetwork

        return CompactNetwork

    @property
    def tensors_sha256(self) -> str:
        """SHA-256 of architecture and tensors: everything that decides a prediction, without the file's other
        metadata."""
        digest = hashlib.sha256(json.dumps(self.architecture.to_dict()).encode())
        for name, tensor in self._network.state_dict().items():
            if tensor.is_floating_point():
                digest.update(name.encode())
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    @property
    def temperature(self) -> float:
        """Temperature of dropout passes, fitted on held-out patients; 1 where none was fitted."""
        return float(self.metadata.get("temperature", 1.0))

    @property
    def network(self) -> Network:
        """The ``torch.nn.Module``, in evaluation mode."""
        return self._network

    @property
    def explained_part(self) -> Network:
        """The whole network."""
        return self._network

    def saliency_graph(
        self,
        image: NDArray[np.float32],
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        part: Network | None = None,
    ) -> SaliencyGraph:
        """The graph from the normalised crop; Grad-CAM reads the encoder at a quarter of the input's resolution."""
        import torch

        network = part or self._network
        maps = torch.from_numpy(prompt_maps(prompt, self.size, previous_logits)[None])

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = network(inputs, maps.expand(len(inputs), -1, -1, -1))[0]
            return logits

        inputs = torch.from_numpy(normalise(np.asarray(image, dtype=np.float32)[None]))
        return SaliencyGraph(inputs, forward, network.encoder.stages[1])

    def crops(self, prompt: SlicePrompt, shape: tuple[int, int], spacing_mm: tuple[float, float]) -> tuple[Crop, ...]:
        """Candidate crops; see :func:`~medsam_planner.engine.compact_crops.compact_crops`."""
        return compact_crops(prompt, shape, spacing_mm, self.size)

    def encode(self, images: NDArray[np.float32]) -> list[torch.Tensor]:
        """Embed (B, size, size) crops as one feature map per scale, batch first."""
        import torch

        images = np.asarray(images, dtype=np.float32)
        if images.ndim != 3 or images.shape[1:] != (self.size, self.size):
            raise GeometryError(f"Expected crops of shape (B, {self.size}, {self.size}), got {images.shape}.")
        device = next(self._network.parameters()).device
        tensor = torch.from_numpy(normalise(images)).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return list(self._network.encoder(tensor))

    def decode(
        self,
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        samples: int = 0,
        seed: int = 0,
    ) -> Decoded:
        """Decode `prompt` on one embedded crop; see :class:`~medsam_planner.engine.protocol.PromptableModel`."""
        if samples < 0:
            raise PromptError(f"Expected 0 samples (one deterministic prediction) or more, got {samples}.")
        return self.decode_each(
            embedding, [prompt], [previous_logits], passes=(samples,) if samples else None, seed=seed
        )

    def decode_each(
        self,
        embedding: Any,
        prompts: Sequence[SlicePrompt],
        previous_logits: Sequence[NDArray[np.float32] | None],
        *,
        passes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Decode each prompt; see :class:`~medsam_planner.engine.protocol.PromptableModel`."""
        import torch

        if passes is not None:
            return self._sample(embedding, prompts, previous_logits, passes, seed)
        inputs, owner = [], []
        for number, (prompt, previous) in enumerate(zip(prompts, previous_logits, strict=True)):
            for variant in self._variants(prompt, previous):
                inputs.append((variant, previous))
                owner.append(number)
        owners = np.array(owner)
        per_crop = [feature if len(feature) == 1 else feature[owners] for feature in embedding]
        with torch.inference_mode():
            logits, quality = self._network.decoder.ascend(self._meet(per_crop, inputs))
            found = decoded(logits, quality)
        parts = [np.flatnonzero(owners == number) for number in range(len(prompts))]
        means = [_mean([Decoded(found.logits[[i]], found.quality[[i]]) for i in part]) for part in parts]
        return Decoded(
            np.concatenate([mean.logits for mean in means]),
            np.concatenate([mean.quality for mean in means]),
        )

    def _sample(
        self,
        embedding: Any,
        prompts: Sequence[SlicePrompt],
        previous_logits: Sequence[NDArray[np.float32] | None],
        passes: Sequence[int],
        seed: int,
    ) -> Decoded:
        import torch

        found_by_variant = []
        # The box alone is decoded for every second pass only, or every fourth where prompts differ too: passes that
        # share it still differ in the other variant, and the cost is lower.
        shared_by = 2 if len(prompts) == 1 else 4
        variants = [self._variants(prompt, previous) for prompt, previous in zip(prompts, previous_logits, strict=True)]
        with torch.inference_mode(), random_draws(seed):
            self._network.decoder.dropouts.train()
            try:
                for number, prompts_of_variant in enumerate(zip(*variants, strict=True)):
                    met = self._meet(embedding, list(zip(prompts_of_variant, previous_logits, strict=True)))
                    decodings = [count if number == 0 else -(-count // shared_by) for count in passes]
                    owners = np.repeat(np.arange(len(passes)), decodings).tolist()
                    torch.manual_seed(seed)
                    found = decoded(*self._network.decoder.ascend(met, owners))
                    starts = np.cumsum([0, *decodings[:-1]])
                    shared = np.concatenate(
                        [
                            start + np.arange(count) % decoded_times
                            for start, count, decoded_times in zip(starts, passes, decodings, strict=True)
                        ]
                    )
                    found_by_variant.append(Decoded(found.logits[shared], found.quality[shared]))
            finally:
                self._network.decoder.dropouts.eval()
        return _mean(found_by_variant)

    def _meet(
        self, embedding: Any, inputs: Sequence[tuple[SlicePrompt, NDArray[np.float32] | None]]
    ) -> list[torch.Tensor]:
        import torch

        maps = [prompt_maps(prompt, self.size, previous) for prompt, previous in inputs]
        prompts = torch.from_numpy(np.stack(maps)).to(embedding[0].device, memory_format=torch.channels_last)
        return self._network.decoder.meet(list(embedding), prompts)

    def _variants(self, prompt: SlicePrompt, previous_logits: NDArray[np.float32] | None) -> list[SlicePrompt]:
        """The prompts that are decoded for one prompt: a propagated mask is decoded with its box and by the box alone.

        Propagated shapes drift from slice to slice; from the box alone the shape is predicted from the image again.
        """
        if prompt.box is None or prompt.points is not None or previous_logits is not None:
            return [prompt]
        if prompt.mask is None and prompt.padding_px is None:
            return [prompt]
        padding_px = PROPAGATED_BOX_PADDINGS_PX[0] if prompt.padding_px is None else prompt.padding_px
        alone = SlicePrompt(box=np.asarray(prompt.box) + padding_px * np.array([-1.0, -1.0, 1.0, 1.0]))
        return [alone] if prompt.mask is None else [prompt, alone]


def decoded(logits: torch.Tensor, quality: torch.Tensor) -> Decoded:
    """Outputs of a decoder, (S, N, N) logits and (S,) predicted-IoU logits, as numpy arrays."""
    import torch

    return Decoded(
        logits=logits.cpu().numpy().astype(np.float32),
        quality=torch.sigmoid(quality).cpu().numpy().astype(np.float32),
    )


def _mean(variants: Sequence[Decoded]) -> Decoded:
    """Mean logits and mean predicted IoU over the variants of a prompt."""
    if len(variants) == 1:
        return variants[0]
    logits = [np.clip(variant.logits, -SUREST_LOGIT, SUREST_LOGIT) for variant in variants]
    return Decoded(
        logits=np.mean(logits, axis=0, dtype=np.float32),
        quality=np.mean([variant.quality for variant in variants], axis=0, dtype=np.float32),
    )
