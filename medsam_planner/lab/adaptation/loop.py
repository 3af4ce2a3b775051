"""The loop of an adaptation: whole interactions on the decoder alone, and the averaged decoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from medsam_planner.engine.memory_network import MemoryNetwork
from medsam_planner.lab.adaptation.samples import EncodedBatch
from medsam_planner.lab.training.interactions import interact
from medsam_planner.lab.training.loop import hold_statistics
from medsam_planner.progress import Progress, track

__all__ = ["Schedule", "train_decoder"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that decides how the decoder is trained, but the samples."""

    steps: int
    learning_rate: float
    warmup_steps: int = 10
    average_decay: float = 0.97
    seed: int = 0


def train_decoder(
    network: MemoryNetwork,
    batches: Sequence[EncodedBatch],
    schedule: Schedule,
    *,
    check_every: int | None = None,
    check: Callable[[int, MemoryNetwork], bool] | None = None,
    progress: Progress | None = None,
) -> MemoryNetwork:
    """Train the decoder of a copy of a network; the encoder and the statistics of normalisation stay.

    Parameters
    ----------
    network : MemoryNetwork
        Unchanged.
    batches : sequence of EncodedBatch
        Of this network's encoder; taken in random order, again and again.
    schedule : Schedule
    check_every : int, optional
        Steps between two calls of `check`.
    check : callable, optional
        Told the step and the averaged network; training ends where it says False.
    progress : Progress, optional
        Told the steps; may cancel.

    Returns
    -------
    MemoryNetwork
        The averaged network after the last step.
    """
    own = copy.deepcopy(network)
    averaged = copy.deepcopy(network).eval()
    weights = [parameter for parameter in own.decoder.parameters() if parameter.requires_grad]
    # No decay towards 0: the averaged weights stay near the base by the small number of steps.
    optimizer = torch.optim.AdamW(weights, lr=schedule.learning_rate, weight_decay=0.0)
    pairs = list(zip(averaged.decoder.parameters(), own.decoder.parameters(), strict=True))
    rng = np.random.default_rng([schedule.seed, 6])
    order: list[int] = []
    for step in track(range(1, schedule.steps + 1), "adapting", progress, total=schedule.steps):
        if not order:
            order = rng.permutation(len(batches)).tolist()
        drawn = batches[order.pop()]
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * min(step / schedule.warmup_steps, 1.0)
        own.train()
        hold_statistics(own)
        pyramid = [scale.float() for scale in drawn.pyramid]
        total, _ = interact(own, drawn.batch, torch.device("cpu"), rng, low_precision=False, pyramid=pyramid)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 2.0)
        optimizer.step()
        decay = min(schedule.average_decay, step / (step + 5))
        with torch.no_grad():
            for kept, new in pairs:
                kept.lerp_(new, 1 - decay)
        if check is not None and check_every and step % check_every == 0 and not check(step, averaged):
            break
    return averaged
