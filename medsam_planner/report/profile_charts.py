"""Line charts of a report as PNG: clearance along the path, and what propagation did slice by slice.

Figures are built on matplotlib's object interface with the Agg canvas, so that nothing global changes and a service may
draw in several threads; the PNG carries no date and no version.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.formatting import slice_number
from medsam_planner.drawing.pictures import png_uri
from medsam_planner.planning.crossings import Crossing, CrossingKind, ValueProfile
from medsam_planner.provenance import PropagationTrace, SliceRecord, SliceRole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["ClearanceCurve", "clearance_chart", "trace_chart", "value_chart"]

_DPI = 130
_INK = "#1f2933"
_MUTED = "#7b8794"
_DANGER = "#c62828"
_CROSSING_COLOURS = {CrossingKind.BONE: "#ef6c00", CrossingKind.AIR: "#0277bd", CrossingKind.OUTSIDE: "#9e9e9e"}


@dataclass(frozen=True, slots=True, eq=False)
class ClearanceCurve:
    """Clearance of the tool from one widened structure along the path."""

    name: str
    colour: str
    depth_mm: NDArray[np.float64]
    clearance_mm: NDArray[np.float64]
    """Infinite where the structure does not count, as a corridor before its free entry; drawn as a gap."""

    @property
    def finite_mm(self) -> NDArray[np.float64]:
        """The places that count."""
        finite: NDArray[np.float64] = self.clearance_mm[np.isfinite(self.clearance_mm)]
        return finite


def clearance_chart(
    curves: Sequence[ClearanceCurve], *, certified_mm: float, limiting_depth_mm: float | None, limiting: str
) -> str:
    """Draw the clearance from each structure against the depth, as a PNG data URI.

    Zero is where the tool, thickened by its error, touches the widened structure.
    """
    figure, (axes,) = _figure(1, height=3.4)
    length = max(float(curve.depth_mm.max()) for curve in curves)
    lowest = min(0.0, certified_mm, *(float(curve.finite_mm.min(initial=np.inf)) for curve in curves))
    # What is far away does not matter: the scale is spent on what is near.
    highest = max(
        1.0, min(max(10.0, certified_mm + 5.0), max(float(curve.finite_mm.max(initial=0.0)) for curve in curves) + 1.0)
    )
    axes.axhspan(lowest - 1.0, 0.0, color=_DANGER, alpha=0.10, linewidth=0)
    axes.axhline(0.0, color=_DANGER, linewidth=1.4)
    axes.text(0.0, 0.0, "  0 mm: the tool with its error touches the margin", color=_DANGER, fontsize=8, va="bottom")
    for curve in curves:
        is_off = float(curve.finite_mm.min(initial=np.inf)) > highest
        label = f"{curve.name} (over {highest:.0f} mm)" if is_off else curve.name
        shown = np.where(np.isfinite(curve.clearance_mm), curve.clearance_mm, np.nan)
        axes.plot(curve.depth_mm, shown, color=_darker(curve.colour), linewidth=1.9, label=label)
    axes.axhline(
        certified_mm, color=_INK, linewidth=1.1, linestyle=(0, (5, 3)), label=f"certified {certified_mm:.1f} mm"
    )
    if limiting_depth_mm is not None:
        axes.axvline(limiting_depth_mm, color=_MUTED, linewidth=1.0, linestyle=":", label=f"tightest: {limiting}")
    axes.set_xlim(0.0, length)
    axes.set_ylim(lowest - 1.0, highest)
    axes.set_xlabel("depth from the entry (left) to the target (right), mm")
    axes.set_ylabel("clearance, mm")
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False, fontsize=8.5)
    return _png(figure)


def value_chart(profile: ValueProfile, crossings: Sequence[Crossing], *, bone_above: float | None) -> str:
    """Draw the image's values along the path, with bone, air and outside marked, as a PNG data URI.

    Parameters
    ----------
    profile : ValueProfile
    crossings : sequence of Crossing
    bone_above : float, optional
        What counts as bone from there on; None where the values cannot tell.
    """
    from matplotlib.patches import Patch

    figure, (axes,) = _figure(1, height=2.6)
    for one in crossings:
        axes.axvspan(one.from_mm, one.to_mm, color=_CROSSING_COLOURS[one.kind], alpha=0.28, linewidth=0)
    (line,) = axes.plot(profile.distance_mm, profile.value, color=_INK, linewidth=1.5, label="on the axis")
    handles: list[Any] = [line]
    if bone_above is not None:
        label = f"bone from {bone_above:.0f} HU"
        handles.append(axes.axhline(bone_above, color="#ef6c00", linewidth=1.0, linestyle=":", label=label))
    for kind in dict.fromkeys(one.kind for one in crossings):
        total = sum(one.length_mm for one in crossings if one.kind is kind)
        handles.append(Patch(color=_CROSSING_COLOURS[kind], alpha=0.28, label=f"{kind.value}: {total:.1f} mm"))
    axes.set_xlim(0.0, float(profile.distance_mm[-1]))
    axes.set_xlabel("depth from the entry (left) to the target (right), mm")
    axes.set_ylabel(profile.unit)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False, fontsize=8.5)
    return _png(figure)


def trace_chart(trace: PropagationTrace, ends: tuple[str, str]) -> str:
    """Draw area, overlap and quality of each visited slice, with anchors and stops, as a PNG data URI.

    Parameters
    ----------
    trace : PropagationTrace
        Not empty.
    ends : (str, str)
        Patient directions at the low and the high end of the axis.
    """
    figure, (area, overlap, quality) = _figure(3, height=5.2)
    kept = [record for record in trace.records if record.role is not SliceRole.STOPPED]
    _line(area, kept, [record.area_mm2 for record in kept], "#1565c0")
    _line(
        overlap,
        [r for r in kept if r.overlap is not None],
        [r.overlap for r in kept if r.overlap is not None],
        "#1565c0",
    )
    rated = [record for record in kept if record.quality is not None]
    _line(
        quality,
        rated,
        [record.quality for record in rated if record.quality is not None],
        "#1565c0",
        label="predicted IoU",
    )
    _line(quality, kept, [record.entropy_bits for record in kept], "#ef6c00", label="entropy, bit")
    for axes in (area, overlap, quality):
        for index in trace.anchors():
            axes.axvline(slice_number(index), color="#2e7d32", linewidth=1.3)
    for record in trace.records:
        if record.role is SliceRole.STOPPED:
            for axes in (area, overlap, quality):
                axes.axvline(slice_number(record.index), color=_DANGER, linewidth=1.0, linestyle=":")
    area.set_ylabel("area, mm²")
    area.set_ylim(bottom=0)
    overlap.set_ylabel("overlap with source slice")
    overlap.set_ylim(0, 1.05)
    quality.set_ylabel("IoU, entropy")
    quality.set_ylim(0, 1.05)
    quality.set_xlabel(f"slice ({ends[0]} → {ends[1]})")
    quality.legend(loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False, fontsize=8.5)
    _key(area, has_refused=any(record.role is SliceRole.STOPPED for record in trace.records))
    return _png(figure)


def _key(axes: Axes, *, has_refused: bool) -> None:
    from matplotlib.lines import Line2D

    handles: list[Any] = [Line2D([], [], color="#2e7d32", linewidth=1.3, label="prompted slice")]
    if has_refused:
        handles.append(Line2D([], [], color=_DANGER, linewidth=1.0, linestyle=":", label="refused: a stop rule fired"))
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1.0), frameon=False, fontsize=8.5)


def _line(axes: Axes, records: Sequence[SliceRecord], values: Sequence[float], colour: str, label: str = "") -> None:
    # A line is broken where slices are missing, so that it does not lead through what was refused.
    at = np.array([slice_number(record.index) for record in records], dtype=np.float64)
    breaks = np.flatnonzero(np.diff(at) > 1) + 1
    indices, shown = np.insert(at, breaks, np.nan), np.insert(np.array(values, dtype=np.float64), breaks, np.nan)
    axes.plot(indices, shown, color=colour, linewidth=1.4, marker="o", markersize=3, label=label or None)


def _figure(rows: int, *, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.2, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, 1, sharex=True, squeeze=False)
    axes = [row[0] for row in grid]
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="#e4e7eb", linewidth=0.7)
        one.tick_params(labelsize=8.5, colors=_INK)
        one.xaxis.label.set_size(9)
        one.yaxis.label.set_size(9)
        if rows > 1:
            one.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, axes


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return png_uri(buffer.getvalue())


def _darker(colour: str) -> str:
    """The same hue for lines on white: the palette is made for grey slices."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(part * 0.72):02x}" for part in (red, green, blue))
