"""Why here, as drawn: turned as radiologists look at slices, whatever the array's axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medsam_planner.engine.protocol import Crop
from medsam_planner.report.why_picture import _Turn, why_picture
from medsam_planner.segmentation.surface_explanation import WhyHere

PLANES = {2: ("R", "L", "A", "P"), 1: ("R", "L", "S", "I"), 0: ("A", "P", "S", "I")}
"""LPS axis across the slice → letters at the left, right, top and bottom of the picture."""


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_orientation_is_turned_to_the_radiological_one(order, signs):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) * signs)[:, order]
    position = np.stack(np.indices((4, 5, 6)), axis=-1) @ affine[:3, :3].T
    for axis in range(3):
        across = order[axis]
        axes = np.delete(np.arange(3), axis)
        turn = _Turn(axes, affine)
        assert (turn.left, turn.right, turn.top, turn.bottom) == PLANES[across]
        shown = [turn(np.take(position[..., lps], 0, axis=axis)) for lps in range(3)]
        right = {"L": shown[0], "P": shown[1]}[turn.right]
        down = {"P": shown[1], "I": -shown[2]}[turn.bottom]
        assert (np.diff(right, axis=1) > 0).all() and (np.diff(down, axis=0) > 0).all()


def test_the_picture_and_its_figures_are_shown_with_chance_beside_them():
    field = np.zeros((16, 16), dtype=np.float32)
    field[4:12, 4:12] = 1.0
    why = WhyHere(
        structure="vessel",
        place_lps_mm=(1.0, -2.0, 3.0),
        axis=0,
        slice_index=6,
        crop=Crop((8.0, 8.0), (16.0, 16.0), 16),
        image=field,
        mask=field > 0,
        patch=np.eye(16) > 0,
        grad_cam=field,
        shap=field - 0.5,
        metrics={
            "grad_cam": {"infidelity": 0.4, "infidelity_of_chance": 0.9},
            "shap": {"infidelity": None, "infidelity_of_chance": 0.8},
        },
    )
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1]
    picture = why_picture(why, affine)
    assert picture.uri.startswith("data:image/png;base64,")
    assert "axial slice 7" in picture.where and "A" in picture.where
    assert [(row.value, row.chance) for row in picture.rows] == [("40.0 %", "90.0 %"), ("–", "80.0 %")]
    assert why_picture(why, affine).uri == picture.uri
