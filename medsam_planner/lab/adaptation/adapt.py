"""Adapt a model to one structure: choose the number of steps on held-back cases, train, measure, write."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from medsam_planner.engine.adapted_weights import AdaptedCard, write_adapted
from medsam_planner.engine.cache import EmbeddingCache
from medsam_planner.engine.registry import load_model
from medsam_planner.errors import ConfigError
from medsam_planner.io.files import write_whole
from medsam_planner.lab.adaptation.card import Measured, card_text
from medsam_planner.lab.adaptation.chosen import Labelled, split_by_patient
from medsam_planner.lab.adaptation.learner import Changes, Learner
from medsam_planner.lab.adaptation.learners import learner_of
from medsam_planner.lab.adaptation.measured import dice_after_box
from medsam_planner.lab.evaluation.cases import Case, Structure, files_sha256, find_cases, trained_on
from medsam_planner.lab.evaluation.references import read_structures, spread_labels
from medsam_planner.lab.model_card.procedural_cases import write_procedural_cases
from medsam_planner.progress import Progress

__all__ = ["AdaptOptions", "Adapted", "Fitted", "NoGainError", "adapt", "fit"]

_OTHERS = 8
"""At most so many structures of other anatomy are measured."""
_PATIENCE = 2
"""Checks without a better one after which the search for the number of steps ends."""
_CACHE_BYTES = 10**9


class NoGainError(ConfigError):
    """No number of steps was better than the base on the held-back cases."""


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How a model is adapted."""

    base: str = "compact"
    most_steps: int = 90
    check_every: int = 30
    """Steps between two measurements on held-back cases."""
    steps_alone: int = 60
    """Steps where the cases are of one patient, so that none can be held back."""
    batches: int = 24
    """Batches of samples that are cached; MedSAM takes slices of the cases instead."""
    seed: int = 0
    others: Path | None = None
    """Cases of other anatomy, on which is measured what was forgotten; procedural ones if None."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Changes to a model, and how they came about."""

    changes: Changes
    steps: int
    held_back_before: list[float] = field(default_factory=list)
    held_back_after: list[float] = field(default_factory=list)
    held_back_patients: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Adapted:
    """What :func:`adapt` leaves."""

    weights: Path
    card: Path
    sha256: str
    measured: Measured


def fit(
    learner: Learner, shown: Sequence[Labelled], options: AdaptOptions, *, progress: Progress | None = None
) -> Fitted:
    """Choose the number of steps on held-back patients, then train on all cases with it.

    Raises
    ------
    NoGainError
        If nothing was better than the base on the held-back cases.
    """
    train, back = split_by_patient(shown, options.seed)
    steps = min(options.steps_alone, options.most_steps)
    before: list[float] = []
    after: list[float] = []
    if back:
        before, after, steps = _searched(learner, train, back, options, progress)
        if steps == 0:
            raise NoGainError(
                f"On the {len(back)} held back of {len(shown)} cases no adaptation was better than the base (3D Dice "
                f"{np.mean(before):.3f} after one box); nothing is written. Use the base, or review more cases."
            )
    structures = [one.structure(largest_part=False) for one in shown]
    samples = learner.samples(structures, seed=options.seed, progress=progress)
    changes = learner.train(samples, steps, seed=options.seed, progress=progress)
    return Fitted(changes, steps, before, after, [one.case.patient for one in back])


def _searched(
    learner: Learner,
    train: Sequence[Labelled],
    back: Sequence[Labelled],
    options: AdaptOptions,
    progress: Progress | None,
) -> tuple[list[float], list[float], int]:
    """Dice on the held-back cases before and at the best number of steps, and this number; 0 if none is better."""
    held, cache = [one.structure() for one in back], EmbeddingCache(_CACHE_BYTES)
    before = dice_after_box(learner.base, held, seed=options.seed, cache=cache)
    best: tuple[float, int, list[float]] = (float(np.mean(before)), 0, before)
    tried = 0

    def check(step: int, changes: Changes) -> bool:
        nonlocal best, tried
        found = dice_after_box(learner.model_with(changes), held, seed=options.seed, cache=cache)
        tried = 0 if np.mean(found) > best[0] else tried + 1
        if tried == 0:
            best = (float(np.mean(found)), step, found)
        return tried < _PATIENCE

    structures = [one.structure(largest_part=False) for one in train]
    samples = learner.samples(structures, seed=options.seed, progress=progress)
    learner.train(
        samples, options.most_steps, seed=options.seed, check_every=options.check_every, check=check, progress=progress
    )
    return before, best[2], best[1]


def adapt(
    shown: Sequence[Labelled],
    label: str,
    out: Path,
    options: AdaptOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Adapted:
    """Adapt a model to a structure, and write the changes with their card.

    Parameters
    ----------
    shown : sequence of Labelled
        Reviewed cases that show the structure (:func:`~medsam_planner.lab.adaptation.chosen.labelled`).
    label : str
        Name of the structure.
    out : Path
        Ends in ``.safetensors``; the card goes beside it as ``.md``.
    options : AdaptOptions, optional
    progress : Progress, optional
        Told the steps; may cancel.

    Raises
    ------
    ConfigError
        If there is no case, `out` has another suffix, or the model cannot be adapted.
    NoGainError
        If nothing was better than the base on the held-back cases.
    WeightsError
        If the base weights cannot be loaded.
    """
    options = options or AdaptOptions()
    if out.suffix != ".safetensors":
        raise ConfigError(f"Expected a file FILE.safetensors for the adapted weights, got {out}.")
    if not shown:
        raise ConfigError(f"Expected at least one case that shows {label!r}, got none.")
    learner = learner_of(load_model(options.base), batches=options.batches)
    fitted = fit(learner, shown, options, progress=progress)
    others, cache = _others(shown, options), EmbeddingCache(_CACHE_BYTES)
    measured = Measured(
        fitted.held_back_before,
        fitted.held_back_after,
        fitted.held_back_patients,
        [one.case.group for one in others],
        [one.case.patient for one in others],
        dice_after_box(learner.base, others, seed=options.seed, cache=cache),
        dice_after_box(learner.model_with(fitted.changes), others, seed=options.seed, cache=cache),
        is_procedural=options.others is None,
    )
    hashes = tuple(files_sha256(one.case) for one in shown)
    card = AdaptedCard(
        kind=learner.kind,
        base_name=learner.base.name,
        base_sha256=learner.base.weights_sha256,
        label=label,
        cases_sha256=hashes,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        trained=learner.trained,
        steps=fitted.steps,
        text=card_text(label, learner, len({one.case.patient for one in shown}), hashes, fitted.steps, measured),
    )
    sha256 = write_adapted(out, fitted.changes, card, trained_on=list(trained_on(learner.base) or ()))
    return Adapted(out, write_whole(out.with_suffix(".md"), card.text), sha256, measured)


def _others(shown: Sequence[Labelled], options: AdaptOptions) -> list[Structure]:
    """A few structures of other patients and other anatomy, spread over the cases."""
    with tempfile.TemporaryDirectory() as name:
        if options.others is None:
            root = write_procedural_cases(Path(name), count=2, side=64, seed=options.seed)
            return _spread(find_cases(root), 3)
        patients = {one.case.patient for one in shown}
        groups = {one.case.group for one in shown}
        cases = [one for one in find_cases(options.others) if one.patient not in patients and one.group not in groups]
        return _spread(cases, 1)


def _spread(cases: Sequence[Case], per_case: int) -> list[Structure]:
    wanted = spread_labels(cases, per_group=per_case * 2, most=per_case)
    found: list[Structure] = []
    for case in cases:
        if case.name in wanted and len(found) < _OTHERS:
            found += read_structures(case, labels=wanted[case.name])
    return found[:_OTHERS]
