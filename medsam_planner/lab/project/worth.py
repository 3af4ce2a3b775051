"""What the order of studies is made from: features of the encoder, and the uncertainty around a mask's surface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medsam_planner.engine.protocol import Crop, PromptableModel
from medsam_planner.engine.zoom import extract
from medsam_planner.errors import EmptyStructureError
from medsam_planner.geometry import acquisition_axis, lps_from_index, slice_across
from medsam_planner.io.intensity import normalisation_for
from medsam_planner.segmentation.session import Session
from prompts import Box, Prompt
from prompts.masks import mask_box

__all__ = ["band_uncertainty_bits", "box_like", "study_features"]

_AT = (0.3, 0.5, 0.7)
"""Where the slices lie that stand for a study, as shares of its extent."""
_SAMPLES = 8
_BAND_VOXELS = 2


def study_features(volume: highdicom.Volume, model: PromptableModel) -> NDArray[np.float64]:
    """(F,) features of unit length: mean and spread of the encoder's maps on three whole slices."""
    axis = acquisition_axis(volume.affine)
    normalisation = normalisation_for(volume, None, model.default_window)
    count = volume.spatial_shape[axis]
    images = []
    for share in _AT:
        image = normalisation.apply(slice_across(volume.array, axis, round(share * (count - 1))))
        height, width = image.shape
        side = float(max(height, width))
        images.append(extract(image, Crop(((height - 1) / 2, (width - 1) / 2), (side, side), model.size)))
    embedding: Any = model.encode(np.stack(images))
    maps = embedding[2:] if isinstance(embedding, list | tuple) else [embedding]
    parts = [part for one in maps for part in (one.mean((2, 3)), one.std((2, 3)))]
    found = np.concatenate([np.asarray(part.float().mean(0).numpy(), dtype=np.float64) for part in parts])
    return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12))


def band_uncertainty_bits(
    volume: highdicom.Volume, model: PromptableModel, prompts: Sequence[Prompt], *, seed: int = 0
) -> float | None:
    """Mean predictive entropy within two voxels of the predicted surface; None where nothing is found."""
    session = Session(volume, model, seed=seed)
    for prompt in prompts:
        session.add(prompt)
    try:
        result = session.segment(samples=_SAMPLES)
    except EmptyStructureError:
        return None
    mask = np.asarray(result.mask.array, dtype=bool)
    if result.uncertainty is None or not mask.any():
        return None
    box = mask_box(mask, grown=_BAND_VOXELS + 1)
    inside = mask[box]
    band = ndimage.binary_dilation(inside, iterations=_BAND_VOXELS) & ~ndimage.binary_erosion(
        inside, iterations=_BAND_VOXELS, border_value=1
    )
    return float(np.asarray(result.uncertainty.array)[box][band].mean())


def box_like(masks: Sequence[NDArray[np.bool_]], volume: highdicom.Volume) -> Box | None:
    """A 2D box where the structure lies in other studies, as shares of their extent: a guess where there is no prompt.

    Parameters
    ----------
    masks : sequence of (K, J, I) bool
        Of studies that are done.
    volume : highdicom.Volume
        The study that gets the box.
    """
    spans = []
    for mask in masks:
        if mask.any():
            box = mask_box(mask)
            sides = np.array(mask.shape)
            spans.append([[part.start for part in box] / sides, [part.stop for part in box] / sides])
    if not spans:
        return None
    low, high = np.median(np.array(spans), axis=0) * np.array(volume.spatial_shape)
    axis = acquisition_axis(volume.affine)
    low[axis] = high[axis] = round(float(low[axis] + high[axis] - 1) / 2)
    last = np.array(volume.spatial_shape) - 1
    return Box(
        lps_from_index(volume.affine, np.clip(low, 0, last)), lps_from_index(volume.affine, np.clip(high, 0, last))
    )
