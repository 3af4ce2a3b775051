"""Where the next click would help most: the places of a 3D result where doubt is largest, and why, in words.

With stochastic passes that tell something these are the places of the surface with the largest boundary spread. Passes
repeat no propagation, so where it ended for want of certainty is a place of its own. Otherwise the slice with the
lowest predicted IoU is proposed, or the one farthest from all prompts where the model predicts none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import PromptError
from medsam_planner.geometry import lps_from_index, slice_across, spacing_mm
from medsam_planner.provenance import SliceRecord, SliceRole, StopReason
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.known_spread import why_unknown
from prompts import PositionLpsMm
from xai.doubt import most_doubtful

__all__ = ["NextClick", "next_clicks"]

Why = Literal["spread", "end", "quality", "distance"]
_MOST = 5
_APART_MM = 15.0
_OPEN_ENDS = {
    StopReason.LOW_OVERLAP,
    StopReason.AREA_JUMP,
    StopReason.CENTROID_JUMP,
    StopReason.LOW_QUALITY,
    StopReason.IOU_LOSS,
    StopReason.UNCERTAIN,
}
"""Reasons after which the structure may go on; the others are an end that was found or asked for."""
_ASK = "Click this point if it belongs to the structure, right-click it if it does not."


@dataclass(frozen=True, slots=True)
class NextClick:
    """One proposal."""

    index: tuple[int, int, int]
    """Voxel (k, j, i)."""
    position_lps_mm: PositionLpsMm
    axis: int
    """Array axis across which the slice lies that is to be looked at."""
    why: Why
    value: float | None
    """Spread in mm, predicted IoU or distance in mm; None where propagation ended."""
    words: str


def next_clicks(result: SegmentationResult) -> tuple[NextClick, ...]:
    """Proposals, the one with the largest doubt first.

    Parameters
    ----------
    result : SegmentationResult

    Returns
    -------
    tuple of NextClick
        None where nothing is in doubt.

    Raises
    ------
    PromptError
        If the mask is empty.
    """
    if not result.mask.array.any():
        raise PromptError("The 3D mask is empty. Draw a box around the structure on its middle slice.")
    unknown = why_unknown(result) if result.boundary_spread_mm is not None else "has no stochastic passes yet"
    found = _by_spread(result) if unknown is None else _by_slice(result, unknown)
    return (*found[:1], *_open_ends(result), *found[1:])


def _by_spread(result: SegmentationResult) -> list[NextClick]:
    assert result.boundary_spread_mm is not None
    spread, mask = result.boundary_spread_mm.array, np.asarray(result.mask.array, dtype=bool)
    places = most_doubtful(spread, mask, spacing_mm(result.mask.affine), count=_MOST, apart_mm=_APART_MM)
    proposals: list[NextClick] = []
    for place in places:
        where = f"The surface is least certain here: it varies by about {place.doubt:.1f} mm between the passes"
        if proposals:
            where = f"The surface is uncertain here, too: it varies by about {place.doubt:.1f} mm between the passes"
        words = f"{where}{_share_of_passes(result, place.index)}. {_ASK}"
        proposals.append(_proposal(result, place.index, "spread", place.doubt, words))
    return proposals


def _share_of_passes(result: SegmentationResult, index: tuple[int, ...]) -> str:
    samples = result.mask_samples
    if samples is None:
        return ""
    local = tuple(at - low for at, low in zip(index, samples.boxed.low_index, strict=True))
    if not all(0 <= at < size for at, size in zip(local, samples.masks.shape[1:], strict=True)):
        return ""
    k, j, i = local
    inside = int(np.count_nonzero(samples.masks[:, k, j, i]))
    return f", and {inside} of {len(samples)} put this point inside"


def _open_ends(result: SegmentationResult) -> list[NextClick]:
    """Where propagation ended although the structure may go on: the middle of the last section, one slice farther."""
    trace, mask = result.trace, np.asarray(result.mask.array, dtype=bool)
    proposals = []
    for record in trace.records:
        if record.stop not in _OPEN_ENDS or record.source_index is None or record.stop is None:
            continue
        step = int(np.sign(record.index - record.source_index))
        last = record.index - step if record.role is SliceRole.STOPPED else record.index
        section = slice_across(mask, trace.axis, last)
        beyond = min(max(last + step, 0), mask.shape[trace.axis] - 1)
        if not section.any():
            continue
        index = _in_volume(_middle(section), trace.axis, beyond)
        words = f"The mask ends before this slice, because {record.stop.value}; it may go on. {_ASK}"
        proposals.append(_proposal(result, index, "end", None, words))
    return proposals


def _by_slice(result: SegmentationResult, unknown: str) -> list[NextClick]:
    trace = result.trace
    propagated = [one for one in trace.records if one.role is SliceRole.PROPAGATED and one.area_mm2 > 0]
    step_mm = float(spacing_mm(result.mask.affine)[trace.axis])
    away_mm = {one.index: _away(one, trace.anchors()) * step_mm for one in propagated}
    has_quality = all(one.quality is not None for one in propagated)
    doubt = {one.index: 1 - (one.quality or 0.0) if has_quality else away_mm[one.index] for one in propagated}
    proposals: list[NextClick] = []
    chosen: list[int] = []
    for number in sorted(doubt, key=lambda one: (-doubt[one], -away_mm[one])):
        if len(chosen) == _MOST or any(abs(number - other) * step_mm < _APART_MM for other in chosen):
            continue
        index = _softest(result, number)
        if index is None:
            continue
        distance = f"{away_mm[number]:.0f} mm from the nearest prompted slice"
        if has_quality:
            least = "little, too" if chosen else "the least of all slices"
            expected = f"The model expects {100 - 100 * doubt[number]:.0f} % overlap with your outline here"
            told = f"{expected}, {least}; the slice lies {distance}"
        else:
            told = f"This slice lies {distance}" + ("" if chosen else ", farther than any other")
        why: Why = "quality" if has_quality else "distance"
        value = 1 - doubt[number] if has_quality else away_mm[number]
        proposals.append(_proposal(result, index, why, value, f"{told}. More is not known: the mask {unknown}. {_ASK}"))
        chosen.append(number)
    return proposals


def _away(record: SliceRecord, anchors: Sequence[int]) -> int:
    return min((abs(record.index - one) for one in anchors), default=0)


def _softest(result: SegmentationResult, number: int) -> tuple[int, int, int] | None:
    """The place on the border of one slice where the probability falls most slowly; None without a mask on it."""
    axis = result.trace.axis
    section = np.asarray(slice_across(result.mask.array, axis, number), dtype=bool)
    if not section.any():
        return None
    probability = np.asarray(slice_across(result.probability.array, axis, number), dtype=np.float64)
    spacing = np.delete(spacing_mm(result.mask.affine), axis)
    places = most_doubtful(4 * probability * (1 - probability), section, spacing, count=1)
    at = places[0].index if places else _middle(section)
    return _in_volume((int(at[0]), int(at[1])), axis, number)


def _middle(section: NDArray[np.bool_]) -> tuple[int, int]:
    """The pixel of a section nearest to its centre of mass."""
    pixels = np.argwhere(section)
    row, column = pixels[np.argmin(np.linalg.norm(pixels - pixels.mean(axis=0), axis=1))].tolist()
    return row, column


def _in_volume(pixel: tuple[int, int], axis: int, number: int) -> tuple[int, int, int]:
    k, j, i = (int(one) for one in np.insert(np.array(pixel), axis, number))
    return k, j, i


def _proposal(result: SegmentationResult, index: Sequence[int], why: Why, value: float | None, words: str) -> NextClick:
    k, j, i = (int(one) for one in index)
    x, y, z = lps_from_index(result.mask.affine, np.array([k, j, i])).tolist()
    return NextClick((k, j, i), (x, y, z), result.trace.axis, why, value, words)
