"""A picture as the page's template draws it: a grey raster, translucent layers above it, then lines and letters."""

from __future__ import annotations

from dataclasses import dataclass

from medsam_planner.drawing.camera import EdgeLetters

__all__ = ["Circle", "DepthMark", "Layer", "Marker", "Panel", "ScaleBar", "Stroke"]


@dataclass(frozen=True, slots=True)
class Layer:
    """A raster laid over the grey slice; `key` names the switch that shows it."""

    key: str
    uri: str
    warning: str = ""
    """Written across the picture while the layer shows."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line; `kind` names its style: ``mask``, ``margin``, ``least-clearance``, ``tool``, or a part of the tool."""

    kind: str
    path: str
    colour: str = ""
    name: str = ""
    width: float = 0.0
    """In pixels of the picture; 0 leaves it to the style sheet."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A named point; `kind` is ``"entry"``, ``"target"`` or ``"limiting"``."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Circle:
    """A circle; `kind` is ``"tool-section"``, ``"tool-error"`` or ``"certified"``."""

    kind: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class DepthMark:
    """A depth along the tool, written beside it."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, slots=True)
class ScaleBar:
    """A bar of `length` picture pixels."""

    length: float
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A finished picture. Coordinates are picture pixels, (0, 0) its top left corner."""

    title: str
    note: str
    columns: int
    rows: int
    grey: str
    layers: tuple[Layer, ...]
    strokes: tuple[Stroke, ...]
    markers: tuple[Marker, ...]
    circles: tuple[Circle, ...]
    letters: EdgeLetters
    bar: ScaleBar
    unit: float
    """Picture pixels that one pixel of the page shows, so that letters look the same size in every picture."""
    depth_marks: tuple[DepthMark, ...] = ()
    is_highlighted: bool = False

    @property
    def caption(self) -> str:
        """Title and note in one line."""
        return " · ".join(text for text in (self.title, self.note) if text)
