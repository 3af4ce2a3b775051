"""Train an automatic network on reviewed cases, and write it with its card."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medsam_planner.engine.automatic_network import AutomaticNetwork
from medsam_planner.engine.automatic_weights import AutomaticCard, write_automatic
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import write_whole
from medsam_planner.lab.automatic.card import card_text
from medsam_planner.lab.automatic.examples import Example, Facts, look_at, sha256_of, split
from medsam_planner.lab.automatic.loop import Loop, Recipe
from medsam_planner.lab.automatic.tracking import Tracker, require_trackers, tracking
from medsam_planner.lab.evaluation.scores import dice
from medsam_planner.progress import Progress

if TYPE_CHECKING:
    import torch

__all__ = ["TrainedNetwork", "TrainingOptions", "train_automatic"]

_LARGEST_SIDE, _SMALLEST_SIDE, _DIVISOR = 64, 16, 8
"""Sides of a patch; the network halves them three times."""


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How a network is trained."""

    most_steps: int = 500
    check_every: int = 50
    patience: int = 4
    seed: int = 0
    held_back: tuple[str, ...] = ()
    """Patterns of names of the cases to hold back; a quarter of the patients by chance if empty."""
    trackers: tuple[Tracker, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """What :func:`train_automatic` leaves."""

    weights: Path
    card: Path
    sha256: str
    held_back_dice: list[float]


def train_automatic(
    examples: Sequence[Example],
    label: str,
    out: Path,
    options: TrainingOptions | None = None,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> TrainedNetwork:
    """Train a network, choose its number of steps on held-back patients, and write it with its card.

    Parameters
    ----------
    examples : sequence of Example
        Of two patients or more.
    label : str
        Name of the structure.
    out : Path
        Ends in ``.safetensors``; the card goes beside it as ``.md``, the checkpoint as ``.checkpoint`` until the end,
        and the records of `options.trackers` into the folder ``…_tracking``.
    options : TrainingOptions, optional
    resume : bool
        Go on from the checkpoint, if there is one.
    progress : Progress, optional
        Told the steps; may cancel, which writes the checkpoint.

    Raises
    ------
    ConfigError
        If the cases do not fit (:mod:`~medsam_planner.lab.automatic.examples`), `out` has another suffix, or there is
        a checkpoint and `resume` is not set.
    MissingDependencyError
        If a tracker is not installed.
    OperationCancelledError
        If cancellation was requested.
    """
    options = options or TrainingOptions()
    if out.suffix != ".safetensors":
        raise ConfigError(f"Expected a file FILE.safetensors for the network, got {out}.")
    require_trackers(options.trackers)
    checkpoint = out.with_suffix(".checkpoint")
    if checkpoint.exists() and not resume:
        raise ConfigError(f"{checkpoint} is of an earlier training. Go on with --resume, or remove it.")
    train, back = split(examples, options.held_back, options.seed)
    facts = look_at(train, back, progress=progress)
    recipe = _recipe(facts, options)
    trained, held_back = sha256_of(train), sha256_of(back)
    fingerprint = hashlib.sha256(json.dumps([asdict(recipe), trained, held_back]).encode()).hexdigest()
    out.parent.mkdir(parents=True, exist_ok=True)
    loop = Loop(recipe, train, fingerprint, checkpoint)
    if checkpoint.exists():
        loop.restore()

    def card_of(text: str, steps: int) -> AutomaticCard:
        return AutomaticCard(
            label=label,
            modality=facts.modality,
            spacing_mm=recipe.spacing_mm,
            spacing_range_mm=facts.spacing_range_mm,
            patch=recipe.patch,
            intensity=recipe.intensity,
            is_one_part=facts.is_one_part,
            cases_sha256=trained,
            held_back_sha256=held_back,
            steps=steps,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            text=text,
        )

    def check(network: torch.nn.Module) -> list[float]:
        return [_dice(AutomaticNetwork(network, card_of("", 0)), one) for one in back]

    settings = {**asdict(recipe), "label": label, "cases": len(train), "held back": len(back)}
    with tracking(options.trackers, out.with_name(f"{out.stem}_tracking"), settings) as record:
        state = loop.run(check, record, progress=progress)
    text = card_text(
        label, facts, recipe, state, trained=trained, held_back=held_back, patients=[one.patient for one in back]
    )
    sha256 = write_automatic(out, state.best, card_of(text, state.best_step))
    card = write_whole(out.with_suffix(".md"), text)
    checkpoint.unlink(missing_ok=True)
    return TrainedNetwork(out, card, sha256, state.best_dice)


def _recipe(facts: Facts, options: TrainingOptions) -> Recipe:
    """The grid on which a patch holds the structure, and the patch that holds the image where it is small."""
    x, y, z = (
        max(spacing, extent / _LARGEST_SIDE) for spacing, extent in zip(facts.spacing_mm, facts.extent_mm, strict=True)
    )
    i, j, k = (_side(size / step) for size, step in zip(facts.size_mm, (x, y, z), strict=True))
    return Recipe(
        facts.modality, (x, y, z), facts.intensity, (i, j, k), options.most_steps, options.check_every,
        options.patience, options.seed,
    )  # fmt: skip


def _side(voxels: float) -> int:
    return int(np.clip(math.ceil(voxels / _DIVISOR) * _DIVISOR, _SMALLEST_SIDE, _LARGEST_SIDE))


def _dice(network: AutomaticNetwork, example: Example) -> float:
    volume, reference, unseen = example.read()
    mask = network.mask(volume)
    return dice(reference, mask) if unseen is None else dice(reference & ~unseen, mask & ~unseen)
