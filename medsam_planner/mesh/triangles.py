"""Surfaces as triangles in LPS mm, and their measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medsam_planner.errors import GeometryError

__all__ = ["Surface", "signed_volume_mm3"]


def signed_volume_mm3(vertices_lps_mm: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
    """Volume enclosed by triangles whose normals point outwards; negative when they point inwards.

    The divergence theorem over tetrahedra to the centroid, which keeps precision far from the origin.
    """
    if len(faces) == 0:
        return 0.0
    corners = (vertices_lps_mm - vertices_lps_mm.mean(axis=0))[faces]
    return float(np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6.0)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """Triangles around one structure, normals outwards by the right-hand rule.

    Parameters
    ----------
    vertices_lps_mm : (V, 3) float64
        LPS mm, the same frame for every grid the surface came from.
    faces : (F, 3) int64
        Vertex indices, counter-clockwise seen from outside.
    values : mapping of str to (V,) float
        Named samples at the vertices (``"uncertainty"``); NaN where the map does not reach.
    frame_of_reference_uid : str, optional
        DICOM frame of reference of the study.
    history : tuple of str
        What was done to the surface, oldest first, with the measured changes.

    Raises
    ------
    GeometryError
        If shapes do not fit, a vertex is not finite, or a face names a vertex that is not there.
    """

    vertices_lps_mm: NDArray[np.float64]
    faces: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    frame_of_reference_uid: str | None = None
    history: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        vertices = _frozen(self.vertices_lps_mm, np.float64)
        faces = _frozen(self.faces, np.int64)
        if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
            raise GeometryError(f"Expected finite vertices of shape (V, 3) in LPS mm, got shape {vertices.shape}.")
        if faces.ndim != 2 or faces.shape[1] != 3:
            raise GeometryError(f"Expected triangles of shape (F, 3), got shape {faces.shape}.")
        if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise GeometryError(
                f"Expected face indices in 0..{len(vertices) - 1}, got {faces.min()}..{faces.max()}: "
                "faces and vertices come from different surfaces."
            )
        values = {name: _frozen(array, np.float64) for name, array in self.values.items()}
        for name, array in values.items():
            if array.shape != (len(vertices),):
                raise GeometryError(f"Expected {len(vertices)} values of '{name}', one a vertex, got {array.shape}.")
        object.__setattr__(self, "vertices_lps_mm", vertices)
        object.__setattr__(self, "faces", faces)
        object.__setattr__(self, "values", MappingProxyType(values))

    @property
    def volume_mm3(self) -> float:
        """Enclosed volume; meaningful when `is_watertight`."""
        return signed_volume_mm3(self.vertices_lps_mm, self.faces)

    @property
    def area_mm2(self) -> float:
        """Sum of the triangles' areas."""
        return float(np.linalg.norm(self.face_crosses, axis=1).sum() / 2)

    @property
    def face_crosses(self) -> NDArray[np.float64]:
        """(F, 3) outward face normals, as long as twice the triangle's area."""
        corners = self.vertices_lps_mm[self.faces]
        crosses: NDArray[np.float64] = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return crosses

    @property
    def vertex_normals(self) -> NDArray[np.float64]:
        """(V, 3) unit outward normals, the mean of the adjacent faces weighted by their area."""
        crosses = self.face_crosses
        normals = np.zeros_like(self.vertices_lps_mm)
        for corner in range(3):
            for axis in range(3):
                normals[:, axis] += np.bincount(self.faces[:, corner], weights=crosses[:, axis], minlength=len(normals))
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        unit: NDArray[np.float64] = normals / np.where(lengths > 0, lengths, 1.0)
        return unit

    @property
    def bounds_lps_mm(self) -> NDArray[np.float64]:
        """(2, 3) lowest and highest corner."""
        return np.stack([self.vertices_lps_mm.min(axis=0), self.vertices_lps_mm.max(axis=0)])

    @property
    def is_watertight(self) -> bool:
        """Whether every edge joins exactly two faces that run along it in opposite directions."""
        if len(self.faces) == 0:
            return False
        a, b = (self.faces[:, [0, 1, 2]].ravel(), self.faces[:, [1, 2, 0]].ravel())
        forward, backward = (np.sort(x * len(self.vertices_lps_mm) + y) for x, y in ((a, b), (b, a)))
        return bool((np.diff(forward) > 0).all() and np.array_equal(forward, backward))

    def with_values(self, name: str, values: ArrayLike) -> Surface:
        """Add or replace the vertex values called `name`."""
        return replace(self, values={**self.values, name: np.asarray(values, dtype=np.float64)})

    def reshaped(self, vertices_lps_mm: ArrayLike, faces: ArrayLike, step: str) -> Surface:
        """Put other triangles in place, noting the `step` that made them.

        Vertex values are dropped: they were sampled where the old vertices were.
        """
        return Surface(
            vertices_lps_mm=np.asarray(vertices_lps_mm),
            faces=np.asarray(faces),
            frame_of_reference_uid=self.frame_of_reference_uid,
            history=(*self.history, step),
        )


def _frozen(array: Any, dtype: Any) -> NDArray[Any]:
    copy: NDArray[Any] = np.array(array, dtype=dtype, order="C")
    copy.flags.writeable = False
    return copy
