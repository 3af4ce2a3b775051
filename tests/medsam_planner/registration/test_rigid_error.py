"""The error of a registration at a place: Fitzpatrick's formula, simulation, and plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.errors import GeometryError, RegistrationError
from medsam_planner.registration.by_points import landmark_errors_mm, register_points, with_landmark_error
from medsam_planner.registration.rigid_error import RigidError, error_from_fiducials, error_from_spread, fit_rigid
from medsam_planner.registration.rigid_transform import RigidTransform

CROSS = np.array([[30.0, 0, 0], [-30, 0, 0], [0, 30, 0], [0, -30, 0], [0, 0, 30], [0, 0, -30]])


def test_the_error_by_fiducials_is_fitzpatricks() -> None:
    # Distances from each principal axis: f² = (2·30² + 2·30²) / 6 = 600. At (60, 0, 0): d² = 0, 3600, 3600.
    # TRE² = FLE²/6 · (1 + ⅓ · 7200/600) = FLE² · 5/6, with FLE² = 3 sd².
    error = error_from_fiducials(CROSS, 1.0)
    assert error.rms_mm((60, 0, 0)) == pytest.approx(np.sqrt(3 * 5 / 6))
    assert error.rms_mm((0, 0, 0)) == pytest.approx(np.sqrt(3 / 6))


def test_the_predicted_error_is_the_simulated_one() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-50, 50, (6, 3)) + np.array([20, -100, 400])
    place = np.array([90.0, -60, 380])
    misses, scatter, fle = [], [], []
    for _ in range(2000):
        found, sd = fit_rigid(points, points + random.normal(0, 1.2, points.shape))
        misses.append(found.apply(place) - place)
        fle.append(sd**2)
    scatter = np.cov(np.array(misses).T)
    predicted = error_from_fiducials(points, 1.2).covariance_at(place)
    assert np.allclose(scatter, predicted, atol=0.12 * np.trace(predicted))
    assert np.sqrt(np.mean(fle)) == pytest.approx(
        1.2, rel=0.12
    )  # 12 of 18 numbers remain free of the fit, not N − 2 of N


def test_a_pure_rotation_error_grows_with_the_distance_from_its_axis() -> None:
    covariance = np.zeros((6, 6))
    covariance[5, 5] = 0.01**2  # about z
    error = RigidError((0, 0, 0), tuple(map(tuple, covariance)))
    assert np.allclose(error.covariance_at((100, 0, 7)), np.diag([0, 1.0, 0]))
    assert np.allclose(error.axis_sd_mm([(100, 0, 0), (0, 0, 50)]), [1.0, 0.0])


def test_the_spread_of_searches_and_the_floor_add() -> None:
    best = RigidTransform.identity()
    others = [RigidTransform.about((0, 0, 0), (0, 0, 0), (shift, 0, 0)) for shift in (2.0, -2.0)]
    error = error_from_spread(best, others, (5, 5, 5), floor_mm=0.5)
    assert np.allclose(error.covariance_at((40, 0, 0)), np.diag([4.25, 0.25, 0.25]))


def test_errors_about_different_centres_add_at_every_place() -> None:
    one = error_from_fiducials(CROSS, 1.0)
    other = error_from_fiducials(CROSS * (1, 2, 3) + (10, -40, 5), 0.7)
    place = (33.0, 12.0, -80.0)
    assert np.allclose(one.plus(other).covariance_at(place), one.covariance_at(place) + other.covariance_at(place))


def test_a_covariance_with_a_negative_eigenvalue_is_refused() -> None:
    with pytest.raises(GeometryError, match="negative eigenvalues"):
        RigidError((0, 0, 0), tuple(map(tuple, np.diag([1.0, 1, -1, 0, 0, 0]))))


def named(points: np.ndarray) -> dict[str, np.ndarray]:
    return {f"point {number}": point for number, point in enumerate(points)}


def test_landmarks_register_and_say_what_is_left() -> None:
    step = RigidTransform.about((0, 0, 0), (0.1, -0.2, 0.3), (5, 6, 7))
    found = register_points(named(step.apply(CROSS)), named(CROSS))
    assert np.allclose(found.transform.fixed_from_moving, step.fixed_from_moving)
    errors = landmark_errors_mm(found.transform, named(step.apply(CROSS)), named(CROSS))
    assert max(errors.values()) == pytest.approx(0, abs=1e-6)


def test_landmarks_that_are_no_pairs_are_refused() -> None:
    with pytest.raises(RegistrationError, match="at least four"):
        register_points(named(CROSS[:3]), named(CROSS[:3]))
    with pytest.raises(RegistrationError, match="do not fit"):
        register_points(named(CROSS * (1, 1, 3)), named(CROSS))
    with pytest.raises(RegistrationError, match="on a line"):
        register_points(named(np.outer(np.arange(5), (1, 2, 3))), named(np.outer(np.arange(5), (1, 2, 3))))


def test_what_landmarks_are_off_beyond_the_prediction_widens_the_error() -> None:
    found = register_points(named(CROSS), named(CROSS))
    places = named(CROSS)
    widened = with_landmark_error(found, dict.fromkeys(places, 3.0), places)
    assert widened.error is not None
    assert widened.error.rms_mm(CROSS.mean(axis=0)) == pytest.approx(3.0)
