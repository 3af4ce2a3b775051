"""Rows of the report's tables, as text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.drawing.formatting import number, percent, place, slice_number
from medsam_planner.geometry import acquisition_axis, axis_letters, index_from_lps, volume_ml
from medsam_planner.provenance import PropagationTrace, SliceRole, StopReason
from medsam_planner.report.model import PlanReport
from medsam_planner.report.plan_scene import Scene
from prompts import Box, Click, Edit, InitialMask, Prompt, PromptLog, box_extent

__all__ = ["plane_name", "prompt_row", "prompt_rows", "stop_rows", "structure_rows", "trace_rows"]

_PLANES = {"LR": "sagittal", "AP": "coronal", "IS": "axial"}


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One prompt as shown."""

    order: int
    kind: str
    sign: str
    coordinates: str
    slice: str


@dataclass(frozen=True, slots=True)
class StructureRow:
    """One structure as shown; numbers as text."""

    name: str
    colour: str
    role: str
    volume_ml: str
    margin_mm: str
    clearance_mm: str
    hit: str
    true_mm: str
    flaws: str
    """Flaws of the mask, which make margin and clearance unreliable; empty where there are none."""


def structure_rows(report: PlanReport, scene: Scene) -> list[StructureRow]:
    """Role, volume, margin, clearance and hit probability of each structure, for the best path."""
    best = report.plan.alternatives[0] if report.plan.alternatives else None
    clearance_mm = {} if best is None else best.clearance_mm_by_structure
    hits = {} if best is None else best.hit_probability_by_structure
    true_mm = report.true_clearance_mm or {}
    rows = []
    for style in scene.structures:
        mask = report.mask(style.name)
        margin = "–"
        if style.widened is not None:
            low, high = style.widened.margin_range_mm
            margin = number(low) if high - low < 0.05 else f"{number(low)} to {number(high)}"
        rows.append(
            StructureRow(
                name=style.name,
                colour=style.colour,
                role="" if style.role is None else style.role.value,
                volume_ml=number(None if mask is None else volume_ml(mask.array, mask.affine)),
                margin_mm=margin,
                clearance_mm=number(clearance_mm.get(style.name)),
                hit=percent(hits[style.name]) if style.name in hits else "–",
                true_mm=number(true_mm.get(style.name)),
                flaws=", ".join(flaw.text for flaw in report.flaws.get(style.name, ())),
            )
        )
    return rows


_COUNTED_STOPS = {
    StopReason.NOT_HERE: (
        "1 slice was left empty next to a slice that a prompt marks as empty.",
        "{} slices were left empty next to slices that a prompt marks as empty.",
    ),
    StopReason.MET: (
        "The propagations from two prompted slices met at 1 slice.",
        "The propagations from two prompted slices met at {} slices.",
    ),
}
"""Sentences for one and for several."""


def stop_rows(trace: PropagationTrace) -> list[str]:
    """Sentences: where propagation stopped and why, in slice order; slices by hand; how often prompts stopped it."""
    stops = [
        f"slice {slice_number(record.index)}: {record.stop.value}"
        for record in trace.records
        if record.stop is not None and record.stop not in _COUNTED_STOPS
    ]
    rows = [f"Stopped at {'; '.join(stops)}."] if stops else []
    if given := sum(record.role is SliceRole.GIVEN for record in trace.records):
        rows.append(f"{given} slices with a mask by hand; all stochastic passes keep them, so their spread is 0.")
    for reason, (one, several) in _COUNTED_STOPS.items():
        count = sum(record.stop is reason for record in trace.records)
        rows += [one if count == 1 else several.format(count)] if count else []
    return rows


def prompt_rows(log: PromptLog, affine: ArrayLike, shape: tuple[int, ...]) -> list[PromptRow]:
    """Prompts in the order given, with LPS coordinates and the slice they lie on."""
    matrix = np.asarray(affine, dtype=np.float64)
    return [prompt_row(order, prompt, matrix, shape) for order, prompt in enumerate(log.prompts, start=1)]


def prompt_row(order: int, prompt: Prompt, affine: NDArray[np.float64], shape: tuple[int, ...]) -> PromptRow:
    """One prompt, which came as the given one, from 1."""
    if isinstance(prompt, Box):
        extent = box_extent(prompt, affine, shape)
        kind = "3D box" if extent.axis is None else "2D box"
        coordinates = f"{place(prompt.corner_lps_mm)} to {place(prompt.opposite_lps_mm)}"
        if extent.axis is None:
            axis = acquisition_axis(affine)
            first, last = extent.index_range[axis]
            where = f"{plane_name(affine, axis)} {slice_number(first)} to {slice_number(last)}"
        else:
            where = f"{plane_name(affine, extent.axis)} {slice_number(extent.low_index[extent.axis])}"
        return PromptRow(order, kind, "structure", coordinates, where)
    axis = acquisition_axis(affine)
    if isinstance(prompt, InitialMask | Edit):
        where = _slices_text(affine, axis, *prompt.mask.index_range(affine, shape)[axis].tolist())
        count = f"{prompt.mask.voxel_count} voxels"
        if isinstance(prompt, InitialMask):
            return PromptRow(order, "initial mask", "structure", count, where)
        return PromptRow(order, "edit", "structure" if prompt.positive else "background", count, where)
    sign = "structure" if prompt.positive else "background"
    positions = np.atleast_2d(prompt.position_lps_mm if isinstance(prompt, Click) else prompt.positions_lps_mm)
    slices = np.round(index_from_lps(affine, positions)[:, axis]).astype(int)
    where = _slices_text(affine, axis, int(slices.min()), int(slices.max()))
    if isinstance(prompt, Click):
        return PromptRow(order, "click", sign, place(prompt.position_lps_mm), where)
    coordinates = f"{len(positions)} points, {place(positions[0])} to {place(positions[-1])}"
    return PromptRow(order, "scribble", sign, coordinates, where)


def _slices_text(affine: NDArray[np.float64], axis: int, first: int, last: int) -> str:
    more = f" to {slice_number(last)}" if last > first else ""
    return f"{plane_name(affine, axis)} {slice_number(first)}{more}"


def plane_name(affine: NDArray[np.float64], axis: int) -> str:
    """Name of the slices across an array axis, such as ``"axial slice"``."""
    pair = "".join(sorted(axis_letters(affine)[axis]))
    return f"{_PLANES[pair]} slice"


def trace_rows(trace: PropagationTrace) -> list[tuple[str, ...]]:
    """Slice number, role, source, overlap, area, drift, quality, entropy and stop reason of each record, as text."""
    return [
        (
            str(slice_number(record.index)),
            record.role.value,
            "–" if record.source_index is None else str(slice_number(record.source_index)),
            number(record.overlap, 2),
            number(record.area_mm2, 0),
            number(record.centroid_drift_mm, 1),
            number(record.quality, 2),
            number(record.entropy_bits, 2),
            "" if record.stop is None else record.stop.value,
        )
        for record in trace.records
    ]
