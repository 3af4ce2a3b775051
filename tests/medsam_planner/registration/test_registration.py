"""Known transforms are found or refused; what is returned carries its error."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from scipy import ndimage

from medsam_planner.errors import GeometryError, RegistrationError
from medsam_planner.registration.gate import GateLimits, RegistrationEvidence, refusals
from medsam_planner.registration.register import grid_points, register, same_frame
from medsam_planner.registration.rigid_transform import RigidTransform

SHAPE = (36, 44, 40)


def head(seed: int) -> highdicom.Volume:
    """A head of CT-like values: skull, brain, ventricles and tissue of its own."""
    random = np.random.default_rng(seed)
    index = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
    radius = np.sqrt((((index + random.normal(size=3)) / (15, 19, 16)) ** 2).sum(-1))
    texture = ndimage.gaussian_filter(random.normal(size=SHAPE), 2.5)
    array = np.where(radius < 1, 40 + 1000 * texture, np.where(radius < 1.12, 900.0, -1000.0))
    for side in (-4, 4):
        array[(((index - (2, 1, side)) / (4, 6, 2.5)) ** 2).sum(-1) < 1] = 5
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * (2.0, 1.5, 1.5)
    affine[:3, 3] = (-30, -25, 10)
    return highdicom.Volume(array + random.normal(0, 8, SHAPE), affine, "PATIENT")


def as_mr(volume: highdicom.Volume, step: RigidTransform, seed: int) -> highdicom.Volume:
    """The same head in another scanner: bone dark, fluid bright, coil shading, on its own grid, in its own frame."""
    random = np.random.default_rng(seed)
    hu = np.asarray(volume.array)
    bright = np.interp(hu, [-1000, -500, 0, 20, 40, 100, 400, 900], [0, 0, 250, 220, 120, 60, 20, 10])
    shading = 1 + 0.2 * np.linspace(-1, 1, SHAPE[1])[None, :, None]
    grid = np.array(volume.affine)
    grid[:3, 3] += (1.3, -2.1, 0.9)
    back = np.linalg.inv(volume.affine) @ step.fixed_from_moving @ grid
    array = ndimage.affine_transform(bright * shading, back[:3, :3], back[:3, 3], order=1, mode="nearest")
    return highdicom.Volume(array + random.normal(0, 5, SHAPE), grid, "PATIENT")


def random_step(fixed: highdicom.Volume, seed: int) -> RigidTransform:
    random = np.random.default_rng(seed)
    axis = random.normal(size=3)
    angle = np.deg2rad(random.uniform(2, 12))
    return RigidTransform.about(
        grid_points(fixed).mean(axis=0), axis / np.linalg.norm(axis) * angle, random.uniform(-6, 6, 3)
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_ct_and_an_mr_of_one_head_are_registered_within_a_voxel(seed: int) -> None:
    fixed = head(seed)
    truth = random_step(fixed, seed)
    found = register(fixed, as_mr(fixed, truth, seed))
    places = grid_points(fixed)
    off = np.linalg.norm(found.transform.apply(truth.inverse.apply(places)) - places, axis=1)
    assert off.mean() < 1.5  # the shortest voxel edge
    assert off.max() < np.linalg.norm((2.0, 1.5, 1.5))
    assert found.error is not None
    assert off.mean() < 3 * found.error.rms_mm(places).mean()


def test_the_same_series_give_the_same_transform() -> None:
    fixed = head(4)
    moving = as_mr(fixed, random_step(fixed, 4), 4)
    one, other = register(fixed, moving), register(fixed, moving)
    assert np.array_equal(one.transform.fixed_from_moving, other.transform.fixed_from_moving)


def test_series_that_show_nothing_of_each_other_are_refused() -> None:
    noise = highdicom.Volume(np.random.default_rng(0).normal(size=SHAPE), head(1).affine, "PATIENT")
    with pytest.raises(RegistrationError, match=r"The registration was refused: .* starts ended within"):
        register(head(1), noise)


def test_one_frame_of_reference_offers_the_identity_with_an_unknown_error() -> None:
    volume = head(1)
    framed = [
        highdicom.Volume(volume.array, volume.affine, "PATIENT", frame_of_reference_uid=uid)
        for uid in ("1.2.3", "1.2.3", "1.2.4")
    ]
    same = same_frame(framed[0], framed[1])
    assert same is not None
    assert same.error is None
    assert np.array_equal(same.transform.fixed_from_moving, np.eye(4))
    assert same_frame(framed[0], framed[2]) is None
    assert same_frame(volume, volume) is None


GOOD = RegistrationEvidence(0.9, 0.6, 0.5, 15, 5, 2.0, 0.4, 8.0, 12.0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"overlap": 0.1}, "overlap"),
        ({"gain": 0.05}, "moved ones"),
        ({"agreeing_starts": 1}, "1 of 15 starts"),
        ({"rotation_deg": 90.0}, "rotation of 90°"),
        ({"translation_mm": 400.0}, "translation of 400 mm"),
    ],
)
def test_the_gate_refuses_each_implausible_result(change: dict[str, float], told: str) -> None:
    from dataclasses import replace

    assert refusals(GOOD, GateLimits()) == ()
    reasons = refusals(replace(GOOD, **change), GateLimits())
    assert len(reasons) == 1
    assert told in reasons[0]


@pytest.mark.parametrize("scale", [(-1, 1, 1), (1.01, 1, 1)])
def test_a_transform_that_mirrors_or_scales_is_refused(scale: tuple[float, float, float]) -> None:
    with pytest.raises(GeometryError, match="scales, shears or mirrors"):
        RigidTransform(np.diag([*scale, 1.0]))


def test_a_transform_maps_and_maps_back() -> None:
    step = RigidTransform.about((1, 2, 3), (0, 0, np.pi / 2), (10, 0, 0))
    assert np.allclose(step.apply((2, 2, 3)), (11, 3, 3))  # one to the left of the centre goes to the back
    assert np.allclose(step.inverse.apply(step.apply((4, 5, 6))), (4, 5, 6))
    assert step.rotation_deg == pytest.approx(90)
