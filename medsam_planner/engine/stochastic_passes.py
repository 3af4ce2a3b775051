"""What a stochastic run does differently, and the model's answers to it. A run does the same on every slice.

Everything happens in model pixels of the field that was looked at before, so that one cached embedding serves every run
that leaves the image alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.logits import SUREST_LOGIT
from medsam_planner.engine.protocol import Crop, PromptableModel, RememberedSlice, SlicePrompt
from medsam_planner.engine.zoom import extract, prompt_to_crop
from medsam_planner.errors import PromptError

__all__ = ["ImageChange", "Jitter", "PromptInCrop", "StochasticPass", "decode_passes"]

_PIXELS_AT_ONCE = 160_000
"""Model pixels of the changed images encoded together: sixteen fields of the compact model, one of MedSAM."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """A small shift and growth of a prompt: its box, clicks and propagated mask move together."""

    shift: tuple[float, float]
    """Along rows and columns, as a share of the structure's extent on the slice."""
    growth: float = 1.0
    """Factor on lengths about the structure's centre."""

    def field(self, asked: PromptInCrop) -> Crop:
        """The field, in model pixels, out of which the prompt is read instead."""
        size = asked.size
        moved = np.asarray(self.shift) * asked.extent_rc
        centre = asked.centre_rc + ((size - 1) / 2 - asked.centre_rc - moved) / self.growth
        side = size / self.growth
        return Crop((float(centre[0]), float(centre[1])), (side, side), size)


@dataclass(frozen=True, slots=True)
class ImageChange:
    """Another picture of the same slice. Brightness and contrast are absent: both models stretch every field."""

    flip: tuple[bool, bool] = (False, False)
    """Rows, columns."""
    gamma: float = 1.0
    """Exponent on the intensities between the field's 1st and 99th percentiles."""
    noise: float = 0.0
    """Standard deviation of white noise, as a share of that range."""
    noise_seed: int = 0

    def image(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        """(size, size) intensities as this run is shown them."""
        return self.flipped(self._repainted(field) if self.gamma != 1.0 or self.noise > 0 else field)

    def _repainted(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        ordered = np.sort(field, axis=None)
        low, high = ordered[int(0.01 * (ordered.size - 1))], ordered[int(0.99 * (ordered.size - 1))]
        if not high > low:
            return field
        relative = (field - low) / (high - low)
        noise = np.random.default_rng(self.noise_seed).standard_normal(field.shape, dtype=np.float32)
        curved = np.sign(relative) * np.abs(relative) ** np.float32(self.gamma) + np.float32(self.noise) * noise
        return np.asarray(low + (high - low) * curved, dtype=np.float32)

    def flipped(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(size, size) map turned over; twice is the map itself."""
        axes = tuple(axis for axis, turned in enumerate(self.flip) if turned)
        return np.ascontiguousarray(np.flip(values, axes))

    def prompt(self, prompt: SlicePrompt, size: int) -> SlicePrompt:
        """The prompt on the turned picture, in model pixels."""
        points, box = prompt.points, prompt.box
        turned = np.array(self.flip)
        if points is not None:
            points = np.where(turned, size - 1 - np.reshape(points, (-1, 2)), points)
        if box is not None:
            corners = np.where(turned, size - 1 - np.reshape(box, (2, 2)), np.reshape(box, (2, 2)))
            box = np.concatenate([corners.min(0), corners.max(0)])
        mask = None if prompt.mask is None else self.flipped(prompt.mask)
        reference_slice = None if prompt.reference_slice is None else self.image(prompt.reference_slice)
        memory = tuple(self._remembered(one, size) for one in prompt.memory)
        return replace(prompt, points=points, box=box, mask=mask, reference_slice=reference_slice, memory=memory)

    def _remembered(self, one: RememberedSlice, size: int) -> RememberedSlice:
        """The same slice of the changed study: the whole study is turned over and repainted, not the asked slice."""
        row, column = (size - 1 - at if turned else at for at, turned in zip(one.centre_rc, self.flip, strict=True))
        tokens = one.tokens if one.changed is None else one.changed(self)
        return replace(one, tokens=tokens, centre_rc=(row, column))


@dataclass(frozen=True, slots=True)
class StochasticPass:
    """What one stochastic run does differently; as it stands, nothing."""

    dropout_seed: int | None = None
    """Of the dropped channels. Runs of one seed drop different ones, each the same on every slice. Of seeds that are
    asked together the first counts."""
    jitter: Jitter | None = None
    change: ImageChange | None = None
    plane_weights: tuple[float, float, float] | None = None
    """Share of the pass across each array axis in the fused answer; None where all passes count alike."""
    blend: tuple[tuple[StochasticPass, float], ...] = ()
    """Runs without dropout whose logits are weighed into this one's, which is not asked itself: many runs from few
    answers. A run that changes nothing stands for the answer that is known already."""

    def known(self) -> float:
        """Weight of the answer that is known already; 0 for a run that is asked."""
        return sum(weight for part, weight in self.blend if part == StochasticPass())


@dataclass(frozen=True, slots=True, eq=False)
class PromptInCrop:
    """A question the model has answered before, in model pixels."""

    prompt: SlicePrompt
    previous_logits: NDArray[np.float32] | None
    size: int
    centre_rc: NDArray[np.float64]
    extent_rc: NDArray[np.float64]
    """(2,) each: middle and sides of the structure on the slice, as far as they are known."""

    def by(self, run: StochasticPass) -> PromptInCrop:
        """The question of a run."""
        prompt, previous, size = self.prompt, self.previous_logits, self.size
        if run.jitter is not None:
            field = run.jitter.field(self)
            prompt = prompt_to_crop(prompt, field)
            previous = None if previous is None else extract(previous, field)
        if run.change is not None:
            prompt = run.change.prompt(prompt, size)
            previous = None if previous is None else run.change.flipped(previous)
        return replace(self, prompt=prompt, previous_logits=previous)


def decode_passes(
    model: PromptableModel,
    embedding: Any,
    image: Callable[[], NDArray[np.float32]],
    asked: PromptInCrop,
    runs: Sequence[StochasticPass],
) -> NDArray[np.float32]:
    """The model's answer in each run.

    Parameters
    ----------
    model : PromptableModel
    embedding
        Of the unchanged field.
    image : callable
        Gives the (size, size) field; asked for only where a run changes it.
    asked : PromptInCrop
    runs : sequence of StochasticPass
        All blends, or none.

    Returns
    -------
    (T, size, size) float32 logits, on the pixels of the unchanged field; of blends without what is known already
    """
    if any(run.blend for run in runs):
        parts, weights = _weighed(runs)
        answers = decode_passes(model, embedding, image, asked, parts)
        return np.tensordot(weights, np.clip(answers, -SUREST_LOGIT, SUREST_LOGIT), 1)
    found = np.empty((len(runs), model.size, model.size), dtype=np.float32)
    alike: dict[StochasticPass, list[int]] = {}
    for number, run in enumerate(runs):
        alike.setdefault(replace(run, plane_weights=None), []).append(number)
    for part in _batches(list(alike), model.size):
        pictures = [run.change.image(image()) for run in part if run.change is not None]
        questions = [asked.by(run) for run in part]
        drops = part[0].dropout_seed is not None
        decoded = model.decode_each(
            model.encode(np.stack(pictures)) if pictures else embedding,
            [question.prompt for question in questions],
            [question.previous_logits for question in questions],
            runs=[len(alike[run]) for run in part] if drops else None,
            seed=part[0].dropout_seed or 0,
        )
        answers = decoded.logits if drops else np.repeat(decoded.logits, [len(alike[run]) for run in part], axis=0)
        found[[number for run in part for number in alike[run]]] = answers
    for number, run in enumerate(runs):
        if run.change is not None:
            found[number] = run.change.flipped(found[number])
    return found


def _weighed(runs: Sequence[StochasticPass]) -> tuple[list[StochasticPass], NDArray[np.float32]]:
    """The N runs that T blends are made of, less what is known already, and the (T, N) weight of each in each."""
    blends = [run.blend for run in runs]
    if not all(blends):
        raise PromptError("Expected runs that are all made of others or none of them, got both kinds in one call.")
    parts = list(dict.fromkeys(part for blend in blends for part, _ in blend if part != StochasticPass()))
    weights = np.zeros((len(runs), len(parts)), dtype=np.float32)
    for number, blend in enumerate(blends):
        for part, weight in blend:
            if part in parts:
                weights[number, parts.index(part)] = weight
    return parts, weights


def _batches(runs: Sequence[StochasticPass], size: int) -> Iterator[Sequence[StochasticPass]]:
    """Runs with and without dropout apart; on the unchanged image all together, on changed ones a few at a time."""
    for drops in (True, False):
        alike = [run for run in runs if (run.dropout_seed is not None) is drops]
        kept = [run for run in alike if run.change is None]
        if kept:
            yield kept
        changed = [run for run in alike if run.change is not None]
        at_once = max(_PIXELS_AT_ONCE // size**2, 1)
        for first in range(0, len(changed), at_once):
            yield changed[first : first + at_once]
