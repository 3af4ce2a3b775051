"""The loop: patches of the cases with MONAI's transforms, checks on held-back cases, a checkpoint to resume from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsam_planner.engine.automatic_network import as_monai, build_network, preparation
from medsam_planner.errors import ConfigError, OperationCancelledError
from medsam_planner.io.files import whole_file
from medsam_planner.lab.automatic.examples import Example
from medsam_planner.lab.automatic.tracking import Record
from medsam_planner.progress import Progress

__all__ = ["Check", "Loop", "Recipe", "State"]

Check = Callable[[torch.nn.Module], list[float]]
"""Dice on each held-back case."""
_WEIGHT_DECAY = 1e-4
_PATCHES = 2
"""In a step."""
_ON_STRUCTURE, _ELSEWHERE = 2, 1
"""Shares of patches around a voxel of the structure, and around another one."""
_CERTAIN = 30.0
"""A logit whose softmax has no gradient."""
_SHOWN_EVERY = 10


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, but the cases."""

    modality: str
    spacing_mm: tuple[float, float, float]
    intensity: tuple[float, float, float, float]
    patch: tuple[int, int, int]
    most_steps: int
    check_every: int
    patience: int
    """Checks without a better one after which training ends."""
    seed: int
    learning_rate: float = 1e-3
    """At first; it falls to 0 at the last step."""


@dataclass(slots=True)
class State:
    """How far a training is."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best_step: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    history: list[tuple[int, list[float]]] = field(default_factory=list)
    """Steps with the Dice of every held-back case."""

    @property
    def best_dice(self) -> list[float]:
        """Of the held-back cases at the best step."""
        return next((dice for step, dice in self.history if step == self.best_step), [])

    def is_over(self, recipe: Recipe) -> bool:
        """Whether the steps are done, or the last checks brought nothing better."""
        since = sum(step > self.best_step for step, _ in self.history)
        return self.step >= recipe.most_steps or since >= recipe.patience


class Loop:
    """A training that can stop after any step and go on in another process.

    Parameters
    ----------
    recipe : Recipe
    examples : sequence of Example
        To train on.
    fingerprint : str
        Of recipe and cases; a checkpoint of another one is refused.
    checkpoint : Path
    """

    def __init__(self, recipe: Recipe, examples: Sequence[Example], fingerprint: str, checkpoint: Path) -> None:
        self.recipe, self._fingerprint, self._checkpoint = recipe, fingerprint, checkpoint
        torch.manual_seed(recipe.seed)
        network = build_network()
        self.state = State(
            network, torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=_WEIGHT_DECAY)
        )
        self._examples = examples

    def restore(self) -> None:
        """Read the checkpoint.

        Raises
        ------
        ConfigError
            If it is damaged, or of other cases or settings.
        """
        try:
            kept: dict[str, Any] = torch.load(self._checkpoint, map_location="cpu", weights_only=True)
            fingerprint = kept["fingerprint"]
        except Exception as error:
            raise ConfigError(f"{self._checkpoint} is no readable checkpoint ({error}). Remove it.") from error
        if fingerprint != self._fingerprint:
            raise ConfigError(
                f"{self._checkpoint} is of a training with other cases or settings. Repeat the call that it is of, or "
                "remove it to begin anew."
            )
        state = self.state
        state.network.load_state_dict(kept["network"])
        state.optimizer.load_state_dict(kept["optimizer"])
        state.step, state.best_step, state.best = int(kept["step"]), int(kept["best_step"]), kept["best"]
        state.history = [(int(step), list(dice)) for step, dice in kept["history"]]

    def save(self) -> None:
        """Write the checkpoint; an interrupted write leaves the earlier one."""
        state = self.state
        content = {
            "fingerprint": self._fingerprint,
            "network": state.network.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
            "best_step": state.best_step,
            "best": state.best,
            "history": state.history,
        }
        with whole_file(self._checkpoint) as stream:
            torch.save(content, stream)

    def run(self, check: Check, record: Record, *, progress: Progress | None = None) -> State:
        """Train until the held-back cases say that it is enough.

        Raises
        ------
        OperationCancelledError
            If cancellation was requested; the checkpoint is written first.
        """
        recipe, state = self.recipe, self.state
        batches = None if state.is_over(recipe) else _Batches(recipe, self._examples)
        stage = "training"
        while batches is not None and not state.is_over(recipe):
            loss = self._advance(batches)
            if state.step % _SHOWN_EVERY == 0:
                record(state.step, {"loss": loss})
            if state.step % recipe.check_every == 0 or state.step == recipe.most_steps:
                dice = check(state.network)
                state.history.append((state.step, dice))
                if not state.best or np.mean(dice) > np.mean(state.best_dice):
                    state.best_step = state.step
                    state.best = {name: one.clone() for name, one in state.network.state_dict().items()}
                record(state.step, {"held-back Dice": float(np.mean(dice))})
                stage = f"training, held-back Dice {np.mean(dice):.3f}"
                self.save()
            if progress is not None:
                progress.update(stage, state.step, recipe.most_steps)
                if progress.is_cancelled:
                    self.save()
                    raise OperationCancelledError(
                        f"Stopped on request after step {state.step}; the same call with --resume goes on from there."
                    )
        return state

    def _advance(self, batches: _Batches) -> float:
        from monai.losses.dice import DiceCELoss

        recipe, state = self.recipe, self.state
        images, labels = batches.of_step(state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * (1 - state.step / recipe.most_steps) ** 0.9
        state.network.train()
        logits = state.network(images)
        unseen = labels > 1
        # Voxels that nobody reviewed are given as background predicted with certainty: neither loss nor gradient.
        certain = torch.tensor([_CERTAIN, -_CERTAIN]).view(1, 2, 1, 1, 1)
        logits = torch.where(unseen, certain, logits)
        loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False)(
            logits, labels.masked_fill(unseen, 0)
        )
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        state.optimizer.step()
        state.step += 1
        return float(loss.detach())


class _Batches:
    """Patches of the cases; those of a step depend on the step alone, so that a resumed training repeats them."""

    def __init__(self, recipe: Recipe, examples: Sequence[Example]) -> None:
        from monai.data.dataset import CacheDataset
        from monai.transforms.compose import Compose
        from monai.transforms.croppad.dictionary import RandCropByPosNegLabeld, SpatialPadd
        from monai.transforms.intensity.dictionary import (
            RandGaussianNoised,
            RandScaleIntensityd,
            RandShiftIntensityd,
        )
        from monai.transforms.spatial.dictionary import RandAffined
        from monai.transforms.utility.dictionary import Lambdad, SelectItemsd

        self._recipe = recipe
        both = ["image", "label"]
        fixed: list[Any] = [
            _read,
            preparation(recipe.modality, recipe.spacing_mm, recipe.intensity, "label", "structure"),
            SpatialPadd([*both, "structure"], recipe.patch),
        ]
        self._cached = CacheDataset(list(examples), Compose(fixed), num_workers=0, progress=False)
        # No mirroring: left and right, or front and back, may tell the structure from another one.
        self._random = Compose(
            [
                RandCropByPosNegLabeld(
                    [*both, "structure"], "structure", recipe.patch, pos=_ON_STRUCTURE, neg=_ELSEWHERE, num_samples=1
                ),
                SelectItemsd(both),
                RandAffined(
                    both, prob=0.5, rotate_range=(0.2, 0.2, 0.2), scale_range=(0.15, 0.15, 0.15),
                    mode=["bilinear", "nearest"], padding_mode="border",
                ),
                RandGaussianNoised("image", prob=0.2, std=0.1),
                RandScaleIntensityd("image", 0.2, prob=0.5),
                RandShiftIntensityd("image", 0.2, prob=0.5),
                Lambdad("label", lambda one: one.round().long()),
            ]
        )  # fmt: skip

    def of_step(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, X, Y, Z) images, and labels: 1 structure, 2 not reviewed."""
        from monai.data.utils import list_data_collate

        rng = np.random.default_rng([self._recipe.seed, 7, step])
        drawn = []
        for number in rng.integers(len(self._cached), size=_PATCHES):
            self._random.set_random_state(seed=int(rng.integers(2**31)))
            drawn += self._random(self._cached[int(number)])
        batch: Any = list_data_collate(drawn)
        return batch["image"].as_tensor(), batch["label"].as_tensor()


def _read(example: Example) -> dict[str, Any]:
    volume, reference, unseen = example.read()
    labels = reference.astype(np.uint8)
    if unseen is not None:
        labels[unseen] = 2
    return {
        "image": as_monai(volume, np.asarray(volume.array)),
        "label": as_monai(volume, labels),
        "structure": as_monai(volume, labels == 1),
    }
