"""The body is what is no air, with what it encloses, on any axes."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest

from medsam_planner.io.body import body_mask
from medsam_planner.volumes import StudySource, StudyVolume


def study(array, modality):
    volume = highdicom.Volume(array, np.eye(4), "PATIENT")
    return StudyVolume.from_volume(volume, StudySource(path=None, format="nifti", modality=modality))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_tube_with_two_open_lungs_is_filled_and_the_table_left_out(order, modality):
    k, j, i = np.indices((12, 40, 48))
    tube = ((j - 18) / 15) ** 2 + ((i - 24) / 20) ** 2 <= 1
    lungs = (((j - 18) / 6) ** 2 + ((i - 15) / 5) ** 2 <= 1) | (((j - 18) / 6) ** 2 + ((i - 33) / 5) ** 2 <= 1)
    table = (j == 38) & (i > 4)
    dense, air = (40.0, -1000.0) if modality == "CT" else (500.0, 8.0)
    array = np.where((tube & ~lungs) | table, dense, air) + np.random.default_rng(0).normal(0, 5, k.shape)
    found = body_mask(study(np.ascontiguousarray(array.transpose(order)), modality)).transpose(np.argsort(order))
    assert (found & tube).sum() > 0.999 * tube.sum()  # but for corners of single voxels
    assert not found[:, 36:].any() and (found & ~tube).sum() == 0


def test_a_study_of_one_value_is_all_body():
    assert body_mask(study(np.zeros((3, 4, 5)), "MR")).all()
