"""One slice for display: its stored values, and a JSON document of outlines, overlays, prompts and marks over it.

The client applies the window, scales and draws.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import PromptError
from medsam_planner.geometry import spacing_mm
from medsam_planner.service.display import SliceDisplay
from medsam_planner.service.hand_mask import HandMask
from prompts import Box, Click, Edit, InitialMask, Prompt, Scribble, box_extent

__all__ = [
    "Layers",
    "Mark",
    "MarkKind",
    "Outline",
    "Overlay",
    "OverlayMap",
    "ViewRequest",
    "colour_stops",
    "exact_values",
    "grey_png",
    "outlines",
    "overlay_png",
    "view",
]

Overlay = Literal["outline", "fill", "probability", "uncertainty", "boundary_spread_mm", "saliency"]
"""What lies over the slice: outlines alone, filled masks, or one of the maps of the 3D result."""
MarkKind = Literal["target", "entry", "path"]
_NEAR_MM = 10.0
"""Prompts and marks are drawn faintly on slices up to this distance from their own."""
_MASK_FILL_ALPHA = 0.45


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """Which slice to show, and how."""

    slice_index: int
    overlay: Overlay = "outline"


@dataclass(frozen=True, slots=True, eq=False)
class OverlayMap:
    """A scalar volume that can be shown over the slice in colours."""

    key: Overlay
    label: str
    unit: str
    array: NDArray[np.floating[Any]]
    """(K, J, I)."""
    low: float
    high: float
    colormap: str
    warning: str = ""
    """Text shown across the slice while the map is shown."""


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A structure whose outline is drawn."""

    name: str
    colour: str
    probability: NDArray[np.floating[Any]] | None
    """(K, J, I) of the 3D result; the outline is where it crosses one half."""
    previews: Mapping[int, Mapping[int, NDArray[np.floating[Any]]]]
    """Predicted probability on prompted slices, by array axis and index; in-plane axes in array order."""
    is_active: bool
    is_stale: bool = False
    """Whether prompts changed since the 3D result."""
    hand: HandMask | None = None
    """The mask with the last edits by hand, in place of a 3D result that does not have them yet."""

    def picture(self, display: SliceDisplay, index: int) -> NDArray[Any] | None:
        """(rows, columns) as it is shown, inside above one half; None where there is neither mask nor result."""
        if self.hand is not None and (self.probability is None or self.is_stale):
            return display.upright(self.hand.section(display.axis, index))
        return None if self.probability is None else display.picture(self.probability, index)

    @property
    def is_known(self) -> bool:
        """Whether it is the mask of the present prompts."""
        if self.hand is not None and self.hand.is_exact:
            return True
        return self.probability is not None and not self.is_stale


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A target, an entry region or a trajectory of the plan."""

    kind: MarkKind
    label: str
    positions_lps_mm: NDArray[np.float64]
    """(1, 3) for a target or entry, (2, 3) for a trajectory from entry to target."""
    radius_mm: float = 0.0
    has_caution: bool = False
    """Whether a trajectory is drawn in the warning colour, because the verdict of its plan is not plainly feasible."""


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """Everything drawn over the grey slice."""

    outlines: tuple[Outline, ...] = ()
    maps: tuple[OverlayMap, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    marks: tuple[Mark, ...] = field(default=())


def view(display: SliceDisplay, request: ViewRequest, layers: Layers) -> dict[str, Any]:
    """The JSON document of one view.

    Parameters
    ----------
    display : SliceDisplay
        The plane to show.
    request : ViewRequest
        A slice index outside the volume becomes the nearest one inside.
    layers : Layers
        What is drawn over the slice.
    """
    index = display.within(request.slice_index)
    chosen = next((entry for entry in layers.maps if entry.key == request.overlay), None)
    document: dict[str, Any] = {
        "plane": display.plane.value,
        "index": index,
        "count": display.slice_count,
        "outlines": [drawn for outline in layers.outlines for drawn in _drawn_outline(outline, display, index)],
        "prompts": [drawn for prompt in layers.prompts for drawn in _drawn_prompt(prompt, display, index)],
        "marks": [_drawn_mark(mark, display, index) for mark in layers.marks],
        "overlay": None,
        "bar": None,
    }
    if chosen is not None:
        document["overlay"] = _uri(overlay_png(display.picture(chosen.array, index), chosen))
        document["bar"] = {
            "label": chosen.label,
            "unit": chosen.unit,
            "low": chosen.low,
            "high": chosen.high,
            "stops": colour_stops(chosen.colormap),
            "warning": chosen.warning,
        }
    elif request.overlay == "fill":
        document["overlay"] = _fill_uri(layers.outlines, display, index)
    return document


def exact_values(picture: NDArray[Any]) -> NDArray[Any]:
    """A (rows, columns) slice as little-endian int16 if that holds its values exactly, else as float32."""
    whole = np.clip(picture, -(2**15), 2**15 - 1).astype("<i2")
    return np.ascontiguousarray(whole if np.array_equal(whole, picture) else picture.astype("<f4"))


def grey_png(picture: NDArray[Any], low: float, high: float) -> bytes:
    """Encode a (rows, columns) slice through a display window as 8-bit grey PNG."""
    span = max(float(high) - float(low), 1e-6)
    scaled = np.clip((picture.astype(np.float32) - np.float32(low)) * np.float32(255.0 / span), 0, 255)
    return _png(np.ascontiguousarray(np.rint(scaled).astype(np.uint8)))


def overlay_png(picture: NDArray[Any], scale: OverlayMap) -> bytes:
    """Encode a map in its colours; opacity rises from 0 over the first third of the scale."""
    span = max(scale.high - scale.low, 1e-9)
    share = np.clip((picture.astype(np.float32) - np.float32(scale.low)) / np.float32(span), 0, 1)
    pixels = _colours(scale.colormap)[np.rint(share * 255).astype(np.uint8)]
    pixels[..., 3] = np.rint(255 * np.minimum(share * 3, 1)).astype(np.uint8)
    return _png(pixels)


def outlines(picture: NDArray[Any]) -> list[list[list[float]]]:
    """Closed or open polylines, as (column, row), where a (rows, columns) probability crosses one half."""
    from skimage.measure import find_contours

    rows, columns = np.nonzero(picture > 0.5)
    if not len(rows):
        return []
    low = np.array([max(rows.min() - 2, 0), max(columns.min() - 2, 0)])
    part = picture[low[0] : rows.max() + 3, low[1] : columns.max() + 3].astype(np.float32)
    ringed = np.pad(part, 1)  # closes the outline of a structure that touches the edge of the slice
    found = find_contours(ringed, 0.5)
    return [np.round((line + low - 1)[:, ::-1], 2).tolist() for line in found]


def _drawn_outline(outline: Outline, display: SliceDisplay, index: int) -> Iterable[dict[str, Any]]:
    common = {"name": outline.name, "colour": outline.colour, "active": outline.is_active}
    preview = outline.previews.get(display.axis, {}).get(index)
    if preview is not None and not outline.is_known:
        lines = outlines(display.upright(preview))
        if lines:
            yield {**common, "lines": lines, "preview": True, "stale": False}
        return
    picture = outline.picture(display, index)
    lines = [] if picture is None else outlines(picture)
    if lines:
        yield {**common, "lines": lines, "preview": False, "stale": not outline.is_known}


def _drawn_prompt(prompt: Prompt, display: SliceDisplay, index: int) -> Iterable[dict[str, Any]]:
    step_mm = float(spacing_mm(display.affine)[display.axis])
    if isinstance(prompt, Box):
        try:
            extent = box_extent(prompt, display.affine, display.shape)
        except PromptError:
            return
        corners = display.screen_from_index(np.stack([extent.low, extent.high]))
        low, high = corners.min(axis=0), corners.max(axis=0)
        # A box drawn in another plane is one pixel wide here; half a pixel of border makes it visible.
        gap_mm = max(float(low[2]) - index, index - float(high[2]), 0.0) * step_mm
        if gap_mm <= _NEAR_MM:
            rectangle = [float(low[0]) - 0.5, float(low[1]) - 0.5, float(high[0]) + 0.5, float(high[1]) + 0.5]
            yield {"kind": "box", "rectangle": rectangle, "faint": gap_mm > 0.5 * step_mm}
        return
    if isinstance(prompt, InitialMask | Edit):
        return  # seen in the mask itself
    positions = prompt.positions_lps_mm if isinstance(prompt, Scribble) else (prompt.position_lps_mm,)
    placed = display.screen_from_lps(positions)
    gaps_mm = np.abs(placed[:, 2] - index) * step_mm
    if gaps_mm.min() > _NEAR_MM:
        return
    kind = "click" if isinstance(prompt, Click) else "scribble"
    faint = bool(gaps_mm.min() > 0.5 * step_mm + 1e-6)
    yield {"kind": kind, "points": placed[:, :2].tolist(), "positive": prompt.positive, "faint": faint}


def _drawn_mark(mark: Mark, display: SliceDisplay, index: int) -> dict[str, Any]:
    placed = display.screen_from_lps(mark.positions_lps_mm)
    step_mm = float(spacing_mm(display.affine)[display.axis])
    gaps_mm = (placed[:, 2] - index) * step_mm
    drawn: dict[str, Any] = {"kind": mark.kind, "label": mark.label, "points": placed[:, :2].tolist()}
    if len(placed) == 1:
        gap = float(abs(gaps_mm[0]))
        drawn["radius_mm"] = float(np.sqrt(max(mark.radius_mm**2 - gap**2, 0.0)))
        drawn["faint"] = gap > 0.5 * step_mm + 1e-6
        drawn["hidden"] = gap > max(mark.radius_mm, _NEAR_MM)
        return drawn
    drawn["radius_mm"] = mark.radius_mm
    drawn["has_caution"] = mark.has_caution
    drawn["inside"] = _part_within(gaps_mm, max(mark.radius_mm, 0.5 * step_mm))
    return drawn


def _part_within(ends_mm: ArrayLike, reach_mm: float) -> list[float] | None:
    """Fractions of a trajectory between which it lies within `reach_mm` of the slice; None if it nowhere does."""
    start, end = (float(value) for value in np.asarray(ends_mm))
    if abs(end - start) < 1e-9:
        return [0.0, 1.0] if abs(start) <= reach_mm else None
    low, high = sorted(((-reach_mm - start) / (end - start), (reach_mm - start) / (end - start)))
    low, high = max(low, 0.0), min(high, 1.0)
    return [low, high] if low < high else None


def _fill_uri(shown: Iterable[Outline], display: SliceDisplay, index: int) -> str | None:
    from PIL import ImageColor

    columns, rows = display.size
    pixels = np.zeros((rows, columns, 4), dtype=np.uint8)
    for outline in shown:
        preview = outline.previews.get(display.axis, {}).get(index)
        if preview is not None and not outline.is_known:
            picture: NDArray[Any] | None = display.upright(preview)
        else:
            picture = outline.picture(display, index)
        if picture is None:
            continue
        inside = picture > 0.5
        pixels[inside, :3] = ImageColor.getrgb(outline.colour)[:3]
        pixels[inside, 3] = round(255 * _MASK_FILL_ALPHA)
    return _uri(_png(pixels)) if pixels[..., 3].any() else None


def _colours(colormap: str) -> NDArray[np.uint8]:
    """(256, 4) RGBA."""
    import matplotlib

    return np.asarray(matplotlib.colormaps[colormap](np.arange(256), bytes=True), dtype=np.uint8)


def colour_stops(colormap: str) -> list[str]:
    """Colours of a map from its lowest to its highest value, as CSS."""
    return ["#{:02x}{:02x}{:02x}".format(*colour[:3]) for colour in _colours(colormap)[::17].tolist()]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
