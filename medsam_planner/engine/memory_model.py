"""The compact model with a memory: it attends to slices that were predicted before, and offers candidate masks.

The shipped weights are of this network, and ``medsam-planner train`` trains it. Weights of version 0.1.0 are of the
network without a memory (:mod:`~medsam_planner.engine.compact`), and are loaded by their path.

Every remembered slice is encoded in the crop of the slice that is predicted
(:mod:`medsam_planner.engine.slice_memory`). In training, too, the slices of a stack share one crop, up to a
twentieth of its side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.adapted_weights import apply_changes
from medsam_planner.engine.compact import CompactModel, decoded
from medsam_planner.engine.compact_inputs import CLOSENESS_CHANNEL, closeness, normalise, prompt_maps, token_grid
from medsam_planner.engine.compact_weights import FORMAT, read_weights, weights_format
from medsam_planner.engine.protocol import Decoded, SaliencyGraph, SlicePrompt
from medsam_planner.engine.threads import random_draws
from medsam_planner.errors import PromptError

if TYPE_CHECKING:
    import torch

    from medsam_planner.engine.memory_network import MemoryNetwork, SliceMemory

__all__ = ["MemoryModel", "is_ambiguous", "open_adapted_compact", "open_compact"]


class MemoryModel(CompactModel):
    """A compact model with a memory (see :class:`~medsam_planner.engine.protocol.ModelWithMemory`)."""

    paddings_px: tuple[float, ...] = ()
    candidates = 3
    _network: MemoryNetwork

    @staticmethod
    def _network_class() -> type[MemoryNetwork]:
        from medsam_planner.engine.memory_network import MemoryNetwork

        return MemoryNetwork

    def remember(self, embedding: Any, mask: NDArray[np.float32], *, prompted: bool) -> tuple[torch.Tensor, ...]:
        """Keys and values of one predicted slice; see :class:`~medsam_planner.engine.protocol.ModelWithMemory`."""
        import torch

        with torch.inference_mode():
            masks = torch.from_numpy(np.ascontiguousarray(mask, dtype=np.float32))[None]
            keys, values = self._network.decoder.memory_reader.remember(
                embedding[2], masks, torch.tensor([float(prompted)])
            )
        return keys, values

    def decode_each(
        self,
        embedding: Any,
        prompts: Sequence[SlicePrompt],
        previous_logits: Sequence[NDArray[np.float32] | None],
        *,
        passes: Sequence[int] | None = None,
        seed: int = 0,
    ) -> Decoded:
        """Decode each prompt; see :class:`~medsam_planner.engine.protocol.PromptableModel`.

        All stochastic passes of a prompt use the candidate that the deterministic prediction uses.
        """
        import torch

        decoder = self._network.decoder
        maps, memory = self._inputs(prompts, previous_logits)
        with torch.inference_mode():
            met = decoder.meet(list(embedding), maps, memory)
            logits, quality = decoder.ascend(met)
            candidates = _candidates(quality, prompts, previous_logits)
            if passes is None:
                return decoded(*_selected(logits, quality, candidates))
            owners = np.repeat(np.arange(len(prompts)), passes).tolist()
            with random_draws(seed):
                decoder.dropouts.train()
                try:
                    logits, quality = decoder.ascend(met, owners)
                finally:
                    decoder.dropouts.eval()
            return decoded(*_selected(logits, quality, [candidates[owner] for owner in owners]))

    def saliency_graph(
        self,
        image: NDArray[np.float32],
        embedding: Any,
        prompt: SlicePrompt,
        *,
        previous_logits: NDArray[np.float32] | None = None,
        part: Any | None = None,
    ) -> SaliencyGraph:
        """The graph from the normalised crop, with a constant memory.

        Grad-CAM reads the encoder's output to the decoder at a quarter of the input's resolution.
        """
        import torch

        network = part or self._network
        maps, memory = self._inputs([prompt], [previous_logits])
        with torch.inference_mode():
            quality = self._network.decoder(list(embedding), maps, memory)[1]
        (candidate,) = _candidates(quality, [prompt], [previous_logits])
        kept = None if memory is None else _repeated(memory, 1)  # outside inference mode, so that gradients can pass

        def forward(inputs: torch.Tensor) -> torch.Tensor:
            count = len(inputs)
            known = None if kept is None else _repeated(kept, count)
            pyramid = network.encoder(inputs)
            logits: torch.Tensor = network.decoder(pyramid, maps.expand(count, -1, -1, -1), known)[0]
            return logits[:, candidate]

        inputs = torch.from_numpy(normalise(np.asarray(image, dtype=np.float32)[None]))
        return SaliencyGraph(inputs, forward, network.encoder.necks[1])

    def _inputs(
        self, prompts: Sequence[SlicePrompt], previous_logits: Sequence[NDArray[np.float32] | None]
    ) -> tuple[torch.Tensor, SliceMemory | None]:
        """(B, 10, N, N) prompt maps, and the memories of all prompts in one batch."""
        import torch

        counts = {len(prompt.memory) for prompt in prompts}
        if len(counts) > 1:
            raise PromptError(f"Expected prompts with equally many remembered slices, got {sorted(counts)}.")
        channels = self._network.prompt_channels
        maps = np.stack(
            [
                prompt_maps(prompt, self.size, previous, channels=channels)
                for prompt, previous in zip(prompts, previous_logits, strict=True)
            ]
        )
        memory = None
        if counts != {0}:
            nearest = [min(one.away for one in prompt.memory) / self.size for prompt in prompts]
            maps[:, CLOSENESS_CHANNEL] = closeness(np.array(nearest))[:, None, None]
            memory = self._memory(prompts)
        device = next(self._network.parameters()).device
        return torch.from_numpy(maps).to(device, memory_format=torch.channels_last), memory

    def _memory(self, prompts: Sequence[SlicePrompt]) -> SliceMemory:
        import torch

        from medsam_planner.engine.memory_network import SliceMemory

        keys, values, positions, distances = [], [], [], []
        for prompt in prompts:
            keys.append(torch.cat([one.tokens[0] for one in prompt.memory], dim=2))
            values.append(torch.cat([one.tokens[1] for one in prompt.memory], dim=2))
            own = token_grid(prompt.memory[0].tokens[0].shape[2])
            places = [(np.asarray(one.centre_rc) + 0.5 + (own - 0.5) * one.side) / self.size for one in prompt.memory]
            positions.append(np.concatenate(places))
            distances.append(np.repeat([one.away / self.size for one in prompt.memory], len(own)))
        return SliceMemory(
            torch.cat(keys),
            torch.cat(values),
            torch.from_numpy(np.stack(positions).astype(np.float32)),
            torch.from_numpy(np.stack(distances).astype(np.float32)),
        )


def open_compact(path: Path | str, *, sha256: str | None = None) -> CompactModel:
    """The model of a weights file of either format; `sha256` as for :class:`CompactModel`.

    Raises
    ------
    WeightsError
        If the file is absent, damaged or of another model.
    """
    kind = MemoryModel if weights_format(Path(path)) == FORMAT else CompactModel
    return kind(path, sha256=sha256)


def open_adapted_compact(
    base: Path, changes: dict[str, torch.Tensor], metadata: Mapping[str, str], *, name: str, sha256: str
) -> CompactModel:
    """The model of base weights with changes; its metadata are those of the base and then those of the changes.

    Raises
    ------
    WeightsError
        If the changes do not fit the base weights.
    """
    network, known = read_weights(base)
    apply_changes(network, changes, source=name)
    kind = MemoryModel if known["format"] == FORMAT else CompactModel
    model = kind.from_network(network, weights_sha256=sha256)
    model.name = name
    model.metadata = {**known, **metadata}
    return model


def is_ambiguous(prompt: SlicePrompt, *, is_refined: bool) -> bool:
    """Whether a prompt is ambiguous, as in training: a box or a single click, without a mask or an earlier
    prediction."""
    return prompt.mask is None and not is_refined and (prompt.points is None or len(prompt.points) < 2)


def _candidates(
    quality: torch.Tensor, prompts: Sequence[SlicePrompt], previous_logits: Sequence[NDArray[np.float32] | None]
) -> list[int]:
    """Number of the candidate mask to use for each prompt.

    The one that the prompt names; else the one with the highest predicted IoU where the prompt is ambiguous; else the
    first, which is trained for unambiguous prompts.
    """
    best: list[int] = quality.argmax(dim=1).tolist()
    chosen = []
    for found, prompt, previous in zip(best, prompts, previous_logits, strict=True):
        own = found if is_ambiguous(prompt, is_refined=previous is not None) else 0
        chosen.append(own if prompt.candidate is None else prompt.candidate)
    return chosen


def _selected(
    logits: torch.Tensor, quality: torch.Tensor, candidates: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = list(range(len(candidates)))
    return logits[rows, list(candidates)], quality[rows, list(candidates)]


def _repeated(memory: SliceMemory, count: int) -> SliceMemory:
    from medsam_planner.engine.memory_network import SliceMemory

    return SliceMemory(
        memory.keys.repeat(count, 1, 1, 1),
        memory.values.repeat(count, 1, 1, 1),
        memory.positions.repeat(count, 1, 1),
        memory.distance.repeat(count, 1),
    )
