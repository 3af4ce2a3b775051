"""Shapes as functions: negative inside, positive outside, near the surface the distance to it in mm.

A :class:`Medial` shape is a skeleton (a curve or a sheet) with a radius at each of its points, which is how long bones,
vessels and the iliac wing are easily described. Shapes are joined smoothly, cut and mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator, RectBivariateSpline, make_interp_spline
from scipy.spatial import cKDTree

__all__ = [
    "Ball",
    "Common",
    "Cut",
    "Distances",
    "HalfSpace",
    "Joined",
    "Medial",
    "Mirrored",
    "Offset",
    "Points",
    "Shape",
    "sheet",
    "tube",
]

Points = NDArray[np.float64]
Distances = NDArray[np.float64]

FAR_MM = 1e3
"""Value of a distance beyond the requested band."""

_TUBE_STEP_MM = 0.4
_SHEET_STEP_MM = 0.8
"""Distance between skeleton points: a surface 3 mm away from the skeleton has bumps of less than 0.06 mm."""


class Shape(Protocol):
    """Anything with a signed distance."""

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        """Signed distance (N,) of points (N, 3).

        Values above `reach_mm` may come back as any larger number, which makes far parts cheap.
        """

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        """(2, 3) lowest and highest corner of a box around the shape; infinite where it does not end."""


class Medial:
    """Every point within a radius of a skeleton point: |x − nearest skeleton point| − its radius."""

    def __init__(self, skeleton_lps_mm: ArrayLike, radius_mm: ArrayLike) -> None:
        self.skeleton_lps_mm = np.asarray(skeleton_lps_mm, dtype=np.float64)
        self.radius_mm = np.append(np.asarray(radius_mm, dtype=np.float64), 0.0)
        self._tree = cKDTree(self.skeleton_lps_mm)
        self._low, self._high = self.skeleton_lps_mm.min(axis=0), self.skeleton_lps_mm.max(axis=0)

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        result = np.full(len(points_lps_mm), FAR_MM)
        bound = reach_mm + self.radius_mm.max()
        inside = (points_lps_mm > self._low - bound) & (points_lps_mm < self._high + bound)
        close = np.flatnonzero(inside.all(axis=1))
        distance, nearest = self._tree.query(points_lps_mm[close], distance_upper_bound=bound)
        result[close] = np.where(np.isfinite(distance), distance - self.radius_mm[nearest], FAR_MM)
        return result

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        return np.stack([self._low - self.radius_mm.max(), self._high + self.radius_mm.max()])


@dataclass(frozen=True, slots=True)
class Ball:
    """A ball, or an ellipsoid where `radius_mm` has three values (then exact on the surface only)."""

    centre_lps_mm: tuple[float, float, float]
    radius_mm: float | tuple[float, float, float]

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        offset = points_lps_mm - np.array(self.centre_lps_mm)
        if isinstance(self.radius_mm, tuple):
            axes = np.array(self.radius_mm)
            scaled = np.linalg.norm(offset / axes, axis=1)
            # First order in the distance, and a lower bound of it far away (the smallest axis).
            gradient = np.linalg.norm(offset / axes**2, axis=1)
            near = scaled * (scaled - 1) / np.maximum(gradient, 1e-9)
            result: Distances = np.where(scaled > 1e-3, near, -axes.min())
            return result
        distance: Distances = np.linalg.norm(offset, axis=1) - self.radius_mm
        return distance

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        return np.array(self.centre_lps_mm) + np.outer((-1, 1), np.broadcast_to(self.radius_mm, 3))


@dataclass(frozen=True, slots=True)
class HalfSpace:
    """Everything behind a plane; `normal` points out of it."""

    point_lps_mm: tuple[float, float, float]
    normal: tuple[float, float, float]

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        normal = np.array(self.normal) / np.linalg.norm(self.normal)
        distance: Distances = (points_lps_mm - np.array(self.point_lps_mm)) @ normal
        return distance

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        return np.outer((-1, 1), np.full(3, np.inf))


@dataclass(frozen=True, slots=True)
class Joined:
    """Union whose seams are filled over `blend_mm` (polynomial smooth minimum); 0 keeps them sharp."""

    shapes: Sequence[Shape]
    blend_mm: float = 0.0

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        reach = reach_mm + self.blend_mm
        total = self.shapes[0].distance_mm(points_lps_mm, reach)
        for shape in self.shapes[1:]:
            total = _smooth_minimum(total, shape.distance_mm(points_lps_mm, reach), self.blend_mm)
        return total

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        boxes = np.stack([shape.bounds_lps_mm for shape in self.shapes])
        filled = (len(self.shapes) - 1) * self.blend_mm / 4
        return np.stack([boxes[:, 0].min(axis=0) - filled, boxes[:, 1].max(axis=0) + filled])


@dataclass(frozen=True, slots=True)
class Common:
    """Intersection, its edges rounded over `blend_mm`."""

    shapes: Sequence[Shape]
    blend_mm: float = 0.0

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        total = -self.shapes[0].distance_mm(points_lps_mm, reach_mm)
        for shape in self.shapes[1:]:
            total = _smooth_minimum(total, -shape.distance_mm(points_lps_mm, reach_mm), self.blend_mm)
        return -total

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        boxes = np.stack([shape.bounds_lps_mm for shape in self.shapes])
        return np.stack([boxes[:, 0].max(axis=0), boxes[:, 1].min(axis=0)])


@dataclass(frozen=True, slots=True)
class Cut:
    """`shape` without the `removed` ones, the edges rounded over `blend_mm`."""

    shape: Shape
    removed: Sequence[Shape]
    blend_mm: float = 0.0

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        total = -self.shape.distance_mm(points_lps_mm, reach_mm)
        for other in self.removed:
            total = _smooth_minimum(total, other.distance_mm(points_lps_mm, reach_mm), self.blend_mm)
        return -total

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        return self.shape.bounds_lps_mm


@dataclass(frozen=True, slots=True)
class Mirrored:
    """The same shape on the other side of the midsagittal plane x = 0."""

    shape: Shape

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        return self.shape.distance_mm(points_lps_mm * (-1, 1, 1), reach_mm)

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        (x0, y0, z0), (x1, y1, z1) = self.shape.bounds_lps_mm
        return np.array([(-x1, y0, z0), (-x0, y1, z1)])


@dataclass(frozen=True, slots=True)
class Offset:
    """`shape` grown by `by_mm` (shrunk where negative)."""

    shape: Shape
    by_mm: float

    def distance_mm(self, points_lps_mm: Points, reach_mm: float = np.inf) -> Distances:
        return self.shape.distance_mm(points_lps_mm, reach_mm + self.by_mm) - self.by_mm

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        return self.shape.bounds_lps_mm + np.outer((-1, 1), np.full(3, self.by_mm))


def tube(points_lps_mm: ArrayLike, radii_mm: ArrayLike, *, step_mm: float = _TUBE_STEP_MM) -> Medial:
    """Round tube through (N, 3) points with a radius at each, a cubic spline from three points on.

    The radius is interpolated without overshoot; the skeleton's points are `step_mm` apart.
    """
    knots = np.asarray(points_lps_mm, dtype=np.float64)
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=np.float64), len(knots))
    at = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    curve = make_interp_spline(at, knots, k=min(3, len(knots) - 1))
    fine = np.linspace(0, at[-1], max(2, int(np.ceil(at[-1] / step_mm)) + 1))
    return Medial(curve(fine), PchipInterpolator(at, radii)(fine))


def sheet(points_lps_mm: ArrayLike, radii_mm: ArrayLike, *, step_mm: float = _SHEET_STEP_MM) -> Medial:
    """Bone-like plate around a sheet through (R, C, 3) points, with its half thickness (R, C) at each."""
    knots = np.asarray(points_lps_mm, dtype=np.float64)
    rows, columns = np.arange(knots.shape[0]), np.arange(knots.shape[1])
    degree = {"kx": min(3, len(rows) - 1), "ky": min(3, len(columns) - 1)}
    coarse = [np.linspace(0, len(axis) - 1, 8 * len(axis)) for axis in (rows, columns)]
    drawn = np.stack([RectBivariateSpline(rows, columns, knots[..., x], **degree)(*coarse) for x in range(3)], axis=-1)
    steps = [np.linalg.norm(np.diff(drawn, axis=axis), axis=-1).sum(axis=axis).max() for axis in (0, 1)]
    fine = [
        np.linspace(0, len(axis) - 1, int(np.ceil(length / step_mm)) + 1)
        for axis, length in zip((rows, columns), steps, strict=True)
    ]
    skeleton = np.stack([RectBivariateSpline(rows, columns, knots[..., x], **degree)(*fine) for x in range(3)], axis=-1)
    radii = PchipInterpolator(rows, np.asarray(radii_mm, dtype=np.float64), axis=0)(fine[0])
    radii = PchipInterpolator(columns, radii, axis=1)(fine[1])
    return Medial(skeleton.reshape(-1, 3), radii.ravel())


def _smooth_minimum(a: Distances, b: Distances, blend_mm: float) -> Distances:
    if blend_mm <= 0:
        result: Distances = np.minimum(a, b)
        return result
    overlap = np.maximum(blend_mm - np.abs(a - b), 0.0)
    smooth: Distances = np.minimum(a, b) - overlap**2 / (4 * blend_mm)
    return smooth
