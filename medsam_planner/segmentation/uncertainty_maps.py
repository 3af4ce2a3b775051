"""Uncertainty maps of one structure on the study's grid, from stochastic passes."""

from __future__ import annotations

from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.segmenter import SliceSegmenter
from medsam_planner.geometry import spacing_mm
from medsam_planner.progress import Progress
from medsam_planner.propagation.sampling import sample_passes
from medsam_planner.propagation.sources import UncertaintySource
from medsam_planner.propagation.structure import PropagatedStructure
from medsam_planner.segmentation.result import MaskSamples
from medsam_planner.volumes import BoxedArray, volume_like

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
    if _is_predicted_in(structure, sampled.band.box):
        require_variance(sampled.logits)
    entropy, disagreement = sampled.entropy_bits(segmenter.model.temperature)
    masks, box = sampled.masks(), sampled.band.box
    low_index, shape = tuple(part.start for part in box), tuple(volume.spatial_shape)

    def on_grid(values: NDArray[np.float32]) -> highdicom.Volume:
        return volume_like(volume, BoxedArray(low_index, values, shape).whole(axis=axis))

    maps: dict[str, Any] = {
        "uncertainty": on_grid(entropy),
        "mutual_information": on_grid(disagreement),
        "mask_samples": MaskSamples(BoxedArray(low_index, masks, shape), volume),
    }
    occupied = masks[masks.any(axis=(1, 2, 3))]
    if len(occupied) >= 2:
        spread = boundary_spread_mm(occupied, spacing_mm(volume.affine))
        maps["boundary_spread_mm"] = on_grid(spread)
    return maps


def _is_predicted_in(structure: PropagatedStructure, box: tuple[slice, slice, slice]) -> bool:
    """Whether the model predicted a slice of a box. Passes keep all other slices and are then rightly equal."""
    return any(
        prediction.crop is not None and box[axis].start <= index < box[axis].stop
        for axis, propagated in structure.by_axis.items()
        for index, prediction in propagated.predictions.items()
    )
