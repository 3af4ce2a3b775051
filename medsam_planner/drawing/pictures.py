"""Arrays to PNG data URIs: grey slices, translucent colour overlays, colour bars. The same array gives the same
bytes."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from medsam_planner.errors import GeometryError

__all__ = ["ColourScale", "colour_bar_uri", "grey_uri", "overlay_uri", "png_uri", "rgb_uri"]

_OUTSIDE_GREY = 28
"""Shown where the volume has no voxels: darker than the page, lighter than air, so that it is not taken for either."""

_OVERLAY_ALPHA = 165
"""Of 255: anatomy stays readable under the strongest colour."""


@dataclass(frozen=True, slots=True)
class ColourScale:
    """How values of an overlay become colours."""

    colormap: str
    """A perceptually uniform matplotlib colormap."""
    low: float
    high: float
    unit: str

    def __post_init__(self) -> None:
        if not self.high > self.low:
            raise GeometryError(f"Expected a colour scale with low below high, got {self.low} and {self.high}.")


def png_uri(encoded: bytes) -> str:
    """Wrap an encoded PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(encoded).decode("ascii")


def grey_uri(values: NDArray[np.float32], window: tuple[float, float]) -> str:
    """Encode a slice through a display window (low, high); NaN becomes a flat dark grey."""
    from PIL import Image

    low, high = window
    if not high > low:
        raise GeometryError(f"Expected a display window (low, high) with high above low, got {window}.")
    scaled = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1)
    grey = np.round(scaled * 255).astype(np.uint8)
    grey[np.isnan(values)] = _OUTSIDE_GREY
    return _encode(Image.fromarray(grey))


def overlay_uri(values: NDArray[np.float32], scale: ColourScale) -> str | None:
    """Encode an overlay as a palette PNG whose opacity grows with the value; None where there is nothing to see."""
    from PIL import Image

    span = np.clip((np.nan_to_num(values, nan=scale.low) - scale.low) / (scale.high - scale.low), 0, 1)
    # 64 levels: finer steps are not visible in a translucent colour, and 256 take twice the bytes.
    levels = np.round(span * 63).astype(np.uint8)
    if not levels.any():
        return None
    image = Image.fromarray(levels)
    image.putpalette(_palette(scale.colormap).tobytes())
    alpha = np.minimum(np.arange(64) / 63 / 0.35, 1.0) * _OVERLAY_ALPHA
    return _encode(image, transparency=bytes(np.round(alpha).astype(np.uint8)))


def rgb_uri(pixels: NDArray[np.uint8]) -> str:
    """Encode a (rows, columns, 3) uint8 picture."""
    from PIL import Image

    return _encode(Image.fromarray(np.ascontiguousarray(pixels[..., :3])))


@cache
def colour_bar_uri(colormap: str) -> str:
    """A horizontal strip of the whole colormap, low end left."""
    return rgb_uri(np.repeat(_palette(colormap)[None], 2, axis=0))


def _palette(colormap: str) -> NDArray[np.uint8]:
    import matplotlib

    colours = matplotlib.colormaps[colormap](np.linspace(0, 1, 64), bytes=True)[:, :3]
    return np.asarray(colours, dtype=np.uint8)


def _encode(image: object, **options: object) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6, **options)  # type: ignore[attr-defined]
    return png_uri(buffer.getvalue())
