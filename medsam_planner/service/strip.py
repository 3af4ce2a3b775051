"""The strip beside the slice slider: what is known of the active structure on every slice of one plane."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.geometry import axis_letters
from medsam_planner.provenance import PropagationTrace, SliceRole, StopReason
from medsam_planner.segmentation.result import SegmentationResult
from medsam_planner.service.display import SIDE_NAMES, Plane, SliceDisplay
from medsam_planner.service.known_spread import why_unknown
from medsam_planner.service.slice_layers import maps
from medsam_planner.service.slice_view import colour_stops
from medsam_planner.service.structure import Structure
from medsam_planner.service.workbench import Workbench
from prompts.masks import mask_box
from xai.surface import surface_voxels

__all__ = ["spread_by_slice", "strip"]

_PERCENTILE = 95
"""Of the boundary spread on the surface of a slice, as the table of the result states it."""
_NO_END = (None, StopReason.MET)


def strip(workbench: Workbench, plane: Plane) -> dict[str, Any]:
    """The strip of the active structure as plain JSON values; slices counted from 0.

    Parameters
    ----------
    workbench : Workbench
    plane : Plane

    Returns
    -------
    dict
        ``prompted`` slices; ``filled``, the runs of slices with a mask; ``spread_mm`` of every slice, None where it is
        not known, and why the passes do not tell it in ``unknown``; ``quality``, the predicted IoU by slice; ``ends``,
        where and why propagation stopped; ``scale`` of the colours.

    Raises
    ------
    StudyError
        If no study is open.
    """
    workbench.require_work()
    now = workbench.snapshot
    display, structure = now.displays[plane], now.structure
    count = display.slice_count
    known: dict[str, Any] = {
        "plane": plane.value,
        "count": count,
        "version": now.version,
        "structure": now.active,
        "prompted": [] if structure is None else sorted(structure.previews.get(display.axis, {})),
        "is_stale": structure is not None and structure.is_stale,
        "filled": [],
        "spread_mm": [None] * count,
        "quality": {},
        "ends": [],
        "scale": None,
        "unknown": "",
    }
    result = None if structure is None else structure.result
    return known if structure is None or result is None else known | _of_result(structure, result, display)


def _of_result(structure: Structure, result: SegmentationResult, display: SliceDisplay) -> dict[str, Any]:
    inside = np.asarray(result.mask.array, dtype=bool)
    box = mask_box(inside)
    across = box[display.axis]
    filled = np.zeros(display.slice_count, dtype=bool)
    others = tuple(other for other in range(3) if other != display.axis)
    filled[across] = inside[box].any(axis=others)
    told: dict[str, Any] = {"filled": _runs(filled)}
    if result.trace.axis == display.axis:
        letters = axis_letters(result.mask.affine)[display.axis]
        told["quality"] = {one.index: one.quality for one in result.trace.records if one.quality is not None}
        told["ends"] = _ends(result.trace, letters)
    if result.boundary_spread_mm is None:
        return told
    unknown = why_unknown(result)
    if unknown is not None:
        told["unknown"] = f"the mask {unknown}"
    else:
        spread = spread_by_slice(result.boundary_spread_mm.array, inside, display.axis)
        told["spread_mm"] = [None if np.isnan(value) else round(float(value), 2) for value in spread]
        (shown,) = (one for one in maps(structure) if one.key == "boundary_spread_mm")
        told["scale"] = {"low": shown.low, "high": shown.high, "stops": colour_stops(shown.colormap)}
    return told


def spread_by_slice(spread_mm: NDArray[np.floating[Any]], inside: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """The 95th percentile of the boundary spread on the surface of each slice.

    Parameters
    ----------
    spread_mm : (K, J, I) float
    inside : (K, J, I) bool
        The mask.
    axis : int
        Array axis across which the slices lie.

    Returns
    -------
    (N,) float
        In mm; NaN for slices without a mask.
    """
    found = np.full(inside.shape[axis], np.nan)
    box = mask_box(inside, grown=1)
    surface = np.moveaxis(surface_voxels(inside[box]), axis, 0)
    values = np.moveaxis(spread_mm[box], axis, 0)
    for number, (on_slice, of_slice) in enumerate(zip(surface, values, strict=True), start=box[axis].start):
        if on_slice.any():
            found[number] = np.percentile(of_slice[on_slice], _PERCENTILE)
    return found


def _ends(trace: PropagationTrace, letters: tuple[str, str]) -> list[dict[str, Any]]:
    anchors = trace.anchors()
    ends = []
    for record in trace.records:
        if record.stop in _NO_END or record.stop is None or not anchors:
            continue
        side = 0 if record.index <= anchors[0] else 1
        is_between = anchors[0] < record.index < anchors[-1]
        towards = "between two prompted slices" if is_between else f"towards the {SIDE_NAMES[letters[side]]}"
        is_empty = record.role is SliceRole.STOPPED
        ends.append(
            {"index": record.index, "side": side, "is_empty": is_empty, "words": f"{towards}: {record.stop.value}"}
        )
    return ends


def _runs(filled: NDArray[np.bool_]) -> list[list[int]]:
    """First and last slice of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], filled, [False]]).astype(np.int8)))
    return [[int(first), int(after) - 1] for first, after in edges.reshape(-1, 2)]
