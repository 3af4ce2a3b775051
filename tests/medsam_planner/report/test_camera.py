"""Which patient direction lies at which edge, and how long a millimetre is."""

from __future__ import annotations

import numpy as np
import pytest

from medsam_planner.drawing.camera import Camera, View, camera_along, camera_for, direction_letters, scale_bar_mm
from medsam_planner.errors import GeometryError


@pytest.mark.parametrize(
    ("view", "letters"),
    [
        (View.FROM_ANTERIOR, "RLSI"),
        (View.FROM_POSTERIOR, "LRSI"),
        (View.FROM_LEFT, "APSI"),
        (View.FROM_RIGHT, "PASI"),
        (View.FROM_SUPERIOR, "LRAP"),
        (View.FROM_INFERIOR, "RLAP"),
    ],
)
def test_edges_of_the_standard_views(view, letters):
    edges = camera_for(view, [(-10, -10, -10), (10, 10, 10)], (100, 100)).letters
    assert edges.left + edges.right + edges.top + edges.bottom == letters


def test_standard_view_shows_the_whole_box():
    bounds = np.array([(-50.0, 20, 100), (150, 80, 130)])
    corners = np.stack(np.meshgrid(*bounds.T), axis=-1).reshape(-1, 3)
    for size in ((100, 300), (300, 100), (200, 200)):
        for view in View:
            pixels = camera_for(view, bounds, size).pixels_from_lps(corners, size)
            assert (pixels >= 0).all() and (pixels <= np.array(size) - 1).all()


def test_camera_along_a_tool_has_entry_and_target_in_the_middle():
    entry, target = (30.0, -40, 50), (70.0, 30, 10)
    camera = camera_along(entry, target, width_mm=60)
    middle = camera.pixels_from_lps([entry, target], (201, 201))
    assert middle == pytest.approx(np.full((2, 2), 100.0))
    assert camera_along((0, 0, 50), (0, 0, 0)).letters.top == "A"


def test_one_mm_up_is_one_row_up():
    camera = camera_for(View.FROM_ANTERIOR, [(0, 0, 0), (100, 100, 100)], (101, 101), margin=1.01)
    first, second = camera.pixels_from_lps([(50, 50, 50), (50, 50, 51)], (101, 101))
    assert first - second == pytest.approx([1.0, 0.0])


def test_oblique_directions_have_two_letters_the_stronger_first():
    assert direction_letters((0.9, -0.45, 0.1)) == "LA"
    assert direction_letters((-0.1, 0.2, -0.95)) == "I"


@pytest.mark.parametrize(("width_mm", "bar_mm"), [(300, 100), (299, 50), (150, 50), (60, 20), (31, 10), (3, 1)])
def test_scale_bar_is_a_round_length_up_to_a_third(width_mm, bar_mm):
    assert scale_bar_mm(width_mm) == pytest.approx(bar_mm)


@pytest.mark.parametrize(
    ("forward", "up", "width_mm"),
    [((0, 0, 1), (0, 0, 2), 10), ((0, 0, 0), (0, 0, 1), 10), ((0, 1, 0), (0, 0, 1), 0), ((np.nan, 1, 0), (0, 0, 1), 1)],
)
def test_cameras_that_see_nothing_are_refused(forward, up, width_mm):
    with pytest.raises(GeometryError):
        Camera((0, 0, 0), forward, up, width_mm)


def test_tool_without_length_is_refused():
    with pytest.raises(GeometryError):
        camera_along((1, 2, 3), (1, 2, 3))
