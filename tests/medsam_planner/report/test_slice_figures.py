"""Lines drawn on slices lie where arithmetic puts them."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from medsam_planner.drawing.outlines import outline_path, scale_bar
from medsam_planner.drawing.reformat import standard_plane
from medsam_planner.planning.structures import StructureRole
from medsam_planner.report import PlanReport
from medsam_planner.report.plan_scene import Scene, build_scene
from medsam_planner.report.planes import across_panels, lengthwise_panels, orthogonal_panels
from medsam_planner.report.slice_figures import Aspect, draw_panel


@pytest.fixture(scope="module")
def scene(make_report: Callable[..., PlanReport]) -> Scene:
    return build_scene(make_report())


def points(path: str) -> NDArray[np.float64]:
    return np.array(re.findall(r"(-?[\d.]+) (-?[\d.]+)", path), dtype=np.float64)


def test_the_outline_of_a_disc_has_its_radius_about_its_centre() -> None:
    rows, columns = np.indices((60, 80))
    disc = 20.0 - np.hypot(rows - 25, columns - 41)
    path = outline_path(disc.astype(np.float32), 0.0)
    assert path.endswith("Z")
    # SVG counts from the corner of the first pixel, whose centre is at one half.
    distance = np.hypot(*(points(path) - (41.5, 25.5)).T)
    assert np.abs(distance - 20.0).max() < 0.1


def test_an_outline_that_leaves_the_picture_is_left_open() -> None:
    half = np.zeros((20, 20), np.float32)
    half[:, :8] = 1.0
    path = outline_path(half, 0.5)
    assert "Z" not in path
    np.testing.assert_allclose(points(path)[:, 0], 8.0)
    assert outline_path(np.zeros((20, 20), np.float32), 0.5) == ""


@pytest.mark.parametrize(("extent", "label"), [(200.0, "50 mm"), (90.0, "20 mm"), (44.0, "10 mm"), (3.1, "1 mm")])
def test_the_scale_bar_is_round_and_measures_what_it_says(extent: float, label: str) -> None:
    plane = standard_plane("axial", (0, 0, 0), extent, 340)
    bar = scale_bar(plane)
    assert bar.label == label
    assert bar.length * plane.pixel_mm == pytest.approx(float(label.split()[0]))


def test_only_the_part_of_the_tool_within_the_slab_is_drawn_as_the_tool(scene: Scene) -> None:
    assert scene.path is not None
    plane = standard_plane("axial", scene.path.at(20.0), 120.0, 240)
    panel = draw_panel(scene, plane, title="t")
    (tool,) = [stroke for stroke in panel.strokes if stroke.kind == "tool"]
    start, end = points(tool.path)
    down = abs(scene.path.target_lps_mm[2] - scene.path.entry_lps_mm[2]) / scene.path.length_mm
    across = np.sqrt(1 - down**2)
    # Radius 1 mm and 1 mm of slab to each side of the plane: 4 mm high.
    assert np.hypot(*(end - start)) * plane.pixel_mm == pytest.approx(4.0 / down * across, abs=0.2)
    np.testing.assert_allclose((start + end) / 2, (120, 120), atol=0.1)
    (width,) = [stroke for stroke in panel.strokes if stroke.kind == "tool-width"]
    assert width.width * plane.pixel_mm == pytest.approx(2.0)
    assert [marker.kind for marker in panel.markers] == []


def test_lengthwise_pictures_show_the_whole_tool_from_top_to_bottom(scene: Scene) -> None:
    assert scene.path is not None
    panels = lengthwise_panels(scene)
    assert [panel.title for panel in panels] == ["Along the tool 1", "Along the tool 2"]
    for panel in panels:
        (tool,) = [stroke for stroke in panel.strokes if stroke.kind == "tool"]
        start, end = points(tool.path)
        assert start[0] == pytest.approx(end[0], abs=0.1)
        millimetres = 20 / panel.bar.length if panel.bar.label == "20 mm" else float("nan")
        assert (end[1] - start[1]) * millimetres == pytest.approx(scene.path.length_mm, abs=0.2)
        assert [mark.label for mark in panel.depth_marks] == ["10", "20", "30", "40", "50"]
        assert {"entry", "target", "limiting"} == {marker.kind for marker in panel.markers}
        assert len([stroke for stroke in panel.strokes if stroke.kind == "tool-error"]) == 2
    # Only the first one contains the place of the vessel that limits.
    assert [any(stroke.kind == "least-clearance" for stroke in panel.strokes) for panel in panels] == [True, False]


def test_no_margin_enters_the_certified_circle_of_any_cut(scene: Scene) -> None:
    panels = across_panels(scene)
    assert len(panels) == 8
    assert [panel.is_highlighted for panel in panels].count(True) == 1
    assert panels[0].title.endswith("entry")
    assert panels[-1].title.endswith("target")
    for panel in panels:
        circles = {circle.kind: circle for circle in panel.circles}
        certified, tool = circles["certified"], circles["tool-section"]
        pixel_mm = 44.0 / panel.columns
        assert tool.radius * pixel_mm == pytest.approx(1.0, abs=0.01)
        assert (certified.x, certified.y) == (100.0, 100.0)
        for stroke in panel.strokes:
            if stroke.kind == "margin":
                distance = np.hypot(*(points(stroke.path) - (certified.x, certified.y)).T)
                # The example's clearance is that of the exact tube; its voxels reach up to a diagonal farther.
                assert distance.min() * pixel_mm > certified.radius * pixel_mm - 1.5


def test_each_landmark_is_in_the_middle_of_its_three_slices(scene: Scene) -> None:
    rows = orthogonal_panels(scene)
    assert [label for label, _ in rows] == ["Entry", "Target", "Tightest place"]
    for (_, panels), kind in zip(rows, ("entry", "target", "limiting"), strict=True):
        for panel in panels:
            (marker,) = [marker for marker in panel.markers if marker.kind == kind]
            assert (marker.x, marker.y) == (panel.columns / 2, panel.rows / 2)


def test_letters_keep_their_size_on_the_page_whatever_the_picture(scene: Scene) -> None:
    assert scene.path is not None
    plane = standard_plane("axial", scene.path.entry_lps_mm, 50.0, 548)
    assert draw_panel(scene, plane, title="t", aspect=Aspect.ACROSS).unit == 2.0


def test_a_corridor_of_bone_is_shown_in_the_bone_window(make_report: Callable[..., PlanReport]) -> None:
    example = make_report()
    study = type(example.study).from_volume(example.study.with_array(example.study.array + 600.0), example.study.source)
    scene = build_scene(make_report(study=study, roles={"lesion": StructureRole.INSIDE}))
    assert scene.window == (-770.0, 1730.0)
    assert "bone window" in scene.window_label
