"""Stochastic passes on one slice: perturbations of the prompt, the image or the weights, and the logits under each.

A pass applies the same perturbations to every slice, so that its mask is one coherent structure. All work is done in
model pixels of the crop of the deterministic prediction, so one cached embedding serves every pass that leaves the
image unchanged.
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
"""Model pixels of changed images that are encoded together: sixteen crops of the compact model, one of MedSAM."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """A small shift and growth of a prompt: its box, clicks and propagated mask move together."""

    shift: tuple[float, float]
    """Along rows and columns, as a share of the structure's extent on the slice."""
    growth: float = 1.0
    """Factor on lengths about the structure's centre."""

    def crop(self, prompt: PromptInCrop) -> Crop:
        """The crop, in model pixels, from which the prompt is resampled to shift and grow it."""
        size = prompt.size
        shift_px = np.asarray(self.shift) * prompt.extent_rc
        centre = prompt.centre_rc + ((size - 1) / 2 - prompt.centre_rc - shift_px) / self.growth
        side = size / self.growth
        return Crop((float(centre[0]), float(centre[1])), (side, side), size)


@dataclass(frozen=True, slots=True)
class ImageChange:
    """A change of the slice's image. Brightness and contrast are left out because both models normalise every crop."""

    flip: tuple[bool, bool] = (False, False)
    """Whether the rows and the columns are reversed."""
    gamma: float = 1.0
    """Exponent on the intensities between the crop's 1st and 99th percentiles."""
    noise: float = 0.0
    """Standard deviation of white noise, as a share of that range."""
    noise_seed: int = 0

    def image(self, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        """(size, size) intensities after the change."""
        return self.flipped(self._with_gamma_and_noise(crop) if self.gamma != 1.0 or self.noise > 0 else crop)

    def _with_gamma_and_noise(self, crop: NDArray[np.float32]) -> NDArray[np.float32]:
        ordered = np.sort(crop, axis=None)
        low, high = ordered[int(0.01 * (ordered.size - 1))], ordered[int(0.99 * (ordered.size - 1))]
        if not high > low:
            return crop
        relative = (crop - low) / (high - low)
        noise = np.random.default_rng(self.noise_seed).standard_normal(crop.shape, dtype=np.float32)
        curved = np.sign(relative) * np.abs(relative) ** np.float32(self.gamma) + np.float32(self.noise) * noise
        return np.asarray(low + (high - low) * curved, dtype=np.float32)

    def flipped(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """(size, size) map with its axes reversed; applied twice it is the map itself."""
        axes = tuple(axis for axis, is_flipped in enumerate(self.flip) if is_flipped)
        return np.ascontiguousarray(np.flip(values, axes))

    def prompt(self, prompt: SlicePrompt, size: int) -> SlicePrompt:
        """The prompt on the changed image, in model pixels."""
        points, box = prompt.points, prompt.box
        is_flipped = np.array(self.flip)
        if points is not None:
            points = np.where(is_flipped, size - 1 - np.reshape(points, (-1, 2)), points)
        if box is not None:
            corners = np.where(is_flipped, size - 1 - np.reshape(box, (2, 2)), np.reshape(box, (2, 2)))
            box = np.concatenate([corners.min(0), corners.max(0)])
        mask = None if prompt.mask is None else self.flipped(prompt.mask)
        reference_slice = None if prompt.reference_slice is None else self.image(prompt.reference_slice)
        memory = tuple(self._remembered(one, size) for one in prompt.memory)
        return replace(prompt, points=points, box=box, mask=mask, reference_slice=reference_slice, memory=memory)

    def _remembered(self, one: RememberedSlice, size: int) -> RememberedSlice:
        """The same remembered slice of the changed study: a change applies to all slices of a study."""
        row, column = (
            size - 1 - at if is_flipped else at for at, is_flipped in zip(one.centre_rc, self.flip, strict=True)
        )
        tokens = one.tokens if one.changed is None else one.changed(self)
        return replace(one, tokens=tokens, centre_rc=(row, column))


@dataclass(frozen=True, slots=True)
class StochasticPass:
    """Perturbations of one stochastic pass; none by default."""

    dropout_seed: int | None = None
    """Seed of the dropped channels. Passes of one seed drop different channels, each pass the same ones on every slice.
    Where passes with several seeds are decoded together, the first seed counts."""
    jitter: Jitter | None = None
    change: ImageChange | None = None
    plane_weights: tuple[float, float, float] | None = None
    """Weight of the propagation across each array axis in the fused probability; None for equal weights."""
    blend: tuple[tuple[StochasticPass, float], ...] = ()
    """Passes without dropout whose logits are combined with these weights; the pass itself is then not decoded. Many
    passes are so made from few predictions. A pass without perturbations stands for the deterministic prediction."""

    def deterministic_weight(self) -> float:
        """Weight of the deterministic prediction in a blend; 0 for a pass that is decoded."""
        return sum(weight for part, weight in self.blend if part == StochasticPass())


@dataclass(frozen=True, slots=True, eq=False)
class PromptInCrop:
    """The prompt of a deterministic prediction, in model pixels of its crop."""

    prompt: SlicePrompt
    previous_logits: NDArray[np.float32] | None
    size: int
    centre_rc: NDArray[np.float64]
    extent_rc: NDArray[np.float64]
    """(2,) each: middle and sides of the structure on the slice, by its mask, else by the box."""

    def perturbed(self, by: StochasticPass) -> PromptInCrop:
        """The prompt of a stochastic pass."""
        prompt, previous, size = self.prompt, self.previous_logits, self.size
        if by.jitter is not None:
            crop = by.jitter.crop(self)
            prompt = prompt_to_crop(prompt, crop)
            previous = None if previous is None else extract(previous, crop)
        if by.change is not None:
            prompt = by.change.prompt(prompt, size)
            previous = None if previous is None else by.change.flipped(previous)
        return replace(self, prompt=prompt, previous_logits=previous)


def decode_passes(
    model: PromptableModel,
    embedding: Any,
    image: Callable[[], NDArray[np.float32]],
    prompt: PromptInCrop,
    passes: Sequence[StochasticPass],
) -> NDArray[np.float32]:
    """Decode one prompt under each of several stochastic passes.

    Parameters
    ----------
    model : PromptableModel
        The model of the deterministic prediction.
    embedding
        Of the unchanged crop.
    image : callable
        Returns the (size, size) crop; called only where a pass changes the image.
    prompt : PromptInCrop
        Prompt of the deterministic prediction.
    passes : sequence of StochasticPass
        All of them blends, or none.

    Returns
    -------
    (T, size, size) float32
        Logits on the pixels of the unchanged crop. Those of blends leave out the deterministic prediction's share.

    Raises
    ------
    PromptError
        If some passes are blends and others are not.
    """
    if any(one.blend for one in passes):
        parts, weights = _blend_parts(passes)
        logits = decode_passes(model, embedding, image, prompt, parts)
        return np.tensordot(weights, np.clip(logits, -SUREST_LOGIT, SUREST_LOGIT), 1)
    found = np.empty((len(passes), model.size, model.size), dtype=np.float32)
    alike: dict[StochasticPass, list[int]] = {}
    for number, one in enumerate(passes):
        alike.setdefault(replace(one, plane_weights=None), []).append(number)
    for batch in _batches(list(alike), model.size):
        images = [one.change.image(image()) for one in batch if one.change is not None]
        prompts = [prompt.perturbed(one) for one in batch]
        counts = [len(alike[one]) for one in batch]
        has_dropout = batch[0].dropout_seed is not None
        decoded = model.decode_each(
            model.encode(np.stack(images)) if images else embedding,
            [perturbed.prompt for perturbed in prompts],
            [perturbed.previous_logits for perturbed in prompts],
            passes=counts if has_dropout else None,
            seed=batch[0].dropout_seed or 0,
        )
        logits = decoded.logits if has_dropout else np.repeat(decoded.logits, counts, axis=0)
        found[[number for one in batch for number in alike[one]]] = logits
    for number, one in enumerate(passes):
        if one.change is not None:
            found[number] = one.change.flipped(found[number])
    return found


def _blend_parts(passes: Sequence[StochasticPass]) -> tuple[list[StochasticPass], NDArray[np.float32]]:
    """The N passes that T blends consist of, without the deterministic one, and their (T, N) weights."""
    blends = [one.blend for one in passes]
    if not all(blends):
        raise PromptError("Expected stochastic passes that are all blends or none of them, got both kinds in one call.")
    parts = list(dict.fromkeys(part for blend in blends for part, _ in blend if part != StochasticPass()))
    weights = np.zeros((len(passes), len(parts)), dtype=np.float32)
    for number, blend in enumerate(blends):
        for part, weight in blend:
            if part in parts:
                weights[number, parts.index(part)] = weight
    return parts, weights


def _batches(passes: Sequence[StochasticPass], size: int) -> Iterator[Sequence[StochasticPass]]:
    """Passes to decode together: with and without dropout apart, and only a few at a time where the image changes."""
    for has_dropout in (True, False):
        alike = [one for one in passes if (one.dropout_seed is not None) is has_dropout]
        kept = [one for one in alike if one.change is None]
        if kept:
            yield kept
        changed = [one for one in alike if one.change is not None]
        at_once = max(_PIXELS_AT_ONCE // size**2, 1)
        for first in range(0, len(changed), at_once):
            yield changed[first : first + at_once]
