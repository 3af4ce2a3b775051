"""A picture of the page as a raster, for files that hold no vector graphics: PDF and Secondary Capture.

The colours and dashes are those of ``page.css``.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.panel import Circle, Marker, Panel, Stroke

if TYPE_CHECKING:
    from PIL import Image, ImageDraw
    from PIL.ImageFont import FreeTypeFont

__all__ = ["font", "panel_image"]

_STYLES: dict[str, tuple[str, float, tuple[float, float] | None]] = {
    "mask": ("", 1.7, None),
    "margin": ("", 1.4, (5, 3)),
    "tool": ("#ffffff", 1.3, None),
    "tool-behind": ("#ffffff", 1.0, (2, 4)),
    "other": ("#8cafff", 1.3, None),
    "other-behind": ("#8cafff", 1.0, (2, 4)),
    "least-clearance": ("#ff2d78", 1.4, (3, 2)),
    "tool-error": ("#6ecbff", 1.2, (4, 3)),
    "certified": ("#7dffb0", 1.4, (2, 3)),
    "tool-section": ("#ffffff", 1.3, None),
}
"""Colour (the stroke's own where empty), width in pixels of the page, and dash."""
_WIDE = {"tool-width": (0xBF, 0xEF, 0xFF, 89), "other-width": (0x8C, 0xAF, 0xFF, 115)}
"""Translucent bodies of tools, true to scale."""
_LETTER, _INK = "#ffe66d", "#ffffff"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def panel_image(panel: Panel, scale: float = 2.0, *, layers: tuple[str, ...] = ("widened",)) -> Image.Image:
    """Draw a picture.

    Parameters
    ----------
    panel : Panel
    scale : float
        Pixels for each pixel of the picture.
    layers
        Keys of the layers to lay over it.

    Returns
    -------
    PIL.Image.Image
        RGB, `scale` times as large as the picture.
    """
    from PIL import Image, ImageDraw

    size = (round(panel.columns * scale), round(panel.rows * scale))
    picture = _decoded(panel.grey).convert("RGBA").resize(size, Image.Resampling.BICUBIC)
    for layer in panel.layers:
        if layer.key in layers:
            picture.alpha_composite(_decoded(layer.uri).convert("RGBA").resize(size, Image.Resampling.BILINEAR))
    for stroke in panel.strokes:
        if stroke.kind in _WIDE:
            above = Image.new("RGBA", size)
            for points, _ in _lines(stroke.path, scale):
                ImageDraw.Draw(above).line(points, fill=_WIDE[stroke.kind], width=max(1, round(stroke.width * scale)))
            picture.alpha_composite(above)
    draw = ImageDraw.Draw(picture)
    pen = panel.unit * scale
    for stroke in panel.strokes:
        _stroke(draw, stroke, scale, pen)
    for circle in panel.circles:
        _circle(draw, circle, scale, pen)
    for marker in panel.markers:
        _marker(draw, marker, scale, pen)
    _letters(draw, panel, scale, pen)
    return picture.convert("RGB")


@cache
def font(size: int) -> FreeTypeFont:
    """DejaVu Sans, which comes with Matplotlib: Latin, Greek and Cyrillic on every machine."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf", max(size, 6))


def _decoded(uri: str) -> Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def _lines(path: str, scale: float) -> Iterator[tuple[list[tuple[float, float]], bool]]:
    """Polylines of an SVG path of M, L and Z, each with whether it is closed."""
    for part in path.split("M")[1:]:
        values = [float(number) * scale for number in _NUMBER.findall(part)]
        points = list(zip(values[::2], values[1::2], strict=True))
        is_closed = part.rstrip().endswith("Z")
        yield (points + points[:1] if is_closed else points), is_closed


def _stroke(draw: ImageDraw.ImageDraw, stroke: Stroke, scale: float, pen: float) -> None:
    if stroke.kind not in _STYLES:
        return
    colour, width, dash = _STYLES[stroke.kind]
    for points, _ in _lines(stroke.path, scale):
        if stroke.kind in ("mask", "margin"):
            draw.line(points, fill=(0, 0, 0, 140), width=max(1, round((width + 1.3) * pen)), joint="curve")
        for piece in _dashed(points, None if dash is None else (dash[0] * pen, dash[1] * pen)):
            draw.line(piece, fill=colour or stroke.colour, width=max(1, round(width * pen)), joint="curve")


def _dashed(points: list[tuple[float, float]], dash: tuple[float, float] | None) -> Iterator[list[tuple[float, float]]]:
    """Pieces of a polyline that a dash pattern draws."""
    if dash is None or len(points) < 2:
        yield points
        return
    places = np.array(points)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(places, axis=0), axis=1))])
    for start in np.arange(0.0, along[-1], sum(dash)):
        stop = min(start + dash[0], along[-1])
        inner = places[(along > start) & (along < stop)]
        ends = [_at(places, along, distance) for distance in (start, stop)]
        yield [(float(x), float(y)) for x, y in np.vstack([ends[0], inner, ends[1]])]


def _at(places: NDArray[np.float64], along: NDArray[np.float64], distance: float) -> NDArray[np.float64]:
    return np.array([[np.interp(distance, along, places[:, 0]), np.interp(distance, along, places[:, 1])]])


def _circle(draw: ImageDraw.ImageDraw, circle: Circle, scale: float, pen: float) -> None:
    colour, width, dash = _STYLES[circle.kind]
    turn = np.linspace(0.0, 2 * np.pi, 73)
    points = [
        (float(x), float(y))
        for x, y in zip(
            (circle.x + circle.radius * np.cos(turn)) * scale,
            (circle.y + circle.radius * np.sin(turn)) * scale,
            strict=True,
        )
    ]
    for piece in _dashed(points, None if dash is None else (dash[0] * pen, dash[1] * pen)):
        draw.line(piece, fill=colour, width=max(1, round(width * pen)))


def _marker(draw: ImageDraw.ImageDraw, marker: Marker, scale: float, pen: float) -> None:
    x, y = marker.x * scale, marker.y * scale
    width = max(1, round(2 * pen))
    if marker.kind == "entry":
        draw.polygon([(x, y), (x - 6 * pen, y - 11 * pen), (x + 6 * pen, y - 11 * pen)], fill=_INK, outline="#000000")
    elif marker.kind == "target":
        draw.ellipse([x - 6 * pen, y - 6 * pen, x + 6 * pen, y + 6 * pen], outline=_INK, width=width)
        draw.line([(x, y - 10 * pen), (x, y + 10 * pen)], fill=_INK, width=width)
        draw.line([(x - 10 * pen, y), (x + 10 * pen, y)], fill=_INK, width=width)
    else:
        corners = [(x, y - 8 * pen), (x + 8 * pen, y), (x, y + 8 * pen), (x - 8 * pen, y), (x, y - 8 * pen)]
        draw.line(corners, fill="#ff2d78", width=width, joint="curve")


def _letters(draw: ImageDraw.ImageDraw, panel: Panel, scale: float, pen: float) -> None:
    """Letters of the directions, the scale bar and depths along the tool."""
    wide, high = panel.columns * scale, panel.rows * scale
    for text, place, anchor in (
        (panel.letters.left, (6 * pen, high / 2), "lm"),
        (panel.letters.right, (wide - 6 * pen, high / 2), "rm"),
        (panel.letters.top, (wide / 2, 6 * pen), "ma"),
        (panel.letters.bottom, (wide / 2, high - 6 * pen), "md"),
    ):
        _text(draw, place, text, _LETTER, anchor, 13 * pen)
    left, below = 8 * pen, high - 10 * pen
    bar = [(left, below), (left + panel.bar.length * scale, below)]
    draw.line(bar, fill="#000000", width=max(1, round(5 * pen)))
    draw.line(bar, fill=_INK, width=max(1, round(3 * pen)))
    _text(draw, (left, below - 5 * pen), panel.bar.label, _INK, "ld", 13 * pen)
    for mark in panel.depth_marks:
        x, y = mark.x * scale, mark.y * scale
        draw.line([(x - 5 * pen, y), (x + 5 * pen, y)], fill=_INK, width=max(1, round(1.2 * pen)))
        _text(draw, (x - 9 * pen, y), mark.label, _INK, "rm", 10.5 * pen)


def _text(
    draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: str, anchor: str, size: float
) -> None:
    edge = max(1, round(size / 8))
    draw.text(place, text, fill=colour, font=font(round(size)), anchor=anchor, stroke_width=edge, stroke_fill="#000000")
