"""The training loop: whole interactions, averaged weights, checkpoints to resume from."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsam_planner.engine.compact_network import channels_last
from medsam_planner.engine.compact_weights import read_weights, save_weights
from medsam_planner.engine.memory_network import MemoryArchitecture, MemoryNetwork
from medsam_planner.errors import ConfigError, OperationCancelledError, require_extra
from medsam_planner.io.files import whole_file
from medsam_planner.lab.training.batches import Batch, batches
from medsam_planner.lab.training.config import CHECKPOINT, TrainingConfig
from medsam_planner.lab.training.data_folder import trained_on
from medsam_planner.lab.training.interactions import interact
from medsam_planner.progress import Progress

__all__ = ["train"]

AVERAGE_EVERY = 4
"""Steps between two updates of the averaged weights, whose decay is stated per step."""


def train(config: TrainingConfig, *, resume: bool = False, progress: Progress | None = None) -> Path:
    """Train the compact model.

    Parameters
    ----------
    config : TrainingConfig
        Everything that decides the weights.
    resume : bool
        Continue from the checkpoint in ``config.out``, if there is one.
    progress : Progress, optional
        Updated after every step.

    Returns
    -------
    Path
        ``compact.safetensors`` in ``config.out``: the averaged weights.

    Raises
    ------
    ConfigError
        If there is a checkpoint and `resume` is not set.
    MissingDependencyError
        If the extra ``train`` is not installed.
    OperationCancelledError
        If cancellation was requested; a checkpoint is written first.
    """
    require_extra("train", "Training")
    from torch.utils.tensorboard import SummaryWriter

    config.out.mkdir(parents=True, exist_ok=True)
    checkpoint = config.out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise ConfigError(f"{checkpoint} is of an earlier training. Resume it, or name another `out` folder.")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = _Run(config)
    if checkpoint.exists():
        run.restore(checkpoint)
    with SummaryWriter(str(config.out / "tensorboard")) as writer:
        started, first = time.monotonic(), run.step
        saved = started
        for batch in batches(config, run.step):
            values = run.advance(batch)
            now = time.monotonic()
            if run.step % 20 == 0:
                values["samples_per_second"] = config.batch * (run.step - first) / (now - started)
                for name, value in values.items():
                    writer.add_scalar(name, value, run.step)
            if progress is not None:
                progress.update(_stage(values), run.step, config.steps)
            stopping = progress is not None and progress.is_cancelled
            if now - saved > 60 * config.checkpoint_minutes or run.step == config.steps or stopping:
                run.save(checkpoint)
                run.export()
                saved = now
            if stopping:
                raise OperationCancelledError(f"Stopped on request after step {run.step}; resume goes on from there.")
    return run.export()


def _stage(values: dict[str, float]) -> str:
    return "train " + " ".join(f"{name} {value:.3f}" for name, value in values.items())


def _known(path: Path, architecture: MemoryArchitecture) -> tuple[MemoryNetwork, list[str]]:
    """Weights of a file in a network of the given architecture (dropout and size may differ); their training data."""
    known, metadata, _ = read_weights(path)
    if not isinstance(known, MemoryNetwork):
        raise ConfigError(
            f"Expected weights of a network with a memory in {path}, got one without. Choose other weights."
        )
    if replace(known.architecture, dropout=architecture.dropout, size=architecture.size) != architecture:
        raise ConfigError(f"Expected weights of the architecture {architecture} in {path}, got {known.architecture}.")
    network = MemoryNetwork(architecture)
    network.load_state_dict(known.state_dict())
    return network, list(json.loads(metadata.get("trained_on", "[]")))


def _begin_encoder(network: MemoryNetwork, path: Path) -> None:
    """Initialise the encoder from a file of EfficientNet-Lite0, which has its tensors in the same order.

    Raises
    ------
    ConfigError
        If the file is absent or holds another network.
    """
    if not path.is_file():
        raise ConfigError(f"Expected weights of EfficientNet-Lite0 at {path}, found no file.")
    given = [tensor for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items() if tensor.ndim]
    own = {
        name: tensor
        for name, tensor in network.encoder.state_dict().items()
        if tensor.ndim and not name.startswith("necks")
    }
    if len(given) < len(own) or any(a.shape != b.shape for a, b in zip(own.values(), given, strict=False)):
        raise ConfigError(f"Expected EfficientNet-Lite0 as its PyTorch port stores it in {path}, got other tensors.")
    network.encoder.load_state_dict(dict(zip(own, given, strict=False)), strict=False)


def hold_statistics(network: torch.nn.Module) -> None:
    """Freeze the statistics of batch normalisation; scales and offsets are still trained."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


class _Run:
    """The state of a training: network, averaged weights, optimiser and step."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        architecture = MemoryArchitecture(
            size=config.size, decoder_widths=config.decoder_widths, dropout=config.dropout
        )
        network, names = MemoryNetwork(architecture), list[str]()
        if config.start_from is not None:
            network, names = _known(config.start_from, architecture)
        elif config.encoder_from is not None:
            _begin_encoder(network, config.encoder_from)
            names = ["ImageNet (encoder)"]
        self.trained_on = list(dict.fromkeys([*names, *trained_on(config.data)]))
        self.network = channels_last(network.to(self.device))
        self.averaged = copy.deepcopy(self.network).eval()
        parts = ((self.network.encoder, config.encoder_rate), (self.network.decoder, 1.0))
        groups = [
            {"params": [p for p in part.parameters() if (p.ndim > 1) is decayed], "rate": rate, "weight_decay": decay}
            for part, rate in parts
            for decayed, decay in ((True, config.weight_decay), (False, 0.0))
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
        self.step = 0

    def restore(self, path: Path) -> None:
        """Read weights, averaged weights, optimiser and step from a checkpoint."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
        except RuntimeError as error:
            raise ConfigError(f"Expected a checkpoint of the configured architecture in {path}: {error}") from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def save(self, path: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the previous one."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        with whole_file(path) as stream:
            torch.save(state, stream)

    def export(self) -> Path:
        """Write the averaged weights as safetensors, for crops of the size they were last trained on."""
        path = self.config.out / "compact.safetensors"
        size = self.config.size_at(max(self.step - 1, 0))
        self.averaged.architecture = replace(self.averaged.architecture, size=size)
        notes = {
            "steps": str(self.step),
            "seed": str(self.config.seed),
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        save_weights(self.averaged, path, trained_on=self.trained_on, notes=notes)
        return path

    def _rate(self) -> float:
        """Learning rate: linear warm-up, constant, then linear to a hundredth over the last share of the steps."""
        config = self.config
        falling = max(config.decay_share * config.steps, 1.0)
        left = (config.steps - self.step) / falling
        return config.learning_rate * min((self.step + 1) / max(config.warmup_steps, 1), max(left, 0.01), 1.0)

    def _average(self) -> None:
        if self.step % AVERAGE_EVERY and self.step < self.config.steps:
            return
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 20)) ** AVERAGE_EVERY
        with torch.no_grad():
            for kept, new in zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)

    def advance(self, batch: Batch) -> dict[str, float]:
        """One optimiser step over the interactions of a batch; returns values for the log."""
        config = self.config
        # Random choices within a step depend only on the step, so that a resumed training repeats them.
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        rng = np.random.default_rng([config.seed, 3, self.step])
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate() * group["rate"]
        self.network.train()
        if self.step >= config.norm_steps:
            hold_statistics(self.network)
        total, values = interact(self.network, batch, self.device, rng, low_precision=config.bfloat16)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return values
