"""Outlines and scale bars on slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medsam_planner.drawing.panel import ScaleBar
from medsam_planner.drawing.reformat import Plane

__all__ = ["outline_path", "scale_bar"]

_BAR_LENGTHS_MM = (100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5)


def scale_bar(plane: Plane) -> ScaleBar:
    """The longest round bar that takes at most a third of the picture's width."""
    width = plane.extent_mm[0]
    length = next((bar for bar in _BAR_LENGTHS_MM if bar <= width / 3), _BAR_LENGTHS_MM[-1])
    return ScaleBar(length=length / plane.pixel_mm, label=f"{length:g} mm")


def outline_path(values: NDArray[np.float32], level: float) -> str:
    """SVG path of the contours of `values` at `level`, open where they leave the picture or the known (NaN).

    Pixel centres lie at halves, as SVG draws them.
    """
    from skimage.measure import find_contours

    parts = []
    for contour in find_contours(values, level):
        if len(contour) < 4:
            continue
        is_closed = bool((contour[0] == contour[-1]).all())
        rows, columns = (contour[: -1 if is_closed else None] + 0.5).T
        points = [f"{column:.1f} {row:.1f}" for row, column in zip(rows, columns, strict=True)]
        parts.append("M" + "L".join(points) + ("Z" if is_closed else ""))
    return "".join(parts)
