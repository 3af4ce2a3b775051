"""One mask from propagations across several planes.

Propagations across the other two planes remove steps between slices; where they disagree with the first one the mask is
uncertain. Probabilities are averaged, and prompted slices keep their own prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.engine.segmenter import SlicePrediction, SliceSegmenter
from medsam_planner.progress import Progress, track
from medsam_planner.propagation.front import StopRules
from medsam_planner.propagation.methods import method_for
from medsam_planner.propagation.volume import PropagatedVolume
from medsam_planner.provenance import PropagationTrace, SliceRecord, SliceRole

__all__ = ["consensus_propagation", "fuse_probabilities"]

_MIN_PIXELS = 4
"""Cross-sections with fewer pixels are not used as prompts."""


def consensus_propagation(
    segmenter: SliceSegmenter, probability: NDArray[np.float32], axis: int, *, progress: Progress | None = None
) -> PropagatedVolume:
    """Predict every slice across `axis` that a mask crosses, prompted with the mask's cross-section.

    Parameters
    ----------
    segmenter : SliceSegmenter
        The study under the model.
    probability : (K, J, I) float32
        Of the propagation across the prompted plane.
    axis : int
        Another array axis.
    progress : Progress, optional
        Told the slices; may cancel.

    Returns
    -------
    PropagatedVolume
        Slices that the mask does not cross are absent.
    """
    across = np.moveaxis(probability, axis, 0)
    crossed = np.flatnonzero((across > 0.5).sum(axis=(1, 2)) >= _MIN_PIXELS)
    method = method_for(segmenter, axis, StopRules())
    predictions: dict[int, SlicePrediction] = {}
    records: list[SliceRecord] = []
    for index in track(crossed.tolist(), f"consensus across axis {axis}", progress):
        predictions[index] = prediction = method.section(index, across)
        pixel = segmenter.slice_spacing_mm(axis)
        mask, before = prediction.mask(), across[index] > 0.5
        records.append(
            SliceRecord(
                index=index,
                role=SliceRole.PROPAGATED,
                source_index=None,
                overlap=float((mask & before).sum()) / max(float(mask.sum()), 1.0),
                area_mm2=float(mask.sum()) * pixel[0] * pixel[1],
                centroid_drift_mm=None,
                quality=prediction.quality,
                entropy_bits=prediction.entropy_bits(),
            )
        )
    return PropagatedVolume(predictions, PropagationTrace(axis, tuple(records)))


def fuse_probabilities(
    by_axis: Mapping[int, NDArray[Any]],
    kept: Iterable[tuple[int, Sequence[int]]],
    first_index: Sequence[int] = (0, 0, 0),
) -> NDArray[Any]:
    """Mean of propagations; some slices keep the probabilities of the propagation across their own axis.

    Parameters
    ----------
    by_axis : axis to (..., k, j, i) float
        Probabilities of each propagation.
    kept : iterable of (axis, slice indices)
        Indices on the whole study. Where slices of two axes cross, the later entry counts.
    first_index : (3,) int
        Voxel of the study at which the arrays begin.

    Returns
    -------
    (..., k, j, i) float
        Of the same dtype.
    """
    arrays = list(by_axis.values())
    if len(arrays) == 1:
        return arrays[0]
    fused = np.mean(np.stack(arrays), axis=0, dtype=np.float32).astype(arrays[0].dtype)
    for axis, indices in kept:
        target, source = np.moveaxis(fused, axis - 3, 0), np.moveaxis(by_axis[axis], axis - 3, 0)
        rows = [index - first_index[axis] for index in indices if 0 <= index - first_index[axis] < len(target)]
        target[rows] = source[rows]
    return fused
