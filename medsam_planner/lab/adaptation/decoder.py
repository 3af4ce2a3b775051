"""The decoder of the compact model, trained by the interactions that the model was trained with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch

from medsam_planner.engine.adapted_weights import apply_changes
from medsam_planner.engine.memory_model import MemoryModel
from medsam_planner.engine.memory_network import MemoryNetwork
from medsam_planner.engine.protocol import PromptableModel
from medsam_planner.lab.adaptation.learner import Changes, Check
from medsam_planner.lab.adaptation.loop import Schedule, train_decoder
from medsam_planner.lab.adaptation.samples import encoded_batches, label_volume
from medsam_planner.lab.evaluation.cases import Structure
from medsam_planner.progress import Progress

__all__ = ["CompactLearner"]


class CompactLearner:
    """The whole decoder of the compact model, by the interactions it was trained with.

    Parameters
    ----------
    base : MemoryModel
    learning_rate : float
    batches, batch : int
        Number of cached batches, and of structures in each.
    rehearsal : float
        Share of procedural anatomy among the samples.
    """

    kind: Literal["compact", "medsam"] = "compact"
    trained = "decoder (encoder frozen, its features cached)"

    def __init__(
        self,
        base: MemoryModel,
        *,
        learning_rate: float = 1e-3,
        batches: int = 24,
        batch: int = 4,
        rehearsal: float = 0.25,
    ) -> None:
        self.base: PromptableModel = base
        network = base.network
        assert isinstance(network, MemoryNetwork)
        self._network = network
        self._learning_rate = learning_rate
        self._batches, self._batch, self._rehearsal = batches, batch, rehearsal

    def samples(self, structures: Sequence[Structure], *, seed: int, progress: Progress | None = None) -> Any:
        """Stacks of slices with the features of the encoder; see :class:`Learner`."""
        volumes = [label_volume(structure) for structure in structures]
        return encoded_batches(
            self._network,
            volumes,
            count=self._batches,
            batch=self._batch,
            rehearsal=self._rehearsal,
            seed=seed,
            progress=progress,
        )

    def train(
        self,
        samples: Any,
        steps: int,
        *,
        seed: int,
        check_every: int | None = None,
        check: Check | None = None,
        progress: Progress | None = None,
    ) -> Changes:
        """Train the decoder; see :class:`Learner`."""
        schedule = Schedule(steps, self._learning_rate, seed=seed)
        told = None if check is None else lambda step, network: check(step, self._changes(network))
        averaged = train_decoder(
            self._network, samples, schedule, check_every=check_every, check=told, progress=progress
        )
        return self._changes(averaged)

    def model_with(self, changes: Changes) -> PromptableModel:
        """The base with changes; see :class:`Learner`."""
        network = copy.deepcopy(self._network)
        apply_changes(network, changes, source="the adaptation")
        return MemoryModel.from_network(network, weights_sha256=self.base.weights_sha256)

    def _changes(self, network: MemoryNetwork) -> Changes:
        """Differences of the decoder's weights, rounded as they are stored."""
        base = dict(self._network.decoder.named_parameters())
        return {
            f"decoder.{name}": (parameter - base[name]).detach().half().float()
            for name, parameter in network.decoder.named_parameters()
            if not torch.equal(parameter, base[name])
        }
