"""The 3D view of a workbench: what is listed, and that no other result or plan can be named."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageFont

from medsam_planner.drawing.camera import View
from medsam_planner.errors import NotThereError, StudyError
from medsam_planner.service import view3d
from medsam_planner.service.workbench import Workbench
from tests.ui.given_results import give_ball

Make = Callable[[], Workbench]


def test_the_surface_of_a_result_is_drawn_once_and_says_its_frame(make_workbench: Make) -> None:
    workbench = make_workbench()
    assert view3d.scene_3d(workbench)["surfaces"] == []
    give_ball(workbench, "ball", (-30.0, -10.0, 0.0), 12)
    (entry,) = view3d.scene_3d(workbench)["surfaces"]
    assert (entry["kind"], entry["name"], entry["opacity"]) == ("structure", "ball", 1.0)
    job = entry["address"].rpartition("/")[2]
    path = view3d.structure_surface_path(workbench, job)
    made = path.stat().st_mtime_ns
    assert b"comment SPACE=LPS" in path.read_bytes()[:300]
    assert view3d.structure_surface_path(workbench, job).stat().st_mtime_ns == made


@pytest.mark.parametrize("job", ["", "..", "../../x", "0" * 32, "a" * 5000])
def test_only_what_the_page_shows_can_be_named(make_workbench: Make, job: str) -> None:
    workbench = make_workbench()
    with pytest.raises(NotThereError, match="earlier state"):
        view3d.structure_surface_path(workbench, job)
    for number in (0, -1, 10**30):
        with pytest.raises(NotThereError, match="earlier state"):
            view3d.plan_surface_path(workbench, job, number)
    with pytest.raises(StudyError, match="no surface yet"):
        view3d.scene_file(workbench, None)


def test_a_picture_that_the_server_takes_has_the_patients_sides_at_its_edges(make_workbench: Make) -> None:
    workbench = make_workbench()
    give_ball(workbench, "ball", (-30.0, -10.0, 0.0), 12)
    with Image.open(io.BytesIO(view3d.scene_file(workbench, View.FROM_SUPERIOR))) as picture:
        width, height = picture.size
        edges = {
            "L": (0, height // 2 - 20, 40, height // 2 + 20),
            "R": (width - 40, height // 2 - 20, width, height // 2 + 20),
            "A": (width // 2 - 20, 0, width // 2 + 20, 40),
            "P": (width // 2 - 20, height - 40, width // 2 + 20, height),
        }
        for letter, box in edges.items():
            left, top, right, bottom = ImageFont.load_default(22).getbbox(letter)
            rows, columns = np.nonzero((np.asarray(picture.crop(box).convert("RGB")) > 190).all(axis=-1))
            found = (np.ptp(columns) + 1, np.ptp(rows) + 1)  # white, as nothing else is
            assert found == pytest.approx((right - left, bottom - top), abs=3), letter
