"""The box that a view is zoomed to at first holds the body and leaves out the air around it."""

from __future__ import annotations

import highdicom
import numpy as np

from medsam_planner.service.body_box import body_box


def test_the_box_holds_the_body_of_a_fine_study_and_little_else() -> None:
    _, y, x = np.indices((30, 240, 300))
    hu = np.where(((y - 100) / 60) ** 2 + ((x - 170) / 90) ** 2 <= 1, 40, -1000).astype(np.float32)
    found = body_box(highdicom.Volume(hu, np.diag([3.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], "PATIENT"))
    assert found is not None
    np.testing.assert_allclose(found, [[0, 40, 80], [29, 160, 260]], atol=4)


def test_where_body_and_air_cannot_be_told_apart_there_is_no_box() -> None:
    assert body_box(highdicom.Volume(np.zeros((8, 9, 10), np.float32), np.eye(4), "PATIENT")) is None
