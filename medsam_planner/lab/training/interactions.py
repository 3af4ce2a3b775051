"""Simulated interactions for training: a first prompt, propagation through the memory, corrections in between.

An interaction has six predictions. The memory holds earlier predictions. It holds the reference only where a prediction
is so wrong that no annotator would have continued from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medsam_planner.engine.compact_inputs import CLOSENESS_CHANNEL, click_spot, closeness, prompt_maps, token_grid
from medsam_planner.engine.memory_network import PROMPT_CHANNELS, MemoryNetwork, SliceMemory
from medsam_planner.engine.protocol import SlicePrompt, box_around
from medsam_planner.lab.training.batches import Batch
from medsam_planner.lab.training.losses import prompt_loss
from medsam_planner.lab.training.simulated_prompts import training_box
from prompts.annotator import slice_correction

__all__ = ["Interaction", "StepKind", "interact"]

KEEP_PREVIOUS_PREDICTION = 0.85
"""Share of corrections that are prompted together with the previous prediction."""
SMALLEST_USABLE_IOU = 0.4
"""IoU of a prediction from which an annotator would continue to other slices."""
PROPAGATED_BOX = 0.5
"""Share of propagated masks that are prompted together with the box around them."""
MEMORY_ALONE = 0.2
"""Share of propagated slices without any prompt but the memory."""


class StepKind(Enum):
    """How a slice is prompted."""

    FIRST = "first"
    CORRECTED = "corrected"
    PROPAGATED = "propagated"
    BOXED = "boxed"
    """A box on a further slice; as ``PROPAGATED`` where the structure is not on it."""


_SCRIPTS = (
    (
        (StepKind.FIRST, 0),
        (StepKind.PROPAGATED, 1),
        (StepKind.PROPAGATED, 2),
        (StepKind.CORRECTED, 2),
        (StepKind.PROPAGATED, 3),
        (StepKind.CORRECTED, 3),
    ),
    (
        (StepKind.FIRST, 0),
        (StepKind.CORRECTED, 0),
        (StepKind.PROPAGATED, 1),
        (StepKind.CORRECTED, 1),
        (StepKind.PROPAGATED, 2),
        (StepKind.PROPAGATED, 3),
    ),
    (
        (StepKind.FIRST, 0),
        (StepKind.CORRECTED, 0),
        (StepKind.CORRECTED, 0),
        (StepKind.CORRECTED, 0),
        (StepKind.PROPAGATED, 1),
        (StepKind.PROPAGATED, 2),
    ),
    (
        (StepKind.FIRST, 0),
        (StepKind.PROPAGATED, 1),
        (StepKind.CORRECTED, 1),
        (StepKind.CORRECTED, 0),
        (StepKind.PROPAGATED, 2),
        (StepKind.CORRECTED, 2),
    ),
    (
        (StepKind.FIRST, 0),
        (StepKind.PROPAGATED, 1),
        (StepKind.BOXED, 2),
        (StepKind.CORRECTED, 2),
        (StepKind.PROPAGATED, 3),
        (StepKind.CORRECTED, 0),
    ),
)
_SCRIPT_SHARES = (0.3, 0.25, 0.15, 0.15, 0.15)
SMALLEST_BOXED_PX = 16
"""Structures with fewer pixels on a slice get no box."""


@dataclass(slots=True, eq=False)
class _Remembered:
    keys: Tensor
    values: Tensor
    probability: Tensor
    """(B, N, N)"""


@dataclass(slots=True, eq=False)
class Interaction:
    """A batch of stacks under one network, with its prompts and predictions so far."""

    network: MemoryNetwork
    batch: Batch
    device: torch.device
    rng: np.random.Generator
    low_precision: bool
    pyramid: list[Tensor] | None = None
    """(B * S, …) features of the slices at every scale, where the encoder is frozen and they are known."""
    _pyramid: list[Tensor] = field(init=False)
    _maps: dict[int, NDArray[np.float32]] = field(init=False, default_factory=dict)
    _predictions: dict[int, Tensor] = field(init=False, default_factory=dict)
    """(B, N, N) logits of the selected mask, by slice."""
    _prompted: set[int] = field(init=False, default_factory=set)
    _memory: dict[int, _Remembered] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.pyramid is not None:
            self._pyramid = self.pyramid
            return
        images = self._tensor(self.batch.images).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with self._precision():
            self._pyramid = self.network.encoder(images)

    def predict(self, step: StepKind, slice_index: int) -> tuple[Tensor, Tensor]:
        """Prompt one slice of every stack.

        Parameters
        ----------
        step : StepKind
            How the slice is prompted.
        slice_index : int
            Position in the stack.

        Returns
        -------
        Tensor, Tensor
            Scalar loss, and (B,) IoU of the selected masks.
        """
        if step is StepKind.FIRST:
            self._maps[slice_index] = self.batch.prompts.astype(np.float32)
        elif step is StepKind.CORRECTED:
            self._correct(slice_index)
        else:
            self._maps[slice_index] = self._propagated(slice_index)
        several = self.batch.ambiguous & (step is StepKind.FIRST)
        if step is StepKind.BOXED:
            several = self._box(slice_index)
        ambiguous = torch.from_numpy(several).to(self.device)
        logits, quality = self._decoded(slice_index)
        reference = torch.from_numpy(self.batch.reference[:, slice_index]).to(self.device)
        outside = self._tensor(self.batch.outside_px[:, slice_index])
        loss, iou = prompt_loss(logits, quality, reference, outside, ambiguous)
        selected = self._selected(quality, iou, ambiguous)
        rows = torch.arange(len(selected), device=self.device)
        self._predictions[slice_index] = logits.detach()[rows, selected]
        if step is not StepKind.PROPAGATED:
            self._prompted.add(slice_index)
        self._remember(slice_index, iou[rows, selected], reference)
        return loss, iou[rows, selected]

    def _selected(self, quality: Tensor, iou: Tensor, ambiguous: Tensor) -> Tensor:
        """(B,) index of the selected mask: the best one, as an annotator, or the one with the highest predicted IoU."""
        by_annotator = torch.from_numpy(self.rng.random(len(iou)) < 0.5).to(self.device)
        best = torch.where(by_annotator, iou.argmax(1), quality.detach().argmax(1))
        return torch.where(ambiguous, best, torch.zeros_like(best))

    def _decoded(self, slice_index: int) -> tuple[Tensor, Tensor]:
        count = self.batch.reference.shape[1]
        pyramid = [scale.unflatten(0, (-1, count))[:, slice_index] for scale in self._pyramid]
        maps = self._maps[slice_index].copy()
        memory = self._read(slice_index)
        if memory is not None:
            nearest = memory.distance.min(dim=1).values.cpu().numpy()
            maps[:, CLOSENESS_CHANNEL] = closeness(nearest)[:, None, None]
        prompts = self._tensor(maps).contiguous(memory_format=torch.channels_last)
        with self._precision():
            logits, quality = self.network.decoder(pyramid, prompts, memory)
        return logits.float(), quality.float()

    def _read(self, slice_index: int) -> SliceMemory | None:
        """The memory of all other slices, relative to the slice that is predicted."""
        others = [number for number in self._memory if number != slice_index]
        if not others:
            return None
        batch = self.batch
        tokens = self._memory[others[0]].keys.shape[2]
        own = token_grid(tokens).astype(np.float32)[None]
        positions, distances = [], []
        side = batch.sides_mm[:, slice_index]
        for number in others:
            at_mm = batch.centres_mm[:, number, None] + (own - 0.5) * batch.sides_mm[:, number, None, None]
            positions.append((at_mm - batch.centres_mm[:, slice_index, None]) / side[:, None, None] + 0.5)
            away = np.abs(batch.heights_mm[:, number] - batch.heights_mm[:, slice_index]) / side
            distances.append(np.repeat(away[:, None], tokens, axis=1))
        return SliceMemory(
            torch.cat([self._memory[number].keys for number in others], dim=2),
            torch.cat([self._memory[number].values for number in others], dim=2),
            self._tensor(np.concatenate(positions, axis=1)),
            self._tensor(np.concatenate(distances, axis=1)),
        )

    def _remember(self, slice_index: int, iou: Tensor, reference: Tensor) -> None:
        probability = torch.sigmoid(self._predictions[slice_index])
        unusable = (iou < SMALLEST_USABLE_IOU) & reference.flatten(1).any(1)
        unusable &= torch.from_numpy(self.rng.random(len(iou)) < 0.8).to(self.device)
        probability = torch.where(unusable[:, None, None], reference.float(), probability)
        features = self._pyramid[2].unflatten(0, (-1, self.batch.reference.shape[1]))[:, slice_index]
        prompted = torch.full((len(iou),), float(slice_index in self._prompted), device=self.device)
        with self._precision():
            keys, values = self.network.decoder.memory_reader.remember(features, probability, prompted)
        self._memory[slice_index] = _Remembered(keys, values, probability)

    def _propagated(self, slice_index: int) -> NDArray[np.float32]:
        """(B, 10, N, N) prompt maps of the nearest predicted slice's mask and image."""
        batch, size = self.batch, self.batch.reference.shape[-1]
        known = np.array(sorted(self._memory))
        away = np.abs(batch.heights_mm[:, known] - batch.heights_mm[:, slice_index, None])
        maps = []
        for number, source in enumerate(known[away.argmin(1)]):
            if self.rng.random() < MEMORY_ALONE:
                maps.append(np.zeros((PROMPT_CHANNELS, size, size), dtype=np.float32))
                continue
            source_slice = torch.stack(
                [self._memory[int(source)].probability[number], self._tensor(batch.images[number, source, 0])]
            )
            mask, image = self._moved(source_slice, number, int(source), slice_index)
            inside = mask > 0.5
            box = box_around(inside) if inside.any() and self.rng.random() < PROPAGATED_BOX else None
            prompt = SlicePrompt(box=box, mask=mask, reference_slice=image)
            maps.append(prompt_maps(prompt, size, channels=PROMPT_CHANNELS))
        return np.stack(maps)

    def _box(self, slice_index: int) -> NDArray[np.bool_]:
        """Prompt with a box alone where the structure is on the slice; returns (B,) where it is."""
        reference, size = self.batch.reference[:, slice_index], self.batch.reference.shape[-1]
        boxed = reference.sum(axis=(1, 2)) >= SMALLEST_BOXED_PX
        for number in np.flatnonzero(boxed):
            step_mm = float(self.batch.sides_mm[number, slice_index]) / size
            prompt = SlicePrompt(box=training_box(reference[number], self.rng, step_mm=step_mm))
            self._maps[slice_index][number] = prompt_maps(prompt, size, channels=PROMPT_CHANNELS)
        return boxed

    def _moved(self, values: Tensor, number: int, source: int, onto: int) -> NDArray[np.float32]:
        """(2, N, N) mask (0 beyond its crop) and image of one slice, resampled to the crop of another."""
        batch = self.batch
        scale = float(batch.sides_mm[number, onto] / batch.sides_mm[number, source])
        shift = 2 * (batch.centres_mm[number, onto] - batch.centres_mm[number, source]) / batch.sides_mm[number, source]
        if abs(scale - 1) < 1e-6 and not np.abs(shift).any():
            return values.cpu().numpy()
        theta = torch.tensor([[scale, 0.0, float(shift[1])], [0.0, scale, float(shift[0])]], device=self.device)
        grid = functional.affine_grid(theta[None], [1, 1, *values.shape[1:]], align_corners=False)
        mask = functional.grid_sample(values[None, :1], grid, padding_mode="zeros", align_corners=False)
        image = functional.grid_sample(values[None, 1:], grid, padding_mode="border", align_corners=False)
        return torch.cat([mask, image], dim=1)[0].cpu().numpy()

    def _correct(self, slice_index: int) -> None:
        """Add one or two clicks in the largest error, mostly together with the previous prediction."""
        predictions = self._predictions[slice_index].cpu().numpy()
        maps = self._maps[slice_index].copy()
        for number, (logits, true) in enumerate(zip(predictions, self.batch.reference[:, slice_index], strict=True)):
            predicted = logits > 0
            for _ in range(1 if self.rng.random() < 0.75 else 2):
                click = slice_correction(true, predicted, self.rng)
                if click is None:
                    break
                position, positive = click
                spot = click_spot(position, maps.shape[-1])
                channel = 2 if positive else 3
                maps[number, channel] = np.maximum(maps[number, channel], spot)
                # Pixels near the first click count as corrected, so that the second click is elsewhere.
                predicted = np.where(spot > 0.25, true, predicted)
            if self.rng.random() < KEEP_PREVIOUS_PREDICTION:
                maps[number, 6] = np.tanh(logits / 4)
                maps[number, 7] = 1
        self._maps[slice_index] = maps

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.low_precision)

    def _tensor(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.asarray(array, dtype=np.float32)).to(self.device)


def interact(
    network: MemoryNetwork,
    batch: Batch,
    device: torch.device,
    rng: np.random.Generator,
    *,
    low_precision: bool,
    pyramid: list[Tensor] | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Simulate one interaction.

    Parameters
    ----------
    network : MemoryNetwork
        The network that is trained.
    batch : Batch
        Stacks of slices with their references and first prompts.
    device : torch.device
        Of the network.
    rng : numpy.random.Generator
        Source of all random choices but dropout.
    low_precision : bool
        Whether the network computes in bfloat16.
    pyramid : list of Tensor, optional
        (B * S, …) features of the slices at every scale, where the encoder is frozen; computed if None.

    Returns
    -------
    Tensor, dict of str to float
        Scalar mean loss over the six steps; for the log, the loss and the mean IoU by kind of step.
    """
    interaction = Interaction(network, batch, device, rng, low_precision, pyramid)
    script = _SCRIPTS[int(rng.choice(len(_SCRIPTS), p=_SCRIPT_SHARES))]
    total: Tensor = torch.zeros((), device=device)
    reached: dict[str, list[float]] = {}
    for step, slice_index in script:
        loss, iou = interaction.predict(step, slice_index)
        total = total + loss / len(script)
        present = batch.reference[:, slice_index].any(axis=(1, 2))
        reached.setdefault(step.value, []).extend(iou.cpu().numpy()[present].tolist())
    values = {f"iou_{name}": float(np.mean(found)) for name, found in reached.items() if found}
    return total, {"loss": float(total.detach())} | values
