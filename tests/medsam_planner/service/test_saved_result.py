"""A 3D result on disk."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest

from medsam_planner.errors import MedsamPlannerError
from medsam_planner.provenance import PropagationTrace
from medsam_planner.segmentation.result import MaskSamples, SegmentationResult
from medsam_planner.service.saved_result import read_result, write_result
from medsam_planner.volumes import BoxedArray, array_sha256, volume_like
from tests.provenances import provenance


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_3d_result_is_read_back_to_the_last_bit(tmp_path: Path, axis: int) -> None:
    study = highdicom.Volume(array=np.zeros((7, 8, 9), np.float32), affine=np.eye(4), coordinate_system="PATIENT")
    values = np.zeros((7, 8, 9), dtype=np.float32)
    values[2:5, 3:4, 1:9] = np.random.default_rng(0).random((3, 1, 8))
    mask = values > 0.5
    result = SegmentationResult(
        structure="vessel",
        mask=volume_like(study, mask),
        probability=volume_like(study, values),
        trace=PropagationTrace(axis, ()),
        uncertainty=volume_like(study, np.zeros_like(values)),
        mask_samples=MaskSamples(
            BoxedArray((1, 0, 2), np.random.default_rng(1).random((3, 2, 5, 3)) > 0.5, study.spatial_shape), study
        ),
        provenance=provenance(mask_sha256=array_sha256(mask)),
    )
    write_result(tmp_path / "a.npz", result)
    again = read_result(tmp_path / "a.npz", study)
    for name in ("mask", "probability", "uncertainty"):
        np.testing.assert_array_equal(getattr(again, name).array, getattr(result, name).array)
        assert getattr(again, name).array.dtype == getattr(result, name).array.dtype
    assert again.mask_samples is not None and result.mask_samples is not None
    np.testing.assert_array_equal(again.mask_samples.masks, result.mask_samples.masks)
    assert again.mutual_information is None
    damaged = bytearray((tmp_path / "a.npz").read_bytes())
    damaged[200] ^= 255
    (tmp_path / "a.npz").write_bytes(damaged)
    with pytest.raises(MedsamPlannerError, match=r"a\.npz"):
        read_result(tmp_path / "a.npz", study)
