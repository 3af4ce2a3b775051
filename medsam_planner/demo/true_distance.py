"""Distance to the surface of an implicit shape, to less than a tenth of a millimetre."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import highdicom
import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.demo.implicit_grid import distance_on_grid
from medsam_planner.demo.implicit_shapes import Points, Shape
from medsam_planner.errors import GeometryError
from medsam_planner.mesh import Surface, surface_from_probability
from medsam_planner.mesh.open3d_mesh import raycasting_scene

__all__ = ["TrueDistance"]

_GRADIENT_STEP_MM = 0.05


class TrueDistance:
    """Signed distance in mm of points to a shape: positive outside, negative inside.

    A shape's own function has the right sign everywhere but the right length only near a single skeleton; where shapes
    are joined or cut it is a bound. Here the zero surface is meshed, every vertex is put onto it by Newton's method,
    and distances are measured to the mesh. What is left is the sag of the triangles, below 0.1 mm on a tube of 5 mm
    radius meshed at 1 mm; sharp edges are cut short by up to half of `spacing_mm`.

    Parameters
    ----------
    shape : Shape
        Of finite extent.
    spacing_mm : float
        Edge of the meshing grid.

    Raises
    ------
    GeometryError
        If the shape has no end in some direction.
    """

    def __init__(self, shape: Shape, *, spacing_mm: float = 1.0) -> None:
        if not np.isfinite(shape.bounds_lps_mm).all():
            raise GeometryError("Expected a shape of finite extent, got one without end; cut it off first.")
        self._shape = shape
        self._spacing_mm = spacing_mm

    def __call__(self, points_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Signed distance (N,) in mm of points (N, 3), LPS mm."""
        import open3d as o3d

        points = np.atleast_2d(np.asarray(points_lps_mm, dtype=np.float64))
        queries = o3d.core.Tensor.from_numpy((points - self._origin).astype(np.float32))
        distance: NDArray[np.float64] = self._scene.compute_distance(queries).numpy().astype(np.float64)
        return np.where(self._shape.distance_mm(points) < 0, -distance, distance)

    @cached_property
    def surface(self) -> Surface:
        """The mesh distances are measured to; made at the first use (seconds for a large bone)."""
        low, high = self._shape.bounds_lps_mm
        step = self._spacing_mm
        affine = np.diag([step, step, step, 1.0])
        affine[:3, 3] = low - 2.5 * step
        k, j, i = (int(n) for n in np.ceil((high - low) / step) + 5)
        distance = distance_on_grid(self._shape, affine, (k, j, i), 3 * step)
        volume = highdicom.Volume(0.5 - distance / (6 * step), affine, coordinate_system="PATIENT")
        rough = surface_from_probability(volume, smoothing_iterations=0)
        vertices = rough.vertices_lps_mm.copy()
        value = self._shape.distance_mm(vertices, 4 * step)
        gradient = self._gradient(vertices, value)
        for _ in range(3):
            move = -value[:, None] * gradient
            length = np.linalg.norm(move, axis=1, keepdims=True)
            vertices += move * np.minimum(1.0, 0.3 * step / np.maximum(length, 1e-12))
            value = self._shape.distance_mm(vertices, 4 * step)
        return rough.reshaped(vertices, rough.faces, "vertices put onto the zero surface")

    @cached_property
    def _origin(self) -> NDArray[np.float64]:
        return self.surface.vertices_lps_mm.mean(axis=0)

    @cached_property
    def _scene(self) -> Any:
        return raycasting_scene(self.surface, origin_lps_mm=self._origin)

    def _gradient(self, points: Points, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Direction and inverse steepness of the distance function, (N, 3)."""
        ahead = [self._shape.distance_mm(points + step, 4 * self._spacing_mm) for step in np.eye(3) * _GRADIENT_STEP_MM]
        slope = (np.stack(ahead, axis=1) - value[:, None]) / _GRADIENT_STEP_MM
        inverse: NDArray[np.float64] = slope / np.maximum((slope**2).sum(axis=1, keepdims=True), 0.05)
        return inverse
