"""What a volume is known by, and what it takes in memory."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import pytest

from medsam_planner.geometry import zeros_by_slice
from medsam_planner.volumes import array_sha256


@pytest.mark.parametrize("dtype", [np.float32, np.bool_, np.int16])
def test_the_hash_is_that_of_the_c_ordered_bytes_whatever_the_layout(dtype: type) -> None:
    array = np.random.default_rng(0).integers(0, 2, (37, 5, 6)).astype(dtype)
    expected = hashlib.sha256(f"{array.shape}{array.dtype.str}".encode() + array.tobytes()).hexdigest()
    layouts = (array, np.asfortranarray(array), np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, 0)), 0, 1))
    assert [array_sha256(one) for one in layouts] == [expected] * 3


def test_hashing_a_volume_in_fortran_order_does_not_copy_it() -> None:
    array = np.zeros((256, 64, 64), dtype=np.float32, order="F")
    tracemalloc.start()
    array_sha256(array)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < array.nbytes / 8


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_zeros_lie_together_in_memory(axis: int) -> None:
    volume = zeros_by_slice((4, 5, 6), axis, np.float32)
    assert volume.shape == (4, 5, 6)
    assert volume.dtype == np.float32
    assert not volume.any()
    assert np.moveaxis(volume, axis, 0).flags.c_contiguous
