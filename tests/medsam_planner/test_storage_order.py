"""A plan belongs to the patient: it may not depend on the order in which the voxels of the study are stored."""

from __future__ import annotations

from collections.abc import Callable

import highdicom
import numpy as np
import pytest

from medsam_planner import plan
from medsam_planner.planning import (
    EntryRequest,
    PlanRequest,
    SearchSettings,
    StructureRequest,
    StructureRole,
    TargetRequest,
    Tool,
    ToolRequest,
)
from medsam_planner.volumes import volume_like

SPACING_MM = (1.5, 1.25, 1.0)
SHAPE = (44, 52, 60)


def _stored() -> tuple[highdicom.Volume, dict[str, highdicom.Volume]]:
    """A body with a lesion behind a slanting vessel, CT in HU, no plane of symmetry."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(SPACING_MM)[:, ::-1]
    affine[:3, 3] = (-30.0, -28.0, 410.0)
    x, y, z = np.moveaxis(np.stack(np.indices(SHAPE), axis=-1) @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    centre = np.array([x.mean(), y.mean(), z.mean()])
    body = ((x - centre[0]) / 24) ** 2 + ((y - centre[1]) / 26) ** 2 + ((z - centre[2]) / 27) ** 2 <= 1
    lesion = (x - centre[0] - 3) ** 2 + (y - centre[1] + 2) ** 2 + (z - centre[2] - 4) ** 2 <= 4.2**2
    along = 0.4 * (x - centre[0]) + 0.2 * (y - centre[1])
    vessel = (z - centre[2] - 14 - along) ** 2 + (y - centre[1] - 3 - 0.3 * (x - centre[0])) ** 2 <= 3.1**2
    noise = np.random.default_rng(0).normal(0.0, 5.0, SHAPE)
    hu = np.where(body, 40.0 + noise, -1000.0).astype(np.float32)
    study = highdicom.Volume(array=hu, affine=affine, coordinate_system="PATIENT")
    return study, {"lesion": volume_like(study, lesion), "vessel": volume_like(study, vessel & body)}


REQUEST = PlanRequest(
    tools=(
        ToolRequest(
            Tool(0.8, 0.5, 0.7),
            TargetRequest(structure="lesion"),
            EntryRequest(centre_lps_mm=(2.0, 5.0, 466.0), radius_mm=24.0),
        ),
    ),
    structures=(StructureRequest("vessel", StructureRole.AVOID),),
    search=SearchSettings(candidates=3000, hit_draws=40, seed=3),
)


@pytest.mark.parametrize(
    "stored_otherwise",
    [
        lambda volume: volume.flip_spatial([0]),
        lambda volume: volume.flip_spatial([1, 2]),
        lambda volume: volume.permute_spatial_axes([2, 0, 1]),
        lambda volume: volume.permute_spatial_axes([1, 0, 2]).flip_spatial([0, 1, 2]),
    ],
    ids=["flipped once", "flipped twice", "transposed", "transposed and flipped"],
)
def test_the_same_study_stored_in_another_order_gives_the_same_plan(
    stored_otherwise: Callable[[highdicom.Volume], highdicom.Volume],
) -> None:
    study, masks = _stored()
    first = plan(REQUEST, study, masks)
    again = plan(REQUEST, stored_otherwise(study), {name: stored_otherwise(mask) for name, mask in masks.items()})
    assert len(first.alternatives) > 1 and len(again.alternatives) == len(first.alternatives)
    for one, other in zip(first.alternatives, again.alternatives, strict=True):
        np.testing.assert_allclose(other.entry_lps_mm, one.entry_lps_mm, atol=1e-6)
        np.testing.assert_allclose(other.target_lps_mm, one.target_lps_mm, atol=1e-6)
        assert other.certified_clearance_mm == pytest.approx(one.certified_clearance_mm, abs=1e-4)
        assert other.hit_probability == pytest.approx(one.hit_probability, abs=1e-6)
