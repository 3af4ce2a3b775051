"""A rigid transform between the patient spaces of two series, LPS mm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from medsam_planner.errors import GeometryError

__all__ = ["RigidTransform"]

_ORTHONORMAL = 1e-6
"""Largest entry of RᵀR − 1: 0.001 mm over a metre."""


@dataclass(frozen=True, slots=True, eq=False)
class RigidTransform:
    """Rotation and translation that map a position in the moving series to the same place in the fixed series.

    Parameters
    ----------
    fixed_from_moving : (4, 4) float
        ``p_fixed = R p_moving + t``, LPS mm on both sides.

    Raises
    ------
    GeometryError
        If it scales, shears, or mirrors: a rigid transform does none of these, and a mirrored side is a wrong side.
    """

    fixed_from_moving: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.fixed_from_moving, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise GeometryError(
                f"Expected a rigid transform as a finite 4 × 4 matrix ending in (0, 0, 0, 1), got {matrix.tolist()}."
            )
        rotation = matrix[:3, :3]
        if np.abs(rotation.T @ rotation - np.eye(3)).max() > _ORTHONORMAL or np.linalg.det(rotation) < 0:
            raise GeometryError(
                "Expected a rigid transform, got one that scales, shears or mirrors (determinant "
                f"{float(np.linalg.det(rotation)):.4g}, expected 1). Register again, or export the rigid part only."
            )
        matrix.flags.writeable = False
        object.__setattr__(self, "fixed_from_moving", matrix)

    @classmethod
    def identity(cls) -> RigidTransform:
        """Both series have one frame of reference."""
        return cls(np.eye(4))

    @classmethod
    def about(cls, centre_lps_mm: ArrayLike, rotation_vector: ArrayLike, translation_mm: ArrayLike) -> RigidTransform:
        """Rotate about a centre (3,) by a rotation vector (3,) in radians, then translate (3,)."""
        centre = np.asarray(centre_lps_mm, dtype=np.float64)
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_rotvec(np.asarray(rotation_vector, dtype=np.float64)).as_matrix()
        matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.asarray(translation_mm, dtype=np.float64)
        return cls(matrix)

    @property
    def moving_from_fixed(self) -> NDArray[np.float64]:
        """The inverse, (4, 4)."""
        inverse = np.eye(4)
        rotation = self.fixed_from_moving[:3, :3]
        inverse[:3, :3] = rotation.T
        inverse[:3, 3] = -rotation.T @ self.fixed_from_moving[:3, 3]
        return inverse

    @property
    def inverse(self) -> RigidTransform:
        """From the fixed series to the moving one."""
        return RigidTransform(self.moving_from_fixed)

    @property
    def rotation_deg(self) -> float:
        """Angle of the rotation about its axis."""
        vector = Rotation.from_matrix(self.fixed_from_moving[:3, :3]).as_rotvec()
        return math.degrees(float(np.linalg.norm(vector)))

    def apply(self, positions_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Map positions (..., 3) of the moving series to the fixed one."""
        positions = np.asarray(positions_lps_mm, dtype=np.float64)
        return positions @ self.fixed_from_moving[:3, :3].T + self.fixed_from_moving[:3, 3]

    def turn(self, directions: ArrayLike) -> NDArray[np.float64]:
        """Rotate directions (..., 3)."""
        return np.asarray(directions, dtype=np.float64) @ self.fixed_from_moving[:3, :3].T
