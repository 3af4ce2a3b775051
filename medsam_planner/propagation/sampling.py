"""The same propagation again, T times: masks that are each one coherent structure through the volume.

Every slice is asked again what it was asked in the deterministic pass. The walk itself is not repeated, so what varies
between runs is what their source varies and not the path. Runs are sampled in a band around the surface; elsewhere they
are what the deterministic pass is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.logits import OUTSIDE_LOGIT, logit, sigmoid
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.stochastic_passes import StochasticPass
from medsam_planner.errors import PromptError
from medsam_planner.geometry import spacing_mm
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.sources import UncertaintySource
from medsam_planner.propagation.structure import PropagatedStructure
from medsam_planner.propagation.volume import PropagatedVolume

__all__ = ["BAND_MM", "SampledPasses", "SurfaceBand", "sample_box", "sample_passes", "surface_band"]

BAND_MM = 10.0
"""Distance from the deterministic surface up to which runs are sampled."""
_MARGIN_VOXELS = 4
"""Room around the deterministic mask in which a stochastic run may differ."""
_UNSURE = 0.02
"""Probabilities from here to its complement are sampled wherever they lie."""


def sample_box(probability: NDArray[np.float32]) -> tuple[slice, slice, slice]:
    """Voxels around everything that may be structure, grown by a margin.

    Where nothing reaches a probability of 0.02 the whole grid is returned.
    """
    inside = probability > _UNSURE
    box = []
    for axis in range(3):
        present = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        low, high = (present[0], present[-1]) if present.size else (0, probability.shape[axis] - 1)
        box.append(slice(max(int(low) - _MARGIN_VOXELS, 0), int(high) + _MARGIN_VOXELS + 1))
    k, j, i = (slice(part.start, min(part.stop, size)) for part, size in zip(box, probability.shape, strict=True))
    return k, j, i


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceBand:
    """Where runs are sampled."""

    box: tuple[slice, slice, slice]
    inside: NDArray[np.bool_]
    """(k, j, i) of the box."""

    def numbers(self) -> NDArray[np.int32]:
        """(k, j, i) running number of each voxel of the band, -1 off it."""
        numbers = np.full(self.inside.shape, -1, dtype=np.int32)
        numbers[self.inside] = np.arange(np.count_nonzero(self.inside))
        return numbers


def surface_band(
    probability: NDArray[np.float32], voxel_mm: NDArray[np.float64], *, band_mm: float = BAND_MM
) -> SurfaceBand:
    """Voxels within `band_mm` of the surface of what is more likely inside than not, and all that are unsure.

    Without a surface it is the whole box.
    """
    from xai.errors import EmptyStructureError
    from xai.surface import signed_distance_mm

    box = sample_box(probability)
    part = probability[box]
    try:
        near = np.abs(signed_distance_mm(part > 0.5, voxel_mm)) <= band_mm
    except EmptyStructureError:
        near = np.ones(part.shape, dtype=bool)
    return SurfaceBand(box, near | ((part > _UNSURE) & (part < 1 - _UNSURE)))


@dataclass(frozen=True, slots=True, eq=False)
class SampledPasses:
    """T stochastic runs of one structure."""

    band: SurfaceBand
    logits: NDArray[np.float16]
    """(T, N) on the voxels of the band, in array order, fused over the passes as the deterministic ones were."""
    probability: NDArray[np.float32]
    """(k, j, i) deterministic, in the band's box."""

    def masks(self) -> NDArray[np.bool_]:
        """(T, k, j, i) mask of each run in the box."""
        masks = np.repeat((self.probability > 0.5)[None], len(self.logits), axis=0)
        masks.reshape(len(masks), -1)[:, np.flatnonzero(self.band.inside)] = self.logits > 0
        return masks

    def probabilities(self) -> NDArray[np.float32]:
        """(T, k, j, i) of each run in the box."""
        whole = np.repeat(self.probability[None], len(self.logits), axis=0)
        whole.reshape(len(whole), -1)[:, np.flatnonzero(self.band.inside)] = _tempered(
            self.logits.astype(np.float32), 1
        )
        return whole

    def entropy_bits(self, temperature: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(k, j, i) predictive entropy and mutual information, of probabilities whose logits are divided by a
        temperature. Off the band there is no disagreement, and the entropy is that of the deterministic answer."""
        from xai.uncertainty import EntropyAccumulator, predictive_entropy

        found = EntropyAccumulator(self.logits.shape[1:])
        for run in self.logits:
            found.add(_tempered(run.astype(np.float32), temperature))
        entropy = predictive_entropy([_tempered(logit(self.probability), temperature)])
        disagreement = np.zeros_like(entropy)
        entropy[self.band.inside] = found.predictive_entropy
        disagreement[self.band.inside] = found.mutual_information
        return entropy, disagreement


def sample_passes(
    segmenter: SliceSegmenter,
    passes: PropagatedStructure,
    source: UncertaintySource,
    *,
    samples: int,
    seed: int,
    band_mm: float = BAND_MM,
    progress: Progress | None = None,
) -> SampledPasses:
    """Ask again, in a band around the surface.

    Memory: two bytes for each run and voxel of the band, six with several passes.

    Raises
    ------
    PromptError
        If the source weighs passes across several planes and there is one.
    """
    runs = source.runs(samples, seed)
    if len(passes.passes) == 1 and any(run.plane_weights is not None for run in runs):
        raise PromptError(
            f"Expected passes across several planes for the uncertainty {source.name!r}, got one: segment with "
            "triplanar, or take another source."
        )
    band = surface_band(passes.probability, spacing_mm(segmenter.volume.affine), band_mm=band_mm)
    asked = _Decoding(segmenter, band, runs, source.name, progress)
    if len(passes.passes) == 1:
        logits = np.full((samples, np.count_nonzero(band.inside)), OUTSIDE_LOGIT, dtype=np.float16)
        ((axis, propagated),) = passes.passes.items()
        for voxels, answer in asked.across(axis, propagated):
            logits[:, voxels] = answer
    else:
        logits = _fused(asked, passes)
    return SampledPasses(band, logits, passes.probability[band.box])


@dataclass(frozen=True, slots=True, eq=False)
class _Decoding:
    segmenter: SliceSegmenter
    band: SurfaceBand
    runs: Sequence[StochasticPass]
    name: str
    progress: Progress | None

    def across(
        self, axis: int, propagated: PropagatedVolume
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Slice by slice: numbers of its voxels in the band, and (T, N) logits there."""
        box = self.band.box
        numbers = np.moveaxis(self.band.numbers(), axis, 0)
        origin = [part.start for other, part in enumerate(box) if other != axis]
        inside = [index for index in sorted(propagated.predictions) if box[axis].start <= index < box[axis].stop]
        for index in track(inside, f"{self.name} runs across axis {axis}", self.progress):
            here = numbers[index - box[axis].start]
            rows, columns = np.nonzero(here >= 0)
            if rows.size == 0:
                continue
            low, high = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
            row, column = (slice(int(o + a), int(o + b)) for o, a, b in zip(origin, low, high, strict=True))
            answer = self.segmenter.sample(axis, index, propagated.predictions[index], (row, column), self.runs)
            yield here[rows, columns], answer[:, rows - low[0], columns - low[1]]


def _fused(asked: _Decoding, passes: PropagatedStructure) -> NDArray[np.float16]:
    """Mean of the passes, weighed as each run says; prompted slices keep the answer of their own pass."""
    inside = asked.band.inside
    owner = np.full(inside.shape, -1)
    for axis, indices in passes.anchors.items():
        start = asked.band.box[axis].start
        prompted = [index - start for index in indices if 0 <= index - start < inside.shape[axis]]
        np.moveaxis(owner, axis, 0)[prompted] = axis
    owners = owner[inside]
    axes = tuple(passes.passes)
    weights = np.array([[(run.plane_weights or (1.0, 1.0, 1.0))[axis] for axis in axes] for run in asked.runs])
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.zeros((len(asked.runs), len(owners)), dtype=np.float32)
    for order, (axis, propagated) in enumerate(passes.passes.items()):
        for voxels, answer in asked.across(axis, propagated):
            own = owners[voxels]
            share = np.where(own < 0, weights[:, order, None], own == axis)
            mean[:, voxels] += share.astype(np.float32) * sigmoid(answer)
    return np.stack([logit(run).astype(np.float16) for run in mean])


def _tempered(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities; 0 where the model did not look, at any temperature."""
    return np.where(logits <= OUTSIDE_LOGIT, np.float32(0), sigmoid(logits / np.float32(temperature)))
