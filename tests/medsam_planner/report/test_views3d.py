"""The page's 3D views: chosen by where the entry lies, labelled in the patient, coloured on one scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medsam_planner.errors import GeometryError
from medsam_planner.planning.structures import StructureRole
from medsam_planner.report import RISK_NAME, PlanReport
from medsam_planner.report.plan_scene import build_scene
from medsam_planner.report.views3d import risk_scale, spread_scale, views_3d
from medsam_planner.report.widened_surface import widened_surfaces


def test_views_are_labelled_and_the_side_is_that_of_the_entry(make_report: Callable[..., PlanReport]) -> None:
    report = make_report()
    views = views_3d(report, build_scene(report))
    titles = [view.title for view in views]
    assert titles[:4] == ["From the front", "From the right", "From above", "Along the tool"]
    assert [view.title for view in views if view.note == "coloured by spread"] == titles[:2]
    letters = {view.title: (view.letters.left, view.letters.right, view.letters.top) for view in views}
    assert letters["From the front"] == ("R", "L", "S")
    assert letters["From the right"] == ("P", "A", "S")
    assert letters["From above"] == ("L", "R", "A")


def test_the_spread_scale_ends_on_a_half_millimetre_above_the_spread(make_report: Callable[..., PlanReport]) -> None:
    scale = spread_scale(make_report())
    assert scale is not None
    assert (scale.low, scale.high, scale.unit) == (0.0, 1.5, "mm")  # the example's vessel goes up to 1.3 mm


def test_the_risk_map_is_painted_on_the_entry_surface(make_report: Callable[..., PlanReport]) -> None:
    plain = make_report(surfaces={})
    surface = make_report().surfaces["lesion"]
    room = np.linspace(-3.0, 6.4, len(surface.vertices_lps_mm))
    report = make_report(surfaces={}, risk_surface=surface.with_values(RISK_NAME, room))
    views = views_3d(report, build_scene(plain))
    assert [view.title for view in views] == ["From the front", "From the right", "Along the tool"]
    scale = risk_scale(report)
    assert scale is not None
    assert (scale.low, scale.high) == (0.0, 7.0)


def test_a_risk_surface_without_its_values_is_refused(make_report: Callable[..., PlanReport]) -> None:
    with pytest.raises(GeometryError, match=RISK_NAME):
        make_report(risk_surface=make_report().surfaces["lesion"])


def test_without_surfaces_there_are_no_views(make_report: Callable[..., PlanReport]) -> None:
    report = make_report(surfaces={})
    assert views_3d(report, build_scene(report)) == []
    assert spread_scale(report) is None


def test_what_must_be_avoided_is_shown_with_its_margin_as_a_layer_to_switch_off(
    make_report: Callable[..., PlanReport],
) -> None:
    report = make_report()
    assert set(widened_surfaces(report)) == {name for name, role in report.roles.items() if role is StructureRole.AVOID}
    report = make_report(widened_surfaces=widened_surfaces(report))
    views = [view for view in views_3d(report, build_scene(report)) if not view.note]
    assert [[layer.key for layer in view.layers] for view in views] == [["widened"]] * 4
    assert all(view.layers[0].uri != view.grey for view in views)
    bare = make_report(margins_mm={})
    assert widened_surfaces(bare) == {}
    assert not any(view.layers for view in views_3d(bare, build_scene(bare)))
