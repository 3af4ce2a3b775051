"""Every reference structure of the real cases becomes a closed surface of its volume."""

from __future__ import annotations

from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest

from medsam_planner.mesh import check_surface, surface_from_probability

from .mesh_shapes import volume_of


def structures(path: Path):
    image = nibabel.load(path)
    labels = np.asarray(image.dataobj).astype(int)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # RAS to LPS
    for value in np.unique(labels)[1:]:
        yield int(value), volume_of(labels == value, affine)


def require_sound(mask: highdicom.Volume, **options) -> None:
    surface = surface_from_probability(mask, **options)
    found = check_surface(surface)
    voxels_mm3 = mask.array.sum() * abs(np.linalg.det(mask.affine[:3, :3]))
    assert found.is_closed
    # Half of each outermost edge voxel is cut off, so small and thin structures lose most.
    surface_voxels = found.volume_mm3 / voxels_mm3
    assert 0.6 < surface_voxels < 1.02, (surface_voxels, surface.history)


@pytest.mark.parametrize("case", ["ct_trunk_totalseg_siemens", "ct_sarcoma_sts_018", "mr_hippocampus_006"])
def test_reference_masks_become_closed_surfaces(shared_data, case):
    for _, mask in structures(shared_data / "cases" / case / "labels.nii.gz"):
        require_sound(mask)


@pytest.mark.slow
def test_skull_becomes_a_closed_surface_of_few_triangles(shared_data):
    for _, mask in structures(shared_data / "cases" / "ct_skull_invesalius" / "labels.nii.gz"):
        require_sound(mask, max_triangles=100_000)
