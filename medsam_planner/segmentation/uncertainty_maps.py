"""Uncertainty maps of one structure on the study's grid, from stochastic passes."""

from __future__ import annotations

from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import spacing_mm
from medsam_planner.propagation.sampling import SampledPasses
from medsam_planner.propagation.structure import PropagatedStructure
from medsam_planner.segmentation.result import MaskSamples
from medsam_planner.volumes import BoxedArray, volume_like

__all__ = ["is_predicted_in", "uncertainty_maps"]


def uncertainty_maps(
    volume: highdicom.Volume, sampled: SampledPasses, *, axis: int, temperature: float, may_be_equal: bool
) -> dict[str, Any]:
    """Summarise how stochastic passes differ.

    Parameters
    ----------
    volume : highdicom.Volume
        The study.
    sampled : SampledPasses
        At least 2.
    axis : int
        Array axis across which the maps are laid out in memory slice by slice.
    temperature : float
        The model's, applied to the entropies and not to the masks.
    may_be_equal : bool
        Whether equal passes are right, because the model predicted nothing of what they cover.

    Returns
    -------
    dict
        Fields of :class:`~medsam_planner.segmentation.result.SegmentationResult`: ``uncertainty``,
        ``mutual_information``, ``mask_samples``, and ``boundary_spread_mm`` where at least two masks are not empty.

    Raises
    ------
    ZeroVarianceError
        If all passes are equal and may not be.
    """
    from xai.dropout import require_variance
    from xai.uncertainty import boundary_spread_mm

    if not may_be_equal:
        require_variance(sampled.logits)
    entropy, disagreement = sampled.entropy_bits(temperature)
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


def is_predicted_in(structure: PropagatedStructure, box: tuple[slice, slice, slice]) -> bool:
    """Whether the model predicted a slice of a box. Passes keep all other slices and are then rightly equal."""
    return any(
        prediction.crop is not None and box[axis].start <= index < box[axis].stop
        for axis, propagated in structure.by_axis.items()
        for index, prediction in propagated.predictions.items()
    )
