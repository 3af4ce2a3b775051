"""The shell of a structure with its margin, against a ball whose radius is arithmetic."""

from __future__ import annotations

import highdicom
import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.geometry import lps_from_index, voxel_diagonal_mm
from medsam_planner.report.widened_surface import WIDENED_TRIANGLES, widened_surface


def _ball(affine: NDArray[np.float64], radius_mm: float) -> tuple[highdicom.Volume, NDArray[np.float64], NDArray]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(np.ceil(44.0 / spacing).astype(int))
    places = lps_from_index(affine, np.stack(np.indices(shape), axis=-1))
    centre = lps_from_index(affine, (np.array(shape) - 1) / 2)
    inside = np.linalg.norm(places - centre, axis=-1) <= radius_mm
    return highdicom.Volume(array=inside, affine=affine, coordinate_system="PATIENT"), centre, places


@pytest.fixture(params=["plain", "oblique left-handed"])
def affine(request, plain_affine, oblique_affine) -> NDArray[np.float64]:
    return plain_affine if request.param == "plain" else oblique_affine


def test_the_shell_of_a_ball_is_a_ball_of_radius_plus_margin(affine):
    mask, centre, _ = _ball(affine, 7.0)
    shell = widened_surface(mask, 4.0)
    assert shell is not None and shell.is_watertight and len(shell.faces) <= WIDENED_TRIANGLES
    radii = np.linalg.norm(shell.vertices_lps_mm - centre, axis=1)
    assert np.abs(radii - 11.0).max() < voxel_diagonal_mm(affine) / 2 + 0.3
    assert radii.mean() == pytest.approx(11.0, abs=0.5)


def test_the_shell_is_wide_where_the_margin_is(affine):
    mask, centre, places = _ball(affine, 7.0)
    wide = (places - centre)[..., 0] > 0
    margin = highdicom.Volume(
        array=np.where(wide, 5.0, 1.0).astype(np.float32), affine=affine, coordinate_system="PATIENT"
    )
    shell = widened_surface(mask, margin)
    assert shell is not None
    along = shell.vertices_lps_mm[:, 0] - centre[0]
    assert along.max() == pytest.approx(12.0, abs=0.8)
    assert (
        -10.5 < along.min() < -7.5
    )  # a margin is read within a voxel diagonal, so the wide side reaches over a little


def test_without_a_margin_there_is_no_shell(affine):
    mask, _, _ = _ball(affine, 7.0)
    assert widened_surface(mask, 0.0) is None
