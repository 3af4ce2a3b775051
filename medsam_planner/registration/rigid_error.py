"""Error of a rigid transform as a covariance, and what it is at a place.

A small error moves the place x, in the fixed series, by ``t + ω × (x − c)``: a translation t and a rotation vector ω
about a centre c. The covariance of (t, ω) gives that of every place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from medsam_planner.errors import GeometryError
from medsam_planner.registration.rigid_transform import RigidTransform

__all__ = ["RigidError", "error_from_fiducials", "error_from_spread", "fit_rigid"]

_FLAT = 1e-3
"""Share of the second largest extent of fiducials in the largest, below which they count as lying on a line."""


@dataclass(frozen=True, slots=True)
class RigidError:
    """Covariance of a rigid transform's error.

    Parameters
    ----------
    centre_lps_mm : (3,) float
        Centre of rotation, in the fixed series.
    covariance : 6 × 6 float
        Of translation (mm, first three) and rotation vector (rad, last three).

    Raises
    ------
    GeometryError
        If the covariance is not symmetric with eigenvalues of at least 0.
    """

    centre_lps_mm: tuple[float, float, float]
    covariance: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.covariance, dtype=np.float64)
        centre = np.asarray(self.centre_lps_mm, dtype=np.float64)
        if centre.shape != (3,) or not np.isfinite(centre).all():
            raise GeometryError(f"Expected the centre of a rigid error as three numbers, got {self.centre_lps_mm!r}.")
        if matrix.shape != (6, 6) or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, atol=1e-9):
            raise GeometryError(f"Expected a symmetric 6 × 6 covariance of a rigid error, got {matrix.tolist()}.")
        if float(np.linalg.eigvalsh(matrix).min()) < -1e-9 * max(1.0, float(np.trace(matrix))):
            raise GeometryError("Expected a covariance of a rigid error without negative eigenvalues, got one with.")
        object.__setattr__(self, "centre_lps_mm", tuple(centre.tolist()))
        object.__setattr__(self, "covariance", tuple(tuple(row) for row in matrix.tolist()))

    @classmethod
    def about(cls, centre_lps_mm: ArrayLike, covariance: ArrayLike) -> RigidError:
        """The error about a centre (3,) with a computed covariance (6, 6), whose rounding is made symmetric."""
        x, y, z = np.asarray(centre_lps_mm, dtype=np.float64).tolist()
        matrix = np.asarray(covariance, dtype=np.float64)
        return cls((x, y, z), tuple(tuple(row) for row in ((matrix + matrix.T) / 2).tolist()))

    def covariance_at(self, position_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Covariance in mm² of the error at positions (..., 3) of the fixed series, (..., 3, 3)."""
        arm = np.asarray(position_lps_mm, dtype=np.float64) - np.array(self.centre_lps_mm)
        cross = _cross_matrix(arm)
        jacobian = np.concatenate([np.broadcast_to(np.eye(3), cross.shape), cross], axis=-1)
        at: NDArray[np.float64] = jacobian @ np.array(self.covariance) @ np.swapaxes(jacobian, -1, -2)
        return at

    def rms_mm(self, position_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Root mean square length of the error at positions (..., 3)."""
        rms: NDArray[np.float64] = np.sqrt(np.trace(self.covariance_at(position_lps_mm), axis1=-2, axis2=-1))
        return rms

    def axis_sd_mm(self, position_lps_mm: ArrayLike) -> NDArray[np.float64]:
        """Standard deviation of the error along its worst direction, at positions (..., 3)."""
        largest = np.linalg.eigvalsh(self.covariance_at(position_lps_mm))[..., -1]
        sd: NDArray[np.float64] = np.sqrt(np.maximum(largest, 0.0))
        return sd

    def plus(self, other: RigidError) -> RigidError:
        """Both errors, independent of each other, about the centre of this one."""
        moved = np.eye(6)
        moved[:3, 3:] = _cross_matrix(np.array(self.centre_lps_mm) - np.array(other.centre_lps_mm))
        total = np.array(self.covariance) + moved @ np.array(other.covariance) @ moved.T
        return RigidError.about(self.centre_lps_mm, total)


def error_from_spread(
    best: RigidTransform, others: Sequence[RigidTransform], centre_lps_mm: ArrayLike, *, floor_mm: float = 0.0
) -> RigidError:
    """Error from how far independent searches ended from the best one.

    Parameters
    ----------
    best : RigidTransform
    others : sequence of RigidTransform
        Searches from other starts and with other samples; none leaves the floor alone.
    centre_lps_mm : (3,) float
        Centre of the image, in the fixed series.
    floor_mm : float
        Standard deviation per axis that is added: no grid tells places within a voxel apart.

    Notes
    -----
    It is precision and not accuracy: what misleads all searches alike (distortion of an MR, a bias between modalities)
    does not show in it. Fiducials measure that, :func:`error_from_fiducials`.
    """
    centre = np.asarray(centre_lps_mm, dtype=np.float64)
    deviations = np.array([_deviation(best, other, centre) for other in others]).reshape(-1, 6)
    covariance = deviations.T @ deviations / max(len(deviations), 1)
    covariance[:3, :3] += floor_mm**2 * np.eye(3)
    return RigidError.about(centre, covariance)


def error_from_fiducials(fixed_lps_mm: ArrayLike, localisation_sd_mm: float) -> RigidError:
    """Error of a registration by points, from the error with which each point is localised.

    Parameters
    ----------
    fixed_lps_mm : (N, 3) float
        N >= 3 points that do not lie on a line.
    localisation_sd_mm : float
        Standard deviation per axis of a point's localisation, both series together: FLE / √3.

    Notes
    -----
    ``TRE²(x) = FLE²/N (1 + ⅓ Σ d_k²/f_k²)`` with d_k and f_k the distances of x and of the points from principal axis
    k [1]_: the trace of :meth:`RigidError.covariance_at`.

    References
    ----------
    .. [1] Fitzpatrick, West, Maurer, Predicting error in rigid-body point-based registration, IEEE TMI 17(5), 1998,
       doi:10.1109/42.736021, equation 46.
    """
    points = _points(fixed_lps_mm)
    centre = points.mean(axis=0)
    _, _, axes = np.linalg.svd(points - centre)
    along = (points - centre) @ axes.T
    square = (along**2).sum(axis=0)
    about = square.sum() - square  # Σ of squared distances from each principal axis
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = np.eye(3) * localisation_sd_mm**2 / len(points)
    covariance[3:, 3:] = axes.T @ np.diag(localisation_sd_mm**2 / about) @ axes
    return RigidError.about(centre, covariance)


def fit_rigid(fixed_lps_mm: ArrayLike, moving_lps_mm: ArrayLike) -> tuple[RigidTransform, float]:
    """Rigid transform that brings points onto each other with the least squared distance, and what is left.

    Parameters
    ----------
    fixed_lps_mm, moving_lps_mm : (N, 3) float
        Corresponding points, N >= 3, not on a line.

    Returns
    -------
    RigidTransform
    float
        Standard deviation per axis of a point's localisation in mm, from the residual distances:
        ``FLE² = FRE² / (1 − 2/N)``, doi:10.1109/42.736021.

    Raises
    ------
    GeometryError
        If they are too few, on a line, or not of one number.
    """
    fixed, moving = _points(fixed_lps_mm), _points(moving_lps_mm)
    if len(fixed) != len(moving):
        raise GeometryError(f"Expected as many points in both series, got {len(fixed)} and {len(moving)}.")
    rotation, _ = Rotation.align_vectors(fixed - fixed.mean(axis=0), moving - moving.mean(axis=0))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.as_matrix()
    matrix[:3, 3] = fixed.mean(axis=0) - matrix[:3, :3] @ moving.mean(axis=0)
    found = RigidTransform(matrix)
    square = float((np.linalg.norm(found.apply(moving) - fixed, axis=1) ** 2).mean())
    return found, float(np.sqrt(square / (1 - 2 / len(fixed)) / 3))


def _points(points_lps_mm: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(points_lps_mm, dtype=np.float64)
    if points.ndim != 2 or points.shape[1:] != (3,) or len(points) < 3 or not np.isfinite(points).all():
        raise GeometryError(f"Expected at least three points (N, 3), LPS mm, got an array of shape {points.shape}.")
    extent = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    if extent[1] <= _FLAT * extent[0]:
        raise GeometryError("Expected points that do not lie on a line: they say nothing of the rotation about it.")
    return points


def _deviation(best: RigidTransform, other: RigidTransform, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Translation at the centre (mm) and rotation vector (rad) from the best transform to another, (6,)."""
    step = other.fixed_from_moving @ best.moving_from_fixed
    translation = step[:3, :3] @ centre + step[:3, 3] - centre
    return np.concatenate([translation, Rotation.from_matrix(step[:3, :3]).as_rotvec()])


def _cross_matrix(arm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (..., 3, 3) of ω ↦ ω × arm, for arms (..., 3)."""
    x, y, z = arm[..., 0], arm[..., 1], arm[..., 2]
    zero = np.zeros_like(x)
    return np.stack([zero, z, -y, -z, zero, x, y, -x, zero], axis=-1).reshape(*arm.shape, 3)
