"""The picture stands upright in whatever order the axes are stored."""

from __future__ import annotations

from io import BytesIO

import highdicom
import numpy as np
import pytest
from PIL import Image

from medsam_planner.registration.checkerboard import checkerboard_png
from medsam_planner.registration.rigid_transform import RigidTransform


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_head_is_up_and_the_front_is_left(order: tuple[int, int, int]) -> None:
    x, y, z = np.meshgrid(np.arange(20.0), np.arange(24.0), np.arange(28.0), indexing="ij")
    bright = np.transpose(200 * ((z > 18) & (y < 8)) + 0.0 * x, order)  # at the head, in front
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(order)]
    volume = highdicom.Volume(bright, affine, "PATIENT")
    picture = np.asarray(Image.open(BytesIO(checkerboard_png(volume, volume, RigidTransform.identity()))), dtype=float)
    sides = [(20, 24, 28)[axis] for axis in order]
    sagittal = order.index(0)  # the panel across the patient's x
    others = [[side for at, side in enumerate(sides) if at != axis] for axis in range(3)]
    sizes = [round(320 * max(pair) / min(pair)) for pair in others]
    widths = [320 if 28 in pair else sizes[at] if order[at] != 2 else 320 for at, pair in enumerate(others)]
    left = sum(widths[:sagittal]) + 8 * sagittal
    panel = picture[:, left : left + 320, 0]
    height = sizes[sagittal]
    assert panel[:60, :60].mean() > 150  # head, front
    assert panel[height - 60 : height, :60].mean() < 10
    assert panel[:60, -60:].mean() < 10
