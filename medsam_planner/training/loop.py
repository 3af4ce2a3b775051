"""The training loop: one encode per sample, several rounds of decoding, averaged weights, checkpoints that resume."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medsam_planner.engine.compact_inputs import click_spot, prompt_maps
from medsam_planner.engine.compact_network import CompactArchitecture, CompactNetwork, channels_last
from medsam_planner.engine.compact_weights import read_weights, save_weights
from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.errors import ConfigError, OperationCancelledError
from medsam_planner.io.files import whole_file
from medsam_planner.progress import Progress
from medsam_planner.training.batches import Batch, batches
from medsam_planner.training.config import CHECKPOINT, TrainingConfig, read_config
from medsam_planner.training.losses import loss
from medsam_planner.training.simulated_prompts import correction
from medsam_planner.training.sources import trained_on

__all__ = ["train", "train_from_file"]

AVERAGE_EVERY = 4
"""Steps between two updates of the averaged weights, whose decay is stated per step."""
KEEP_PREVIOUS_ANSWER = 0.8
"""Share of corrections that come with the last answer; the rest learn to do without."""
WORTH_A_WALK = 0.4
"""IoU of an answer from which it is carried to the next slice."""
CARRIED_BOX = 0.8
"""Share of carried masks that come with the box around them, as they do in a walk."""


def train_from_file(path: Path, *, resume: bool = False, progress: Progress | None = None) -> Path:
    """Train as a TOML file says; returns the path of the weights.

    Raises
    ------
    ConfigError
        If the file is wrong, or a run lies in its folder and `resume` is not set.
    """
    return train(read_config(Path(path)), resume=resume, progress=progress)


def train(config: TrainingConfig, *, resume: bool = False, progress: Progress | None = None) -> Path:
    """Train the compact model.

    Parameters
    ----------
    config : TrainingConfig
        All that decides the weights.
    resume : bool
        Go on from the checkpoint in ``config.out``, if there is one.
    progress : Progress, optional
        Told after every step.

    Returns
    -------
    Path
        ``compact.safetensors`` in ``config.out``: the averaged weights.

    Raises
    ------
    ConfigError
        If a checkpoint is there and `resume` is not set.
    OperationCancelledError
        When the watcher asked to stop; the checkpoint of that moment is kept.
    """
    from torch.utils.tensorboard import SummaryWriter

    config.out.mkdir(parents=True, exist_ok=True)
    checkpoint = config.out / CHECKPOINT
    if checkpoint.exists() and not resume:
        raise ConfigError(f"{checkpoint} holds an earlier run. Resume it, or name another `out` folder.")
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    run = _Run(config)
    if checkpoint.exists():
        run.restore(checkpoint)
    with SummaryWriter(str(config.out / "tensorboard")) as writer:
        started, first = time.monotonic(), run.step
        for batch in batches(config, run.step):
            values = run.advance(batch)
            if run.step % 20 == 0:
                values["samples_per_second"] = config.batch * (run.step - first) / (time.monotonic() - started)
                for name, value in values.items():
                    writer.add_scalar(name, value, run.step)
            if progress is not None:
                progress.update(_stage(values), run.step, config.steps)
            stopping = progress is not None and progress.is_cancelled
            if run.step % config.checkpoint_every == 0 or run.step == config.steps or stopping:
                run.save(checkpoint)
                run.export()
            if stopping:
                raise OperationCancelledError(f"Stopped on request after step {run.step}; resume goes on from there.")
    return run.export()


def _stage(values: dict[str, float]) -> str:
    return "train " + " ".join(f"{name} {value:.3f}" for name, value in values.items())


def _known(path: Path, architecture: CompactArchitecture) -> tuple[CompactNetwork, list[str]]:
    """The weights of a file in a network of the stated architecture (dropout may differ), and what they were shown."""
    known, metadata, _ = read_weights(path)
    if replace(known.architecture, dropout=architecture.dropout) != architecture:
        raise ConfigError(f"{path} holds another architecture, {known.architecture}; expected {architecture}.")
    network = CompactNetwork(architecture)
    network.load_state_dict(known.state_dict())
    return network, list(json.loads(metadata.get("trained_on", "[]")))


class _Run:
    """Everything that changes while training."""

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.device = torch.device(config.device)
        architecture = CompactArchitecture(
            size=config.size,
            encoder_widths=config.encoder_widths,
            decoder_widths=config.decoder_widths,
            encoder_blocks=config.encoder_blocks,
            dropout=config.dropout,
        )
        network, seen = CompactNetwork(architecture), list[str]()
        if config.start_from is not None:
            network, seen = _known(config.start_from, architecture)
        self.trained_on = list(dict.fromkeys([*seen, *trained_on(config.data)]))
        self.network = channels_last(network.to(self.device))
        self.averaged = copy.deepcopy(self.network).eval()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=config.learning_rate,
        )
        self.step = 0

    def restore(self, path: Path) -> None:
        """Take weights, averages, optimiser and step from a checkpoint."""
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        try:
            self.network.load_state_dict(state["network"])
            self.averaged.load_state_dict(state["averaged"])
        except RuntimeError as error:
            raise ConfigError(f"{path} was trained with another architecture: {error}") from error
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])

    def save(self, path: Path) -> None:
        """Write a checkpoint; an interrupted write leaves the old one."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        with whole_file(path) as stream:
            torch.save(state, stream)

    def export(self) -> Path:
        """Write the averaged weights as safetensors."""
        path = self.config.out / "compact.safetensors"
        notes = {
            "steps": str(self.step),
            "seed": str(self.config.seed),
            "torch": torch.__version__,
            "numpy": np.__version__,
        }
        save_weights(self.averaged, path, trained_on=self.trained_on, notes=notes)
        return path

    def _rate(self) -> float:
        """Cosine from the peak to a hundredth of it, after a linear warm-up."""
        config = self.config
        if self.step < config.warmup_steps:
            return config.learning_rate * (self.step + 1) / config.warmup_steps
        along = (self.step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
        return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(along, 1.0))))

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
        """One optimiser step over all rounds of a batch; figures for the log, by round."""
        config = self.config
        # Chance within a step depends on the step alone: resuming repeats it.
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        rng = np.random.default_rng([config.seed, 3, self.step])
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate()
        images = self._tensor(batch.images)
        truth = torch.from_numpy(batch.truth).to(self.device)
        outside = torch.from_numpy(batch.outside_px).to(self.device)
        maps = batch.prompts.astype(np.float32)
        self.network.train()
        total: Tensor = torch.zeros((), device=self.device)
        values: dict[str, float] = {}
        low_precision = torch.autocast(self.device.type, torch.bfloat16, enabled=config.bfloat16)
        with low_precision:
            pyramid = self.network.encoder(images)
        for number in range(config.rounds):
            with low_precision:
                logits, quality = self.network.decoder(pyramid, self._tensor(maps))
            part, figures = loss(logits.float(), quality.float(), truth, outside)
            total = total + part
            values |= {f"{name}_{number}": figures[name] for name in ("loss", "iou", "quality_error")}
            answers = logits.detach().float().cpu().numpy()
            if number + 1 < config.rounds:
                maps = corrected(maps, answers, batch.truth, rng)
        if len(batch.walked):
            part, figures = self._walk_on(batch, answers, rng)
            total = total + part * (len(batch.walked) / len(batch.truth))
            values |= {f"{name}_onward": figures[name] for name in ("loss", "iou", "quality_error")}
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 3.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return values

    def _walk_on(
        self, batch: Batch, answers: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss on the next slices, prompted by what was answered on the slices before, as a walk does."""
        maps = carried_maps(batch, answers, rng)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            pyramid = self.network.encoder(self._tensor(batch.onward_images))
            logits, quality = self.network.decoder(pyramid, self._tensor(maps))
        truth = torch.from_numpy(batch.onward_truth).to(self.device)
        outside = torch.from_numpy(batch.onward_outside_px).to(self.device)
        return loss(logits.float(), quality.float(), truth, outside)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(np.asarray(array, dtype=np.float32))
        return tensor.to(self.device, memory_format=torch.channels_last)


def carried_maps(batch: Batch, answers: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(W, 9, N, N) prompt maps of the next slices: the answer on the slice before, its image, mostly its box.

    Where the answer is so wrong that a walk would not have begun, the truth is carried instead.
    """
    maps = []
    for index in batch.walked:
        truth, answer = batch.truth[index], answers[index]
        both, either = (int(np.count_nonzero(part)) for part in (truth & (answer > 0), truth | (answer > 0)))
        probability = 1 / (1 + np.exp(-np.clip(answer, -30, 30)))
        mask = probability if both > WORTH_A_WALK * either else truth.astype(np.float32)
        seen = mask > 0.5
        box = box_around(seen) if seen.any() and rng.random() < CARRIED_BOX else None
        example = batch.images[index, 0].astype(np.float32)
        maps.append(prompt_maps(SlicePrompt(box=box, mask=mask, example=example), truth.shape[-1]))
    return np.stack(maps)


def corrected(
    maps: NDArray[np.float32], logits: NDArray[np.float32], truth: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Prompt maps of the next round: a click, sometimes two, in the largest error, mostly with the answer so far."""
    result = maps.copy()
    for index, (answer, true) in enumerate(zip(logits, truth, strict=True)):
        predicted = answer > 0
        for _ in range(1 if rng.random() < 0.7 else 2):
            click = correction(true, predicted, rng)
            if click is None:
                break
            position, positive = click
            spot = click_spot(position, maps.shape[-1])
            channel = 2 if positive else 3
            result[index, channel] = np.maximum(result[index, channel], spot)
            # The second click goes elsewhere: what the first one repaired counts as right.
            predicted = np.where(spot > 0.25, true, predicted)
        if rng.random() < KEEP_PREVIOUS_ANSWER:
            result[index, 6] = np.tanh(answer / 4)
            result[index, 7] = 1
    return result
