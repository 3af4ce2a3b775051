"""Register by named points, and check a registration against them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from medsam_planner.errors import GeometryError, RegistrationError
from medsam_planner.registration.gate import GateLimits
from medsam_planner.registration.register import Registration
from medsam_planner.registration.rigid_error import RigidError, error_from_fiducials, fit_rigid
from medsam_planner.registration.rigid_transform import RigidTransform

__all__ = ["landmark_errors_mm", "register_points", "with_landmark_error"]

_LARGEST_LOCALISATION_MM = 5.0
"""Points that fit worse than this, per axis, are not the same points."""


def register_points(
    fixed_lps_mm: Mapping[str, ArrayLike], moving_lps_mm: Mapping[str, ArrayLike], *, limits: GateLimits | None = None
) -> Registration:
    """Register by the points that both series name.

    Parameters
    ----------
    fixed_lps_mm, moving_lps_mm : mapping
        Position (3,) by name.
    limits : GateLimits, optional
        Of the rotation.

    Raises
    ------
    RegistrationError
        If fewer than four points have a name in both (three fit almost anything), they lie on a line, do not fit each
        other, or turn too far.
    """
    limits = limits or GateLimits()
    names = sorted(set(fixed_lps_mm) & set(moving_lps_mm))
    if len(names) < 4:
        raise RegistrationError(
            f"Expected at least four landmarks of one name in both series, got {len(names)}: {names}."
        )
    fixed = np.array([fixed_lps_mm[name] for name in names], dtype=np.float64)
    moving = np.array([moving_lps_mm[name] for name in names], dtype=np.float64)
    try:
        transform, sd_mm = fit_rigid(fixed, moving)
        error = error_from_fiducials(fixed, sd_mm)
    except GeometryError as reason:
        raise RegistrationError(f"The landmarks cannot register the series: {reason}") from reason
    left = np.linalg.norm(transform.apply(moving) - fixed, axis=1)
    if sd_mm > _LARGEST_LOCALISATION_MM:
        worst = names[int(np.argmax(left))]
        raise RegistrationError(
            f"The landmarks do not fit: {sd_mm:.1f} mm per axis are left, expected at most "
            f"{_LARGEST_LOCALISATION_MM:g} mm; '{worst}' is {left.max():.1f} mm off. Check sides and names."
        )
    if transform.rotation_deg > limits.max_rotation_deg:
        raise RegistrationError(
            f"The landmarks turn by {transform.rotation_deg:.0f}°, expected at most {limits.max_rotation_deg:.0f}°. "
            "Check that left and right are not swapped."
        )
    note = (
        f"Registered by {len(names)} landmarks; localisation {sd_mm:.2f} mm per axis from what is left of them. With "
        "so few points that estimate itself is uncertain."
    )
    return Registration(transform, "landmarks", error, notes=(note,))


def landmark_errors_mm(
    transform: RigidTransform, fixed_lps_mm: Mapping[str, ArrayLike], moving_lps_mm: Mapping[str, ArrayLike]
) -> dict[str, float]:
    """Distance in mm between each point of the fixed series and the moved one of the same name."""
    return {
        name: float(np.linalg.norm(transform.apply(moving_lps_mm[name]) - np.asarray(place, dtype=np.float64)))
        for name, place in fixed_lps_mm.items()
        if name in moving_lps_mm
    }


def with_landmark_error(
    found: Registration, errors_mm: Mapping[str, float], fixed_lps_mm: Mapping[str, ArrayLike]
) -> Registration:
    """The registration with an error that is at least what landmarks show.

    What the landmarks are off beyond the predicted error is added as a translation error that is equal on all axes. The
    error of clicking the landmarks is in it: it errs on the safe side.
    """
    if not errors_mm:
        return found
    shown = float(np.mean(np.square(list(errors_mm.values()))))
    places = np.array([fixed_lps_mm[name] for name in errors_mm], dtype=np.float64)
    predicted = 0.0 if found.error is None else float(np.mean(found.error.rms_mm(places) ** 2))
    missing = max(0.0, shown - predicted) / 3
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = missing * np.eye(3)
    more = RigidError.about(places.mean(axis=0), covariance)
    return replace(found, error=more if found.error is None else found.error.plus(more))
