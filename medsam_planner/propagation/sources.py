"""Sources of uncertainty: what the stochastic passes of one structure differ in.

A source draws perturbations of whole passes, not of voxels. A pass uses the same draw on every slice, so its mask is
one coherent structure, and the planner gets spatially correlated errors as real segmentations have. Where every
perturbation needs a decoding of its own, many passes are blended from a few (:mod:`medsam_planner.propagation.blends`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.stochastic_passes import ImageChange, Jitter, StochasticPass
from medsam_planner.errors import PromptError
from medsam_planner.propagation.blends import JITTERS_DECODED, drawn_about, jittered

__all__ = [
    "SOURCES",
    "Augmentation",
    "Dropout",
    "Mixture",
    "PromptJitter",
    "Triplanar",
    "UncertaintySource",
    "check_planes",
    "source_named",
]

_VIEWS = 4
"""Number of changed images, and of prompts of a mixture, that passes share. On ten hippocampus volumes, the entropy of
16 passes drawn from four predictions ranked errors as well as that of 16 decoded passes (sparsification error 0.28 for
both). Their boundary spread was a fifth smaller and correlated with 0.80 with that of decoded passes; between two seeds
of decoded passes the correlation was 0.92."""


class UncertaintySource(Protocol):
    """What stochastic passes differ in."""

    @property
    def name(self) -> str:
        """Name in options, result files and calibrations."""

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Perturbations of each of `samples` passes; the same for the same seed."""

    def passes(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """The passes to decode: those of :meth:`draws`, or as many blends of fewer."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Monte-Carlo dropout: each pass drops other channels of the decoder, which samples the uncertainty of the
    weights."""

    name: str = "dropout"

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Passes that differ only in the dropped channels."""
        return (StochasticPass(dropout_seed=seed),) * samples

    passes = draws


@dataclass(frozen=True, slots=True)
class PromptJitter:
    """Box, clicks and propagated masks are shifted and scaled together, as if another annotator had prompted."""

    name: str = "jitter"
    share: float = 0.05
    """Standard deviation of the shift along rows and columns, as a share of the structure's extent on the slice, and of
    the logarithm of the growth: a box 60 pixels wide moves by about 3 pixels. Twice as much would be a loose box."""

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Passes that differ only in the prompt."""
        scaled = (self.share * draw for draw in self._normal(samples, seed))
        return tuple(StochasticPass(jitter=Jitter((float(d[0]), float(d[1])), float(np.exp(d[2])))) for d in scaled)

    def passes(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Up to six drawn passes; more are interpolated between six and the deterministic prediction."""
        if samples <= JITTERS_DECODED:
            return self.draws(samples, seed)
        return jittered([draw.tolist() for draw in self._normal(samples, seed)], self.share)

    def _normal(self, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
        return (generator.standard_normal(3) for generator in _generators(samples, seed, 1))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Test-time augmentation with flips, gamma and noise [1]_, as if scanned again. Predictions are un-flipped.

    References
    ----------
    .. [1] Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical image segmentation,
       Neurocomputing 338, 2019, doi:10.1016/j.neucom.2019.01.103.
    """

    name: str = "augment"
    gamma_spread: float = 0.25
    """Standard deviation of the logarithm of gamma."""
    noise: float = 0.03
    """Largest standard deviation of the noise, as a share of the range of the crop's intensities."""
    flips: bool = True

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Passes that differ only in the image. Any four consecutive passes cover all four flips."""
        generators = _generators(samples, seed, 2)
        return tuple(
            StochasticPass(change=self._change(one, divmod(number % 4, 2))) for number, one in enumerate(generators)
        )

    def passes(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Up to four drawn passes; more are drawn from the predictions on the unchanged image and three flips."""
        return _about_few(self.draws(samples, seed), seed)

    def _change(self, generator: np.random.Generator, flips: tuple[int, int]) -> ImageChange:
        return ImageChange(
            flip=(self.flips and bool(flips[0]), self.flips and bool(flips[1])),
            gamma=float(np.exp(generator.normal(0.0, self.gamma_spread))),
            noise=float(generator.uniform(0.0, self.noise)),
            noise_seed=int(generator.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class Triplanar:
    """Each pass weighs the propagations across the three planes differently: the disagreement between planes.

    The weights are drawn uniformly from all that sum to one. Nothing is decoded beyond the three propagations.
    """

    name: str = "triplanar"

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Passes that differ only in the weights of the planes."""
        drawn = (generator.dirichlet(np.ones(3)) for generator in _generators(samples, seed, 3))
        return tuple(StochasticPass(plane_weights=(float(w[0]), float(w[1]), float(w[2]))) for w in drawn)

    passes = draws


@dataclass(frozen=True, slots=True)
class Mixture:
    """Several sources at once.

    With dropout among them, the passes share four views (combinations of prompt and image) and each pass drops channels
    of its own, so that the part of the network before the dropout runs four times only. Without dropout, more than four
    passes are drawn from the predictions for four views, one of which is the deterministic prediction.
    """

    parts: tuple[UncertaintySource, ...]

    @property
    def name(self) -> str:
        """Names of the parts, joined by a plus."""
        return "+".join(part.name for part in self.parts)

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Passes that differ in everything the parts differ in."""
        drawn = [part.draws(samples, seed) for part in self.parts]
        return tuple(self._merged(drawn, number, seed) for number in range(samples))

    def passes(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """The drawn passes if there is dropout or they are few; else blends of four predictions."""
        drawn = self.draws(samples, seed)
        return drawn if drawn[0].dropout_seed is not None else _about_few(drawn, seed)

    def _merged(self, drawn: Sequence[tuple[StochasticPass, ...]], number: int, seed: int) -> StochasticPass:
        drops = any(of_part[number].dropout_seed is not None for of_part in drawn)
        view = number % _VIEWS if drops else number
        merged = StochasticPass(dropout_seed=seed * _VIEWS + view) if drops else StochasticPass()
        for of_part in drawn:
            merged = replace(
                merged,
                jitter=merged.jitter or of_part[view].jitter,
                change=merged.change or of_part[view].change,
                plane_weights=merged.plane_weights or of_part[number].plane_weights,
            )
        return merged


SOURCES: dict[str, UncertaintySource] = {
    source.name: source for source in (Dropout(), PromptJitter(), Augmentation(), Triplanar())
}
"""Sources by name."""


def source_named(name: str) -> UncertaintySource:
    """The source of that name; names joined by a plus are a mixture.

    Raises
    ------
    PromptError
        If a name is unknown or given twice.
    """
    names = name.split("+")
    unknown = [part for part in names if part not in SOURCES]
    if unknown or len(set(names)) < len(names):
        raise PromptError(
            f"Expected a source of uncertainty ({', '.join(SOURCES)}) or several different ones joined by a plus, got "
            f"{name!r}."
        )
    parts = tuple(SOURCES[part] for part in names)
    return parts[0] if len(parts) == 1 else Mixture(parts)


def check_planes(source: UncertaintySource, *, triplanar: bool) -> None:
    """Refuse a source that weighs planes where a structure is propagated across one.

    Raises
    ------
    PromptError
    """
    if not triplanar and any(one.plane_weights is not None for one in source.draws(1, 0)):
        raise PromptError(
            f"The source of uncertainty {source.name!r} needs propagation across three planes: add --triplanar "
            "(triplanar=True), or choose another source."
        )


def _about_few(drawn: tuple[StochasticPass, ...], seed: int) -> tuple[StochasticPass, ...]:
    """Blends of the deterministic prediction and three of the drawn passes; the drawn passes if they are few."""
    if len(drawn) <= _VIEWS:
        return drawn
    views = [StochasticPass(), *(replace(one, plane_weights=None) for one in drawn[1:_VIEWS])]
    blends = drawn_about(views, _generators(len(drawn), seed, 4))
    return tuple(replace(blend, plane_weights=own.plane_weights) for blend, own in zip(blends, drawn, strict=True))


def _generators(samples: int, seed: int, source: int) -> Sequence[np.random.Generator]:
    """One for each pass, so that eight passes are the first eight of sixteen."""
    return [np.random.default_rng((seed, source, number)) for number in range(samples)]
