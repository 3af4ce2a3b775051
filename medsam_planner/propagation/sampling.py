"""Stochastic passes of one structure: T masks, each coherent through the volume.

A pass decodes every slice again with the prompt of the deterministic propagation. The propagation itself is not
repeated, so passes cannot show that it might have ended elsewhere. Passes are sampled in a band around the surface;
outside that band the deterministic prediction is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.logits import OUTSIDE_LOGIT, logit, sigmoid
from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.engine.stochastic_passes import StochasticPass
from medsam_planner.geometry import spacing_mm
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.sources import UncertaintySource, check_planes
from medsam_planner.propagation.structure import PropagatedStructure
from medsam_planner.propagation.volume import PropagatedVolume
from prompts.masks import mask_box

__all__ = ["BAND_MM", "SampledPasses", "SurfaceBand", "sample_box", "sample_passes", "surface_band"]

BAND_MM = 10.0
"""Largest distance from the deterministic surface at which passes are sampled."""
_MARGIN_VOXELS = 4
"""Voxels around the deterministic mask in which a stochastic pass may differ."""
_UNSURE = 0.02
"""Voxels with a probability from this to its complement are sampled at any distance."""


def sample_box(probability: NDArray[np.float32]) -> tuple[slice, slice, slice]:
    """Box of all voxels with a probability above 0.02, grown by four voxels.

    Where there is no such voxel, the whole grid is returned.
    """
    inside = probability > _UNSURE
    k, j, i = mask_box(inside if inside.any() else np.ones_like(inside), grown=_MARGIN_VOXELS)
    return k, j, i


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceBand:
    """Voxels in which stochastic passes are sampled."""

    box: tuple[slice, slice, slice]
    inside: NDArray[np.bool_]
    """(k, j, i) on the grid of the box."""

    def numbers(self) -> NDArray[np.int32]:
        """(k, j, i) position of each voxel in the list of the band's voxels, -1 outside the band."""
        numbers = np.full(self.inside.shape, -1, dtype=np.int32)
        numbers[self.inside] = np.arange(np.count_nonzero(self.inside))
        return numbers


def surface_band(
    probability: NDArray[np.float32], voxel_mm: NDArray[np.float64], *, band_mm: float = BAND_MM
) -> SurfaceBand:
    """Voxels within `band_mm` of the surface of the mask, and all with a probability between 0.02 and 0.98.

    Parameters
    ----------
    probability : (K, J, I) float32
        Of the deterministic propagation; the mask is where it exceeds one half.
    voxel_mm : (3,) float
        Distance between voxel centres along each axis.
    band_mm : float
        Half the thickness of the band.

    Returns
    -------
    SurfaceBand
        All voxels of the box where the mask has no surface.
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
    """T stochastic passes of one structure."""

    band: SurfaceBand
    logits: NDArray[np.float16]
    """(T, N) on the voxels of the band, in array order, fused over the planes as the deterministic ones were."""
    probability: NDArray[np.float32]
    """(k, j, i) deterministic, in the band's box."""

    def masks(self) -> NDArray[np.bool_]:
        """(T, k, j, i) mask of each pass in the box."""
        masks = np.repeat((self.probability > 0.5)[None], len(self.logits), axis=0)
        masks.reshape(len(masks), -1)[:, np.flatnonzero(self.band.inside)] = self.logits > 0
        return masks

    def probabilities(self) -> NDArray[np.float32]:
        """(T, k, j, i) probability of each pass in the box."""
        whole = np.repeat(self.probability[None], len(self.logits), axis=0)
        whole.reshape(len(whole), -1)[:, np.flatnonzero(self.band.inside)] = _tempered(
            self.logits.astype(np.float32), 1
        )
        return whole

    def entropy_bits(self, temperature: float = 1.0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(k, j, i) predictive entropy and mutual information in bits, in the box.

        Logits are divided by `temperature` first. Outside the band the mutual information is 0 and the entropy is that
        of the deterministic prediction.
        """
        from xai.uncertainty import EntropyAccumulator, predictive_entropy

        found = EntropyAccumulator(self.logits.shape[1:])
        for logits in self.logits:
            found.add(_tempered(logits.astype(np.float32), temperature))
        entropy = predictive_entropy([_tempered(logit(self.probability), temperature)])
        disagreement = np.zeros_like(entropy)
        entropy[self.band.inside] = found.predictive_entropy
        disagreement[self.band.inside] = found.mutual_information
        return entropy, disagreement


def sample_passes(
    segmenter: SliceSegmenter,
    structure: PropagatedStructure,
    source: UncertaintySource,
    *,
    samples: int,
    seed: int,
    band_mm: float = BAND_MM,
    progress: Progress | None = None,
) -> SampledPasses:
    """Sample stochastic passes in a band around the surface.

    They take two bytes of memory for each pass and voxel of the band, six where several planes are fused.

    Parameters
    ----------
    segmenter : SliceSegmenter
        The study under the model.
    structure : PropagatedStructure
        The deterministic propagation.
    source : UncertaintySource
        What the passes differ in.
    samples : int
        Number of stochastic passes.
    seed : int
        Seed of the perturbations.
    band_mm : float
        Half the thickness of the band.
    progress : Progress, optional
        Told the slices; may cancel.

    Raises
    ------
    PromptError
        If the source weighs several planes and the structure was propagated across one.
    """
    check_planes(source, triplanar=len(structure.by_axis) > 1)
    passes = source.passes(samples, seed)
    band = surface_band(structure.probability, spacing_mm(segmenter.volume.affine), band_mm=band_mm)
    decoding = _Decoding(segmenter, band, passes, source.name, progress)
    if len(structure.by_axis) == 1:
        logits = np.full((samples, np.count_nonzero(band.inside)), OUTSIDE_LOGIT, dtype=np.float16)
        ((axis, propagated),) = structure.by_axis.items()
        for voxels, found in decoding.across(axis, propagated):
            logits[:, voxels] = found
    else:
        logits = _fused(decoding, structure)
    return SampledPasses(band, logits, structure.probability[band.box])


@dataclass(frozen=True, slots=True, eq=False)
class _Decoding:
    segmenter: SliceSegmenter
    band: SurfaceBand
    passes: Sequence[StochasticPass]
    name: str
    progress: Progress | None

    def across(
        self, axis: int, propagated: PropagatedVolume
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """For each slice: positions of its voxels in the band's list, and (T, N) logits there."""
        box = self.band.box
        numbers = np.moveaxis(self.band.numbers(), axis, 0)
        origin = [part.start for other, part in enumerate(box) if other != axis]
        inside = [index for index in sorted(propagated.predictions) if box[axis].start <= index < box[axis].stop]
        for index in track(inside, f"{self.name} passes across axis {axis}", self.progress):
            here = numbers[index - box[axis].start]
            rows, columns = np.nonzero(here >= 0)
            if rows.size == 0:
                continue
            low, high = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
            row, column = (slice(int(o + a), int(o + b)) for o, a, b in zip(origin, low, high, strict=True))
            logits = self.segmenter.sample(axis, index, propagated.predictions[index], (row, column), self.passes)
            yield here[rows, columns], logits[:, rows - low[0], columns - low[1]]


def _fused(decoding: _Decoding, structure: PropagatedStructure) -> NDArray[np.float16]:
    """(T, N) logits of the weighted mean over planes; kept slices have the logits of their own plane."""
    inside = decoding.band.inside
    owner = np.full(inside.shape, -1)
    for axis, indices in structure.kept:
        start = decoding.band.box[axis].start
        prompted = [index - start for index in indices if 0 <= index - start < inside.shape[axis]]
        np.moveaxis(owner, axis, 0)[prompted] = axis
    painted = structure.painted - [part.start for part in decoding.band.box]
    painted = painted[((painted >= 0) & (painted < inside.shape)).all(axis=1)]
    owner[tuple(painted.T)] = structure.axis
    owners = owner[inside]
    axes = tuple(structure.by_axis)
    weights = np.array([[(one.plane_weights or (1.0, 1.0, 1.0))[axis] for axis in axes] for one in decoding.passes])
    weights /= weights.sum(axis=1, keepdims=True)
    mean = np.zeros((len(decoding.passes), len(owners)), dtype=np.float32)
    for order, (axis, propagated) in enumerate(structure.by_axis.items()):
        for voxels, logits in decoding.across(axis, propagated):
            own = owners[voxels]
            share = np.where(own < 0, weights[:, order, None], own == axis)
            mean[:, voxels] += share.astype(np.float32) * sigmoid(logits)
    return np.stack([logit(probability).astype(np.float16) for probability in mean])


def _tempered(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities at a temperature; 0 outside the model's crop at every temperature."""
    return np.where(logits <= OUTSIDE_LOGIT, np.float32(0), sigmoid(logits / np.float32(temperature)))
