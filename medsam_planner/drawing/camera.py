"""Cameras of 3D views: position, direction, and the patient directions at the edges of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import GeometryError

__all__ = ["Camera", "EdgeLetters", "View", "camera_along", "camera_for", "direction_letters", "scale_bar_mm"]


class View(Enum):
    """Standard views: the direction of sight and the direction that is up in the picture, both LPS."""

    FROM_ANTERIOR = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    FROM_POSTERIOR = ((0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
    FROM_LEFT = ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    FROM_RIGHT = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    FROM_SUPERIOR = ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
    FROM_INFERIOR = ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0))


@dataclass(frozen=True, slots=True)
class EdgeLetters:
    """Patient directions at the edges of a picture (``"L"``, or ``"LA"`` where it is oblique)."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True, slots=True)
class Camera:
    """A parallel projection, so that one scale bar holds everywhere in the picture.

    Parameters
    ----------
    centre_lps_mm : (3,)
        Shown in the middle of the picture.
    forward, up : (3,)
        Direction of sight and the direction towards the top edge, LPS; made orthonormal.
    width_mm : float
        What the picture's width spans.
    cut_depth_mm : float, optional
        Cut away everything nearer than the plane this far behind (negative: before) the centre.

    Raises
    ------
    GeometryError
        If the directions are parallel or not finite, or the width is not positive.
    """

    centre_lps_mm: tuple[float, float, float]
    forward: tuple[float, float, float]
    up: tuple[float, float, float]
    width_mm: float
    cut_depth_mm: float | None = None

    def __post_init__(self) -> None:
        forward, up = (np.asarray(direction, dtype=np.float64) for direction in (self.forward, self.up))
        across = np.cross(forward, up)
        lengths = float(np.linalg.norm(forward) * np.linalg.norm(up))
        if not np.isfinite(lengths) or np.linalg.norm(across) < 1e-6 * max(lengths, 1e-12):
            raise GeometryError(f"Expected a camera whose forward and up differ, got {self.forward} and {self.up}.")
        if not (np.isfinite(self.width_mm) and self.width_mm > 0):
            raise GeometryError(f"Expected a picture of positive width in mm, got {self.width_mm}.")
        forward = forward / np.linalg.norm(forward)
        up = np.cross(across / np.linalg.norm(across), forward)
        object.__setattr__(self, "forward", tuple(forward.tolist()))
        object.__setattr__(self, "up", tuple(up.tolist()))
        object.__setattr__(self, "centre_lps_mm", tuple(float(x) for x in self.centre_lps_mm))

    @property
    def right(self) -> tuple[float, float, float]:
        """Direction towards the right edge of the picture, LPS."""
        x, y, z = np.cross(self.forward, self.up).tolist()
        return (x, y, z)

    @property
    def letters(self) -> EdgeLetters:
        """Patient directions at the four edges."""
        right, up = np.array(self.right), np.array(self.up)
        return EdgeLetters(
            left=direction_letters(-right),
            right=direction_letters(right),
            top=direction_letters(up),
            bottom=direction_letters(-up),
        )

    def mm_per_pixel(self, size: tuple[int, int]) -> float:
        """Size of a pixel of a picture of `size` (rows, columns)."""
        return self.width_mm / size[1]

    def pixels_from_lps(self, positions_lps_mm: ArrayLike, size: tuple[int, int]) -> NDArray[np.float64]:
        """(row, column) of positions (..., 3) in a picture of `size` (rows, columns); pixel (0, 0) is a centre."""
        offset = np.asarray(positions_lps_mm, dtype=np.float64) - self.centre_lps_mm
        scale = self.mm_per_pixel(size)
        row = (size[0] - 1) / 2 - offset @ np.array(self.up) / scale
        column = (size[1] - 1) / 2 + offset @ np.array(self.right) / scale
        return np.stack([row, column], axis=-1)


def camera_for(
    view: View,
    bounds_lps_mm: ArrayLike,
    size: tuple[int, int],
    *,
    margin: float = 1.08,
) -> Camera:
    """Camera of a standard view that shows the whole box.

    Parameters
    ----------
    view : View
    bounds_lps_mm : (2, 3)
        Lowest and highest corner of what is to be seen.
    size : (rows, columns)
    margin : float
        Picture size over the size of what it shows.
    """
    bounds = np.asarray(bounds_lps_mm, dtype=np.float64)
    forward, up = view.value
    return _fitted(bounds.mean(axis=0), forward, up, _corners(bounds), size, margin)


def camera_along(
    entry_lps_mm: ArrayLike, target_lps_mm: ArrayLike, *, width_mm: float = 120.0, cut_depth_mm: float | None = None
) -> Camera:
    """Camera that looks along a tool from its entry to its target; superior is up, or anterior for upright tools.

    `cut_depth_mm` counts from the entry.
    """
    entry, target = (np.asarray(p, dtype=np.float64) for p in (entry_lps_mm, target_lps_mm))
    length_mm = float(np.linalg.norm(target - entry))
    if not length_mm > 0:
        raise GeometryError(f"Expected an entry and a target apart from each other, got {entry.tolist()} twice.")
    x, y, z = ((target - entry) / length_mm).tolist()
    up = (0.0, 0.0, 1.0) if abs(z) < np.cos(np.deg2rad(20.0)) else (0.0, -1.0, 0.0)
    a, b, c = entry.tolist()
    return Camera((a, b, c), (x, y, z), up, width_mm, cut_depth_mm)


def direction_letters(direction: ArrayLike) -> str:
    """Letters of an LPS direction, the strongest first: ``"A"``, ``"LA"``; components below 0.38 (22°) are left out."""
    vector = np.asarray(direction, dtype=np.float64)
    vector = vector / np.linalg.norm(vector)
    order = np.argsort(-np.abs(vector), kind="stable")
    least = np.sin(np.deg2rad(22.5))
    return "".join(("LPS" if vector[n] > 0 else "RAI")[n] for n in order if abs(vector[n]) >= least)


def scale_bar_mm(width_mm: float) -> float:
    """The longest of 1, 2, 5, 10, ... mm that is at most a third of the picture's width."""
    power = 10.0 ** np.floor(np.log10(width_mm / 3))
    return float(max(step * power for step in (1, 2, 5) if step * power <= width_mm / 3 * (1 + 1e-9)))


def _corners(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(*bounds.T, indexing="ij"), axis=-1).reshape(-1, 3)


def _fitted(
    centre: NDArray[np.float64],
    forward: Sequence[float],
    up: Sequence[float],
    points: NDArray[np.float64],
    size: tuple[int, int],
    margin: float,
) -> Camera:
    offsets = points - centre
    half_height = np.abs(offsets @ np.array(up)).max()
    half_width = np.abs(offsets @ np.cross(forward, up)).max()
    width_mm = 2 * margin * max(half_width, half_height * size[1] / size[0], 1.0)
    (x, y, z), (fx, fy, fz), (ux, uy, uz) = centre.tolist(), forward, up
    return Camera((x, y, z), (fx, fy, fz), (ux, uy, uz), float(width_mm))
