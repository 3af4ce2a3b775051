"""Density from CT numbers and the pull-out proxy, against values that a reader can work out."""

from __future__ import annotations

import math

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import PlanningError
from medsam_planner.planning.bone_quality import SCHNEIDER_2000, DensityCalibration, Thread, bone_quality

AFFINE = np.array([[0, 0, 0.8, -20], [0, 1.0, 0, -20], [1.2, 0, 0, -10], [0, 0, 0, 1]])
THREAD = Thread(pitch_mm=2.75, depth_mm=1.0)


def block(hu: np.ndarray | float) -> highdicom.Volume:
    values = np.broadcast_to(np.asarray(hu, dtype=np.float32), (40, 40, 50)).copy()
    return highdicom.Volume(values, AFFINE, "PATIENT")


def test_the_calibration_gives_the_published_density_and_its_ends_are_marrow_and_bone() -> None:
    # 1.017 + 0.000592 · 400 = 1.2538 g/cm³, of which (1.2538 − 1) / 0.92 is bone of 1.92 g/cm³
    assert SCHNEIDER_2000.apparent_density_g_cm3(400.0) == pytest.approx(0.2538 / 0.92 * 1.92)
    assert SCHNEIDER_2000.bone_fraction(
        [-100, (1 - 1.017) / 0.592e-3, (1.92 - 1.017) / 0.592e-3, 3000]
    ) == pytest.approx([0, 0, 1, 1])
    rising = SCHNEIDER_2000.apparent_density_g_cm3(np.arange(0, 1500, 50))
    assert (np.diff(rising) > 0).all()


def test_in_even_bone_the_force_is_that_of_the_formula() -> None:
    found = bone_quality(block(300.0), [(0, 0, 0), (0, 0, 30)], 3.25, THREAD)
    density = (1.017 + 0.592e-3 * 300 - 1) / 0.92 * 1.92
    shape = 0.5 + 0.57735 * 1.0 / 2.75
    assert found.pullout_n == pytest.approx(21.6 * density**1.65 * math.pi * 6.5 * 30 * shape, rel=1e-4)
    assert found.apparent_density_g_cm3 == pytest.approx(density) and found.mean_density_g_cm3 == pytest.approx(density)
    assert found.depth_mm[[0, -1]] == pytest.approx([0, 30])


@pytest.mark.parametrize("end", [(0, 0, 30), (12, 5, 25), (15, -3, 2)])
def test_the_force_is_proportional_to_the_length_and_knows_no_direction(end: tuple[float, float, float]) -> None:
    start, end_mm = np.zeros(3), np.array(end, dtype=float)
    whole = bone_quality(block(250.0), [start, end_mm], 2.0, THREAD).pullout_n
    half = bone_quality(block(250.0), [start, end_mm / 2], 2.0, THREAD).pullout_n
    back = bone_quality(block(250.0), [end_mm, start], 2.0, THREAD).pullout_n
    assert (half, back) == pytest.approx((whole / 2, whole))


def test_the_profile_says_where_bone_is_dense() -> None:
    ramp = np.arange(40, dtype=np.float32)[:, None, None] * 1.2 * 20  # 20 HU per mm from z = −10
    found = bone_quality(block(ramp), [(0, 0, 0), (0, 0, 30)], 2.0, THREAD)
    assert found.hu == pytest.approx(20 * (found.depth_mm + 10), abs=0.5)
    denser = bone_quality(block(ramp), [(0, 0, 5), (0, 0, 35)], 2.0, THREAD)
    assert denser.pullout_n > found.pullout_n


def test_what_is_no_screw_or_no_calibration_is_refused() -> None:
    with pytest.raises(PlanningError, match="with a length and a radius"):
        bone_quality(block(300.0), [(0, 0, 0), (0, 0, 0)], 2.0, THREAD)
    with pytest.raises(PlanningError, match="with a length and a radius"):
        bone_quality(block(300.0), [(0, 0, 0), (0, 0, 9)], 0.0, THREAD)
    with pytest.raises(PlanningError, match="positive lengths of a thread"):
        Thread(0.0, 1.0)
    with pytest.raises(PlanningError, match="rises with the CT number"):
        DensityCalibration(1.0, -0.1, "nobody")
