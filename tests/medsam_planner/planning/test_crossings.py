"""What a path goes through, against plates whose thickness a reader can work out."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

from medsam_planner.geometry import lps_from_index, spacing_mm
from medsam_planner.planning.crossings import CrossingKind, crossings_along, values_along
from medsam_planner.planning.surroundings import Surroundings, surroundings_of
from tests.medsam_planner.planning.planning_scenes import volume

SHAPE = (12, 40, 60)
SOFT, BONE, LUNG, AIR = 40.0, 700.0, -800.0, -1000.0


def layered(affine, layers: dict[tuple[int, int], float]) -> highdicom.Volume:
    """Soft tissue with layers of other values between two indices of the last axis."""
    hu = np.full(SHAPE, SOFT)
    for (first, last), value in layers.items():
        hu[..., first:last] = value
    return volume(hu, affine)


def seen(image: highdicom.Volume, body=None) -> Surroundings:
    corners = lps_from_index(image.affine, [(0, 0, 0), np.array(SHAPE) - 1])
    return surroundings_of(image, corners, body=body, is_ct=True)


def along_last_axis(affine, first=-0.5, last=SHAPE[2] - 0.5):
    return lps_from_index(affine, [(5, 20, first), (5, 20, last)])


def test_a_plate_of_bone_is_as_thick_as_its_voxels(any_affine):
    image = layered(any_affine, {(20, 26): BONE})
    step = spacing_mm(any_affine)[2]
    (crossing,) = crossings_along(seen(image), along_last_axis(any_affine))
    assert crossing.kind is CrossingKind.BONE
    assert (crossing.from_mm, crossing.to_mm) == pytest.approx((20 * step, 26 * step))
    assert crossing.mean_value == pytest.approx(BONE)


def test_a_slanted_path_crosses_more_of_the_plate(any_affine):
    """A path inclined by the angle a crosses a plate of thickness t along t / cos a."""
    image = layered(any_affine, {(20, 26): BONE})
    line = lps_from_index(any_affine, [(5, 5, 2.0), (5, 33, 55.0)])
    direction = (line[1] - line[0]) / np.linalg.norm(line[1] - line[0])
    normal = any_affine[:3, 2] / spacing_mm(any_affine)[2]
    (crossing,) = crossings_along(seen(image), line)
    assert crossing.length_mm == pytest.approx(6 * spacing_mm(any_affine)[2] / abs(direction @ normal), rel=1e-6)


def test_bone_air_and_outside_are_told_apart_in_the_order_of_the_path(any_affine):
    image = layered(any_affine, {(0, 4): AIR, (10, 13): BONE, (20, 35): LUNG})
    inside = np.ones(SHAPE, dtype=bool)
    inside[..., :4] = False
    step = spacing_mm(any_affine)[2]
    found = crossings_along(seen(image, volume(inside, any_affine)), along_last_axis(any_affine))
    assert [one.kind.value for one in found] == ["outside", "bone", "air"]
    assert [one.length_mm for one in found] == pytest.approx([4 * step, 3 * step, 15 * step])
    assert [one.mean_value for one in found] == pytest.approx([AIR, BONE, LUNG])


def test_a_thin_bone_is_never_stepped_over():
    """A layer of one voxel of 0.1 mm: far below any sampling step."""
    affine = np.diag([1.0, 1.0, 0.1, 1.0])
    (crossing,) = crossings_along(seen(layered(affine, {(30, 31): BONE})), along_last_axis(affine))
    assert crossing.length_mm == pytest.approx(0.1)


def test_stretches_of_spongy_bone_are_one(plain_affine):
    found = crossings_along(
        seen(layered(plain_affine, {(20, 24): BONE, (25, 30): BONE})), along_last_axis(plain_affine)
    )
    assert [(one.from_mm, one.to_mm) for one in found] == [(20.0, 30.0)]
    assert found[0].mean_value == pytest.approx((9 * BONE + SOFT) / 10)
    apart = crossings_along(
        seen(layered(plain_affine, {(20, 24): BONE, (27, 30): BONE})), along_last_axis(plain_affine)
    )
    assert len(apart) == 2


def test_beyond_the_image_is_outside_and_has_no_value(any_affine):
    step = spacing_mm(any_affine)[2]
    (crossing,) = crossings_along(seen(layered(any_affine, {})), along_last_axis(any_affine, last=SHAPE[2] + 9.5))
    assert crossing.kind is CrossingKind.OUTSIDE
    assert crossing.mean_value is None
    assert (crossing.from_mm, crossing.to_mm) == pytest.approx((SHAPE[2] * step, (SHAPE[2] + 10) * step))


def test_soft_tissue_is_crossed_without_a_word(any_affine):
    assert crossings_along(seen(layered(any_affine, {})), along_last_axis(any_affine)) == ()


def test_an_mr_knows_the_outside_and_neither_bone_nor_air(any_affine):
    """Values from 100 to 300 told as 0 to 1; a layer of 700 is no bone, as no value of an MR is."""
    image = layered(any_affine, {(0, 4): 100.0, (4, 60): 200.0, (20, 26): 700.0})
    inside = np.ones(SHAPE, dtype=bool)
    inside[..., :4] = False
    mr = surroundings_of(
        image,
        along_last_axis(any_affine),
        body=volume(inside, any_affine),
        is_ct=False,
        intensity_range=(100.0, 300.0),
    )
    (crossing,) = crossings_along(mr, along_last_axis(any_affine))
    assert (crossing.kind, crossing.mean_value) == (CrossingKind.OUTSIDE, pytest.approx(0.0))
    profile = values_along(mr, along_last_axis(any_affine, first=40, last=50))
    assert profile.unit == "normalised intensity"
    assert profile.value == pytest.approx(np.full(len(profile.value), 0.5))


def test_the_profile_follows_the_values_from_the_entry_on(plain_affine):
    ramp = volume(np.broadcast_to(np.arange(60.0), SHAPE).copy(), plain_affine)
    profile = values_along(seen(ramp), along_last_axis(plain_affine, first=10, last=64))
    assert profile.distance_mm[-1] == pytest.approx(54.0)
    assert profile.value[:20] == pytest.approx(10 + profile.distance_mm[:20])
    assert np.isnan(profile.value[-1])


def test_specks_of_noise_are_no_bone(plain_affine):
    """26 voxels of 1 mm³ are a speck, 27 are bone."""
    hu = np.full(SHAPE, SOFT)
    hu[5, 20, 3:29] = BONE
    assert crossings_along(seen(volume(hu, plain_affine)), along_last_axis(plain_affine)) == ()
    hu[5, 20, 3:30] = BONE
    assert len(crossings_along(seen(volume(hu, plain_affine)), along_last_axis(plain_affine))) == 1


def test_bone_that_was_segmented_is_not_avoided_a_second_time(plain_affine):
    image = layered(plain_affine, {(20, 26): BONE, (40, 46): BONE})
    around = seen(image)
    segmented = np.zeros(SHAPE, dtype=bool)
    segmented[..., 21:25] = True  # one voxel short on either side, as a segmentation may be
    left = around.unsegmented_bone([volume(segmented, plain_affine)], 0.0)
    assert left is not None
    columns = np.flatnonzero(left.mask.array.any(axis=(0, 1)))
    assert columns.tolist() == [40, 41, 42, 43, 44, 45]
    assert around.unsegmented_bone([volume(image.array >= BONE, plain_affine)], 0.0) is None
