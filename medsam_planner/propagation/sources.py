"""Sources of uncertainty: what the stochastic runs of one structure do differently.

A source draws whole runs, not voxels. What a run draws holds on every slice, so that its mask is one coherent structure
and the planner gets masks that are wrong together, as real ones are. Where another prompt or image means asking anew,
many runs are made of few answers (:mod:`medsam_planner.propagation.blends`).
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
    "source_named",
]

_VIEWS = 4
"""Changed images, and prompts of a mixture, that runs share. On ten hippocampus volumes, 16 runs drawn about the
answers to four images ranked errors by entropy as runs asked for one by one did (sparsification error 0.28 both). Their
boundary spread was a fifth smaller, and correlated by 0.80 with theirs where that of another seed did by 0.92."""


class UncertaintySource(Protocol):
    """Where the differences between runs come from."""

    @property
    def name(self) -> str:
        """What it is called in options, records and calibrations."""

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """What each of that many runs does differently; the same for the same seed."""

    def runs(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """These, or as many that are made of fewer answers."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Channels of the decoder are dropped, others in each run: what the weights are unsure of."""

    name: str = "dropout"

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Runs that differ in the dropped channels alone."""
        return (StochasticPass(dropout_seed=seed),) * samples

    runs = draws


@dataclass(frozen=True, slots=True)
class PromptJitter:
    """Box, clicks and propagated masks are moved, grown and shrunk together: what another hand would have drawn."""

    name: str = "jitter"
    share: float = 0.05
    """Standard deviation of the shift along rows and columns, as a share of the structure's extent on the slice, and of
    the logarithm of the growth: a box 60 pixels wide moves by about 3. Twice that is a loose box."""

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Runs that differ in the prompt alone."""
        scaled = (self.share * draw for draw in self._normal(samples, seed))
        return tuple(StochasticPass(jitter=Jitter((float(d[0]), float(d[1])), float(np.exp(d[2])))) for d in scaled)

    def runs(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """More than six are made of six answers and the one that is known."""
        if samples <= JITTERS_DECODED:
            return self.draws(samples, seed)
        return jittered([draw.tolist() for draw in self._normal(samples, seed)], self.share)

    def _normal(self, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
        return (generator.standard_normal(3) for generator in _generators(samples, seed, 1))


@dataclass(frozen=True, slots=True)
class Augmentation:
    """The image is turned over, its grey values are bent, noise is added: what another scan would have shown.

    References
    ----------
    .. [1] Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical image segmentation,
       Neurocomputing 338, 2019, doi:10.1016/j.neucom.2019.01.103.
    """

    name: str = "augment"
    gamma_spread: float = 0.25
    """Standard deviation of the logarithm of gamma."""
    noise: float = 0.03
    """Largest standard deviation of the noise, as a share of the range of the field's intensities."""
    flips: bool = True

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Runs that differ in the image alone. Any four in a row turn it all four ways."""
        generators = _generators(samples, seed, 2)
        return tuple(
            StochasticPass(change=self._change(one, divmod(number % 4, 2))) for number, one in enumerate(generators)
        )

    def runs(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """More than four are drawn about the answers to the image as it is and turned three ways."""
        return _about_few(self.draws(samples, seed), seed)

    def _change(self, generator: np.random.Generator, turns: tuple[int, int]) -> ImageChange:
        return ImageChange(
            flip=(self.flips and bool(turns[0]), self.flips and bool(turns[1])),
            gamma=float(np.exp(generator.normal(0.0, self.gamma_spread))),
            noise=float(generator.uniform(0.0, self.noise)),
            noise_seed=int(generator.integers(2**31)),
        )


@dataclass(frozen=True, slots=True)
class Triplanar:
    """Each run weighs the passes across the planes in another way: what the planes disagree about.

    The weights are uniform over all shares that add up to one. Costs nothing but the passes.
    """

    name: str = "triplanar"

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Runs that differ in the weights of the passes alone."""
        drawn = (generator.dirichlet(np.ones(3)) for generator in _generators(samples, seed, 3))
        return tuple(StochasticPass(plane_weights=(float(w[0]), float(w[1]), float(w[2]))) for w in drawn)

    runs = draws


@dataclass(frozen=True, slots=True)
class Mixture:
    """Every run differs in all of several ways at once.

    With dropout among them, four views (prompts and images) are shared by the runs, each of which drops channels of its
    own: the way down to where dropout sits is then walked four times and not once for every run. Without it, more than
    four runs are drawn about the answers to four views, one of them what is known already.
    """

    parts: tuple[UncertaintySource, ...]

    @property
    def name(self) -> str:
        """Names of the parts, joined by a plus."""
        return "+".join(part.name for part in self.parts)

    def draws(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """Runs that differ in everything the parts differ in."""
        drawn = [part.draws(samples, seed) for part in self.parts]
        return tuple(self._merged(drawn, number, seed) for number in range(samples))

    def runs(self, samples: int, seed: int) -> tuple[StochasticPass, ...]:
        """With dropout what is drawn; else more than four are drawn about the answer that is known and three others."""
        drawn = self.draws(samples, seed)
        return drawn if drawn[0].dropout_seed is not None else _about_few(drawn, seed)

    def _merged(self, drawn: Sequence[tuple[StochasticPass, ...]], number: int, seed: int) -> StochasticPass:
        drops = any(runs[number].dropout_seed is not None for runs in drawn)
        view = number % _VIEWS if drops else number
        merged = StochasticPass(dropout_seed=seed * _VIEWS + view) if drops else StochasticPass()
        for runs in drawn:
            merged = replace(
                merged,
                jitter=merged.jitter or runs[view].jitter,
                change=merged.change or runs[view].change,
                plane_weights=merged.plane_weights or runs[number].plane_weights,
            )
        return merged


SOURCES: dict[str, UncertaintySource] = {
    source.name: source for source in (Dropout(), PromptJitter(), Augmentation(), Triplanar())
}
"""By name."""


def source_named(name: str) -> UncertaintySource:
    """The source of that name; names joined by a plus make a mixture.

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


def _about_few(drawn: tuple[StochasticPass, ...], seed: int) -> tuple[StochasticPass, ...]:
    """As many runs about the answer that is known and three of those drawn; those themselves if they are few."""
    if len(drawn) <= _VIEWS:
        return drawn
    views = [StochasticPass(), *(replace(run, plane_weights=None) for run in drawn[1:_VIEWS])]
    blends = drawn_about(views, _generators(len(drawn), seed, 4))
    return tuple(replace(run, plane_weights=own.plane_weights) for run, own in zip(blends, drawn, strict=True))


def _generators(samples: int, seed: int, source: int) -> Sequence[np.random.Generator]:
    """One for each run, so that eight runs are the first eight of sixteen."""
    return [np.random.default_rng((seed, source, number)) for number in range(samples)]
