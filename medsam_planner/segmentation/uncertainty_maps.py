"""Uncertainty maps of one structure on the study's grid, from stochastic passes."""

from __future__ import annotations

from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.geometry import spacing_mm, zeros_by_slice
from medsam_planner.progress import Progress
from medsam_planner.propagation.sampling import sample_passes
from medsam_planner.propagation.sources import UncertaintySource
from medsam_planner.propagation.structure import PropagatedStructure
from medsam_planner.segmentation.result import MaskSamples
from medsam_planner.volumes import volume_like

__all__ = ["uncertainty_maps"]


def uncertainty_maps(
    segmenter: SliceSegmenter,
    structure: PropagatedStructure,
    source: UncertaintySource,
    *,
    samples: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run stochastic passes and summarise how they differ.

    Parameters
    ----------
    segmenter : SliceSegmenter
        The study under the model; the model's temperature is applied to the entropies and not to the masks.
    structure : PropagatedStructure
        The deterministic propagation.
    source : UncertaintySource
        What the passes differ in.
    samples : int
        Number of stochastic passes, at least 2.
    seed : int
        Seed of the passes.
    progress : Progress, optional
        Told the slices; may cancel.

    Returns
    -------
    dict
        Fields of :class:`~medsam_planner.segmentation.result.SegmentationResult`: ``uncertainty``,
        ``mutual_information``, ``mask_samples``, and ``boundary_spread_mm`` where at least two masks are not empty.

    Raises
    ------
    PromptError
        If the source weighs several planes and the structure was propagated across one.
    ZeroVarianceError
        If all passes are equal.
    """
    from xai.dropout import require_variance
    from xai.uncertainty import boundary_spread_mm

    volume, axis = segmenter.volume, structure.axis
    sampled = sample_passes(segmenter, structure, source, samples=samples, seed=seed, progress=progress)
    require_variance(sampled.logits)
    entropy, disagreement = sampled.entropy_bits(segmenter.model.temperature)
    masks, box = sampled.masks(), sampled.band.box
    maps: dict[str, Any] = {
        "uncertainty": _on_grid(entropy, volume, box, axis),
        "mutual_information": _on_grid(disagreement, volume, box, axis),
        "mask_samples": MaskSamples(tuple(part.start for part in box), masks, volume),
    }
    occupied = masks[masks.any(axis=(1, 2, 3))]
    if len(occupied) >= 2:
        spread = boundary_spread_mm(occupied, spacing_mm(volume.affine))
        maps["boundary_spread_mm"] = _on_grid(spread, volume, box, axis)
    return maps


def _on_grid(
    values: NDArray[np.float32], volume: highdicom.Volume, box: tuple[slice, slice, slice], axis: int
) -> highdicom.Volume:
    """Values of a box on the whole grid, 0 outside the box."""
    whole = zeros_by_slice(volume.spatial_shape, axis, np.float32)
    whole[box] = values
    return volume_like(volume, whole)
