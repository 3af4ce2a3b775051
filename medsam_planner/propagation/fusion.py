"""One mask from passes across several planes.

A pass along the other two planes removes slice-to-slice steps, and where it disagrees with the first one nobody should
be certain. Probabilities are averaged; slices the person prompted keep their own answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""A cross-section of fewer pixels tells a decoder nothing about the shape."""


def consensus_propagation(
    segmenter: SliceSegmenter, probability: NDArray[np.float32], axis: int, *, progress: Progress | None = None
) -> PropagatedVolume:
    """Ask every slice across `axis` that the mask crosses, with the mask's own cross-section as the prompt.

    Parameters
    ----------
    segmenter : SliceSegmenter
    probability : (K, J, I) float32
        Of the pass across the prompted plane.
    axis : int
        Another array axis.

    Returns
    -------
    PropagatedVolume
        Slices the mask does not cross hold nothing.
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
    passes: Mapping[int, NDArray[Any]], anchors: Mapping[int, Sequence[int]], first_index: Sequence[int] = (0, 0, 0)
) -> NDArray[Any]:
    """Mean of the passes, with each prompted slice as its own pass answered it.

    Parameters
    ----------
    passes : axis to (..., k, j, i) float
    anchors : axis to indices of prompted slices
    first_index : (3,) int
        Voxel of the study at which the arrays begin.

    Returns
    -------
    (..., k, j, i) float
        Of the dtype that came in.
    """
    arrays = list(passes.values())
    if len(arrays) == 1:
        return arrays[0]
    fused = np.mean(np.stack(arrays), axis=0, dtype=np.float32).astype(arrays[0].dtype)
    for axis, indices in anchors.items():
        target, source = np.moveaxis(fused, axis - 3, 0), np.moveaxis(passes[axis], axis - 3, 0)
        rows = [index - first_index[axis] for index in indices if 0 <= index - first_index[axis] < len(target)]
        target[rows] = source[rows]
    return fused
